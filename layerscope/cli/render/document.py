"""JSON as it is written: whole documents, and the elements of long lists."""

from __future__ import annotations

import json
from typing import Any

from layerscope.errors import CorruptError

_BREAKS_TERMINAL = str.maketrans({"\x7f": "\\u007f"})


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


def element(value: Any, terminal: bool = False) -> bytes:
    """One element of a list, on one line."""
    return element_text(value, terminal).encode()


def element_text(value: Any, terminal: bool = False) -> str:
    """As :func:`element`, before it is encoded."""
    return _text(value, terminal, None)
