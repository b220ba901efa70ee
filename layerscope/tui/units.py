"""Sizes, times and modes as the terminal UI writes them."""

from __future__ import annotations

import stat
import time
from functools import lru_cache

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


@lru_cache(maxsize=8192)
def size_text(size_bytes: int | None) -> str:
    """A size of at most 7 cells, decimal, in two or three digits: ``812 B``, ``41.3 kB``, ``149 MB``; None is ``?``."""
    if size_bytes is None:
        return "?"
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value, step = size_bytes / 1000, 0
    while value >= 999.5 and step < len(_UNITS) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.1f} {_UNITS[step]}" if value < 99.95 else f"{value:,.0f} {_UNITS[step]}"


@lru_cache(maxsize=8192)
def local_time(seconds: int) -> str:
    """A time of 16 cells in the local zone, as lists show it: ``2026-03-12 10:22``; blank if no calendar has it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return " " * 16


@lru_cache(maxsize=1024)
def mode_text(mode: int) -> str:
    """Type and permissions as ``ls`` writes them, 10 cells: ``-rw-r--r--``."""
    return stat.filemode(mode)
