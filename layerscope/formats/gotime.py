"""The times that Go programs write, as whole nanoseconds since 1970-01-01T00:00:00Z.

Text (JSON of docker, containerd, podman)::

    2024-01-02T03:04:05.678901234Z      RFC 3339, 0 to 9 digits of a second, trailing zeros left out
    2024-01-02T03:04:05.6+02:00         or with an offset
    0001-01-01T00:00:00Z                Go's zero time: never happened

Binary (containerd's databases; big-endian)::

    version u8 = 1, seconds since 0001-01-01T00:00:00Z i64, nanoseconds i32, zone offset i16 in minutes (-1 = UTC)
    version u8 = 2: the same, then the offset's seconds i8

Nanoseconds don't fit into ``datetime``, and image IDs depend on them, so ``int`` is the value and ``datetime`` a view.
What isn't a time is None, like the zero time: a broken field costs that field.

Source: Go time/format_rfc3339.go, ``Time.MarshalBinary``.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,32}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_SECOND = 1_000_000_000
_DAY = 24 * 60 * 60
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO_SECONDS = (1 - _EPOCH_DAY) * _DAY
"""Seconds from 1970 back to Go's zero time (day 1 of year 1)."""
_BINARY_SIZES = {1: 15, 2: 16}


def parse_rfc3339(text: object) -> int | None:
    """Nanoseconds since 1970 of an RFC 3339 text; None for the zero time and for what isn't one.

    Digits beyond nanoseconds are cut off, as Go does.
    """
    match = _TEXT.fullmatch(text) if isinstance(text, str) and len(text) <= 64 else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, zone_hour, zone_minute = match.groups()[6:]
    if hour > 23 or minute > 59 or second > 59 or int(zone_hour or 0) > 24 or int(zone_minute or 0) > 59:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    offset = (int(zone_hour or 0) * 60 + int(zone_minute or 0)) * 60 * (-1 if sign == "-" else 1)
    seconds = days * _DAY + (hour * 60 + minute) * 60 + second - offset
    return _instant(seconds, int((fraction or "")[:9].ljust(9, "0")))


def parse_binary(data: bytes | None) -> int | None:
    """Nanoseconds since 1970 of a time that Go marshalled; None for the zero time and for what isn't one."""
    if data is None or not data or len(data) != _BINARY_SIZES.get(data[0]):
        return None
    seconds = int.from_bytes(data[1:9], "big", signed=True)
    nanoseconds = int.from_bytes(data[9:13], "big", signed=True)
    return _instant(seconds + _ZERO_SECONDS, nanoseconds) if 0 <= nanoseconds < _SECOND else None


def format_rfc3339(nanoseconds: int) -> str | None:
    """The text that Go writes for this time in UTC, without trailing zeros; None outside of the years 1 to 9999."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    whole = _whole_seconds(seconds)
    if whole is None:
        return None
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{whole.year:04d}-{whole:%m-%dT%H:%M:%S}{digits}Z"


def to_datetime(nanoseconds: int) -> datetime | None:
    """The same instant as an aware ``datetime`` in UTC, cut to microseconds; None outside of the years 1 to 9999."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    whole = _whole_seconds(seconds)
    return None if whole is None else whole.replace(microsecond=fraction // 1000)


def _instant(seconds: int, nanoseconds: int) -> int | None:
    return None if (seconds, nanoseconds) == (_ZERO_SECONDS, 0) else seconds * _SECOND + nanoseconds


def _whole_seconds(seconds: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None
