"""Recorded times, kept as the text they are: which of two is later, and whether one is a time at all."""

from __future__ import annotations

from functools import lru_cache

from layerscope.formats.gotime import parse_rfc3339

_ZERO = "0001-01-01T00:00:00Z"
_ZERO_NANOSECONDS = -62_135_596_800 * 1_000_000_000


@lru_cache(maxsize=8192)
def nanoseconds(text: str | None) -> int | None:
    """Nanoseconds since 1970 of an RFC 3339 time, None if ``text`` isn't one. Go's zero time is a time here."""
    return _ZERO_NANOSECONDS if text == _ZERO else parse_rfc3339(text)


def sound_time(text: str | None) -> str | None:
    """``text`` if it is a time, else None."""
    return text if nanoseconds(text) is not None else None


def is_never(text: str | None) -> bool:
    """Whether ``text`` is missing, or the zero time that stands for "this has not happened"."""
    return not text or text == _ZERO
