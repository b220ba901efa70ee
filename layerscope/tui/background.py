"""What keeps work in the background from being felt: in memory, and in the time that keys take."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

RowT = TypeVar("RowT")

LANE = threading.Lock()
"""Held by a thread while it looks through one more directory or level in the background: large directories cost
memory, and two of them at a time twice as much."""

_started = threading.Event()
_LONGEST_WAIT = 2.0

_PIECE = 8_192
_MANY = 20_000
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 1 << 17


def sort_gently(rows: Sequence[RowT], key: Callable[[RowT], Any]) -> list[RowT]:
    """The rows sorted (stably), in pieces: sorting a long list in one go holds up every other thread until it ends."""
    pieces = [sorted(rows[start : start + _PIECE], key=key) for start in range(0, len(rows), _PIECE)]
    while len(pieces) > 1:
        # Two sorted halves are merged in linear time.
        pieces = [
            sorted([*pieces[place], *pieces[place + 1]], key=key) if place + 1 < len(pieces) else pieces[place]
            for place in range(0, len(pieces), 2)
        ]
    return pieces[0] if pieces else []


def wait_for_first_look() -> None:
    """Wait on a thread until there is something to be seen, so that what can wait doesn't hold it up."""
    _started.wait(_LONGEST_WAIT)


def first_look_is_there() -> None:
    """Let the others go on."""
    _started.set()


def keep(count: int) -> None:
    """Tell that ``count`` objects were made that stay: looking for garbage among very many would be felt."""
    if count > _MANY:
        gc.freeze()


def return_memory() -> None:
    """Have the C library give large blocks back when they are freed, instead of keeping them for later: a directory
    of 200,000 entries would leave 25 MB behind. Where that can't be told (not glibc), it stays as it is. mallopt(3).
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((_M_ARENA_MAX, 2), (_M_TRIM_THRESHOLD, _LARGE), (_M_MMAP_THRESHOLD, _LARGE)):
        mallopt(option, value)
