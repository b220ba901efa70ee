"""Finding a text or bytes in a file of any size, forwards or backwards, in pieces of a megabyte."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from layerscope.errors import UsageError
from layerscope.services.file.copies import Cancelled, Stopped, never
from layerscope.services.file.pages import FilePages

_CHUNK = 1 << 20
_LONGEST = 1 << 10
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\(\\|n|t|r)")
_CHARACTERS = {"\\": b"\\", "n": b"\n", "t": b"\t", "r": b"\r"}


class Needle(Struct, frozen=True):
    """What is looked for: the bytes ``wanted``, in which with ``any_case`` lower-case letters mean either case."""

    text: str
    wanted: bytes
    any_case: bool

    def find(self, data: bytes, start: int = 0) -> int:
        """The first place in ``data`` from ``start`` on, or -1."""
        return self._comparable(data).find(self.wanted, start)

    def find_last(self, data: bytes, end: int) -> int:
        """The last place in ``data`` that begins before ``end``, or -1."""
        return self._comparable(data).rfind(self.wanted, 0, end + len(self.wanted) - 1)

    def _comparable(self, data: bytes) -> bytes:
        return data.lower() if self.any_case else data


def parse_needle(text: str) -> Needle:
    r"""What a user typed, as bytes: UTF-8, with ``\xNN``, ``\n``, ``\t``, ``\r`` and ``\\``.

    Without capital letters, ASCII letters match either case.

    Raises:
        UsageError: it is empty, or longer than 1,024 bytes.
    """
    wanted = bytearray()
    place = 0
    for match in _ESCAPE.finditer(text):
        wanted += text[place : match.start()].encode("utf-8", "surrogateescape")
        wanted += bytes.fromhex(match[1]) if match[1] else _CHARACTERS[match[2]]
        place = match.end()
    wanted += text[place:].encode("utf-8", "surrogateescape")
    if not 0 < len(wanted) <= _LONGEST:
        raise UsageError(f"what to look for is {len(wanted)} bytes long, expected 1 to {_LONGEST}")
    return Needle(text, bytes(wanted), any_case=text == text.lower())


def find_bytes(
    pages: FilePages,
    needle: Needle,
    start: int,
    *,
    backwards: bool = False,
    stopped: Stopped = never,
    progress: Callable[[int], None] | None = None,
) -> int | None:
    """Where the needle is found next: the first place at or after ``start``, or the last one before it.

    ``progress`` is told the offset that the search has come to. None: it isn't there.

    Raises:
        Cancelled: ``stopped`` said so.
        RootError: the disk said no.
    """
    more = len(needle.wanted) - 1
    place = start
    while place > 0 if backwards else place < pages.size:
        if stopped():
            raise Cancelled("given up")
        low = max(0, place - _CHUNK) if backwards else place
        high = place if backwards else place + _CHUNK
        # Some bytes more, so that what lies across the border isn't missed.
        data = pages.stream(low, high - low + more)
        found = needle.find_last(data, high - low) if backwards else needle.find(data)
        if found >= 0:
            return low + found
        place = low if backwards else high
        if progress is not None:
            progress(place)
    return None
