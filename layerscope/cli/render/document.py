"""JSON as it is written: whole documents, and the elements of long lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from layerscope.errors import CorruptError

_BREAKS_TERMINAL = str.maketrans({"\x7f": "\\u007f"})
_PIECES = 4096
"""Of a document that is made in parts: brackets, names and values, one each."""

_ENCODERS = {
    (terminal, indent): json.JSONEncoder(ensure_ascii=terminal, allow_nan=False, indent=indent)
    for terminal in (False, True)
    for indent in (None, 2)
}


def _text(value: Any, terminal: bool, indent: int | None) -> str:
    try:
        text = _ENCODERS[terminal, indent].encode(value)
    except RecursionError:
        raise CorruptError("the record is nested too deeply to be written as JSON") from None
    return text.translate(_BREAKS_TERMINAL) if terminal else text


def document(value: Any, terminal: bool = False) -> bytes:
    """A whole document, readable, with its line end. For a terminal everything beyond ASCII is escaped."""
    return _text(value, terminal, 2).encode() + b"\n"


class Streamed(list[Any]):
    """A list in a document that is made while it is written: ``make`` gives its elements anew each time it is asked.

    It is what :func:`parts` takes for a list; whoever reads it otherwise finds it empty.
    """

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        super().__init__()
        self._make = make

    def __bool__(self) -> bool:
        return next(iter(self._make()), self) is not self

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())


def parts(value: Any, terminal: bool = False) -> Iterator[bytes]:
    """The bytes of :func:`document`, in parts: neither the whole text nor the elements of a ``Streamed`` are held."""
    pieces = _ENCODERS[terminal, 2].iterencode(value)
    while some := "".join(islice(pieces, _PIECES)):
        yield (some.translate(_BREAKS_TERMINAL) if terminal else some).encode()
    yield b"\n"


def element(value: Any, terminal: bool = False) -> bytes:
    """One element of a list, on one line."""
    return element_text(value, terminal).encode()


def element_text(value: Any, terminal: bool = False) -> str:
    """As :func:`element`, before it is encoded."""
    return _text(value, terminal, None)
