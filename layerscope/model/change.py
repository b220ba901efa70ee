"""One line of a diff between two file trees."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ChangeKind(StrEnum):
    """docker's letters."""

    ADDED = "A"
    CHANGED = "C"
    DELETED = "D"


class Reason(StrEnum):
    """Why a path is in the list."""

    ADDED = "added"
    CONTENT = "content"
    METADATA = "metadata"
    TYPE = "type"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"
    ANCESTOR = "ancestor"


class Change(Struct):
    """One changed path, relative to the view's root, no leading slash.

    ``size`` and ``size_below`` are apparent bytes after and before (None where the path is absent or a directory);
    ``level`` and ``level_below`` the levels that serve it after and before (for a deletion: the level that hides it).
    """

    path: str
    kind: ChangeKind
    reason: Reason
    size: int | None = None
    size_below: int | None = None
    level: int | None = None
    level_below: int | None = None
