"""The times of the story, all in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """``2026-03-12T09:02:11`` as a time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


POWER_LOST = moment("2026-03-12T10:22:41")
"""When the host lost power: nothing happened after that."""
