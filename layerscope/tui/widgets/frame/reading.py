"""Work on a thread, awaited: with a count that a pane shows while it lasts, and an end at once when it is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from layerscope.tui.sources.files import Tick

_SHOW_AFTER = 0.2

ResultT = TypeVar("ResultT")


class ReadingStopped(Exception):
    """Raised on the thread by a tick when nobody waits for the result any more."""


async def read_on_thread(function: Callable[[Tick], ResultT], progress: Callable[[int], None]) -> ResultT:
    """What ``function`` returns or raises. It is given a tick to call now and then with a count.

    Args:
        function: Runs on a thread of its own.
        progress: Told the last count several times a second, if it takes that long.
    """
    stopped = threading.Event()
    last = 0

    def tick(count: int) -> None:
        nonlocal last
        last = count
        if stopped.is_set():
            raise ReadingStopped

    reading = asyncio.ensure_future(asyncio.to_thread(function, tick))
    try:
        while not (await asyncio.wait({reading}, timeout=_SHOW_AFTER))[0]:
            progress(last)
        return reading.result()
    finally:
        stopped.set()
        # Given up: what the thread ends with then is nobody's business.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())


def asking(tick: Tick) -> Callable[[], bool]:
    """A tick in the shape that services ask for: it never says that the work is to stop, it raises."""

    def stopped() -> bool:
        tick(0)
        return False

    return stopped
