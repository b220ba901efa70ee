"""Sizes and durations in docker's own words, to the letter.

Sizes are decimal (1 kB = 1000 B), cut to three significant digits in ``docker images`` and ``docker ps``, to four in
``docker system df``. Durations are those of "5 minutes ago" and "Up 2 hours".

Source: docker/go-units size.go, duration.go; C's ``%g`` is Go's for all values that occur.
"""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE


def human_size(size_bytes: float, digits: int = 3) -> str:
    """A size as docker's tables give it: ``69.1kB`` with three digits, ``69.09kB`` with four.

    The value is rounded after the unit is chosen, so 999,999 bytes are ``1e+03kB``: docker prints that too.
    """
    size = float(size_bytes)
    unit = 0
    while size >= 1000.0 and unit < len(_UNITS) - 1:
        size /= 1000.0
        unit += 1
    return f"{size:.{digits}g}{_UNITS[unit]}"


def human_duration(nanoseconds: int) -> str:
    """How long, in one unit: ``Less than a second``, ``About a minute``, ``47 hours``, ``13 days``.

    The steps are uneven: hours are rounded, everything else is cut; two weeks, two months and two years are the first
    of their unit. A duration below zero (a clock that went back) is less than a second.
    """
    seconds = nanoseconds // _SECOND
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = nanoseconds // _MINUTE
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = (nanoseconds + _HOUR // 2) // _HOUR
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for hours_in_unit, first_of_next, name in ((24, 14, "days"), (24 * 7, 60, "weeks"), (24 * 30, 730, "months")):
        if hours < 24 * first_of_next:
            return f"{hours // hours_in_unit} {name}"
    return f"{nanoseconds // _HOUR // 24 // 365} years"
