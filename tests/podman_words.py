"""What podman writes its own way – IDs, times, rounded sizes – in the form of ours."""

from __future__ import annotations

import re
from datetime import datetime


def digest(text: str) -> str:
    """podman's IDs have no algorithm before them, ours have."""
    return f"sha256:{text.removeprefix('sha256:')}" if text else ""


def moment(text: str | None) -> datetime:
    """A time to the microsecond, whatever its zone."""
    assert text is not None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def rounded(number: int, like: str) -> str:
    """A number of bytes as podman's tables have it, with four digits, in the unit of ``like``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if like.endswith(unit):
            return f"{number / size:.4g}{unit}"
    return f"{number}B"
