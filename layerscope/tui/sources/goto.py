"""Where to go in a file, as a user types it.

| typed | means |
|---|---|
| ``120`` | line 120 of a text, byte 120 of a hex view |
| ``0x1f0`` | the byte at that offset |
| ``50%`` | the byte at that share of the file |
"""

from __future__ import annotations

import re

from msgspec import Struct

from layerscope.errors import UsageError

_PLACE = re.compile(r"0[xX]([0-9a-fA-F]{1,16})|([0-9][0-9,_]{0,24})|([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")


class Destination(Struct, frozen=True):
    """A line (from 1), or an offset in bytes; exactly one of them is set."""

    line: int | None = None
    offset: int | None = None


def parse_destination(text: str, size: int, *, lines: bool) -> Destination:
    """Read what was typed; ``lines``: a plain number is a line, else an offset. An offset beyond the end is the end.

    Raises:
        UsageError: it is no place in a file.
    """
    match = _PLACE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no place: expected {'a line' if lines else 'an offset'}, 0x1f0, or 50%")
    offset, number, share = match.groups()
    if offset is not None:
        return Destination(offset=min(int(offset, 16), max(0, size - 1)))
    if share is not None:
        return Destination(offset=min(int(size * float(share) / 100), max(0, size - 1)))
    value = int(number.replace(",", "").replace("_", ""))
    if lines:
        return Destination(line=max(1, value))
    return Destination(offset=min(value, max(0, size - 1)))
