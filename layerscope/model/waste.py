"""Waste: bytes that a stack stores and nobody needs, by cause."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Cause(StrEnum):
    """Why bytes are stored for nothing.

    OVERWRITTEN: a later level has other content (or another type) under the name. DELETED: a later level removed the
    name, or a directory above it. METADATA: a later level copied the file up, and its content is still the same.
    OPAQUE: a later level made the directory anew. SAME_CONTENT: the bytes are seen, but stored more than once.
    """

    OVERWRITTEN = "overwritten"
    DELETED = "deleted"
    METADATA = "metadata"
    OPAQUE = "opaque"
    SAME_CONTENT = "same-content"


class WasteItem(Struct, frozen=True):
    """One wasted copy: ``path`` (no leading slash) as level ``level`` stores it, ``bytes`` apparent.

    ``hidden_by`` is the nearest level above that hides it; None for SAME_CONTENT, where ``same_as`` is the copy that is
    kept, its path and level, and ``same_in`` what other thing that level belongs to ("" for the same stack).
    ``created_by`` is the history command that caused the waste ("" if there is none), ``stored_by`` that of the level
    which holds the bytes.
    """

    path: str
    cause: Cause
    bytes: int
    level: int
    hidden_by: int | None
    created_by: str = ""
    stored_by: str = ""
    remedy: str = ""
    same_as: tuple[str, int] | None = None
    same_in: str = ""


class CauseTotal(Struct, frozen=True):
    """All items of one cause: their bytes and how many."""

    cause: Cause
    bytes: int
    count: int


class LevelWaste(Struct, frozen=True):
    """What one level stores (each inode once), and how much of that is wasted, in apparent bytes."""

    level: int
    paid_bytes: int
    wasted_bytes: int
    created_by: str = ""


class DiveScore(Struct, frozen=True):
    """The same stack judged by dive's rule: paths instead of bytes in view, opaque directories not known.

    ``efficiency`` is the smallest copies' bytes through all copies'; ``wasted_bytes`` counts **all** copies of a path
    that has several, the one in view included; ``wasted_user_percent`` is that through the bytes of all levels but the
    base (0 to 1; None if they hold nothing). Hard links count once a level, symlinks nothing.
    Source: dive, filetree/efficiency.go and image/analysis.go.
    """

    efficiency: float
    wasted_bytes: int
    wasted_user_percent: float | None


class Waste(Struct, frozen=True):
    """What a stack stores and what of it is in view, in apparent bytes; each inode of a level counts once.

    ``paid_bytes`` are stored in all levels, ``visible_bytes`` of them are seen in the view, the rest is hidden.
    ``wasted_bytes`` is the sum of ``causes``: all that is hidden, and of content that is seen but stored several times
    all copies but one. Directories, devices and marks count nothing; a symlink counts its target's length.
    """

    paid_bytes: int
    visible_bytes: int
    wasted_bytes: int
    causes: tuple[CauseTotal, ...]
    levels: tuple[LevelWaste, ...]
    dive: DiveScore

    @property
    def efficiency(self) -> float:
        """Visible bytes through paid bytes; 1 for a stack that stores nothing."""
        return self.visible_bytes / self.paid_bytes if self.paid_bytes else 1.0

    @property
    def hidden_bytes(self) -> int:
        """What is stored and in no view."""
        return self.paid_bytes - self.visible_bytes


class RuleResult(Struct, frozen=True):
    """One rule of a pipeline: what it limits, the limit, the value found, and whether that keeps to it."""

    rule: str
    limit: float
    value: float
    ok: bool
