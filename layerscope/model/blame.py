"""The life of one path through the levels of a stack."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from layerscope.model.level import Role


class BlameEvent(StrEnum):
    """What a level did to the path."""

    CREATED = "created"
    MODIFIED = "modified"
    METADATA = "metadata"
    REPLACED = "replaced"
    DELETED = "deleted"
    HIDDEN = "hidden"
    RECREATED = "recreated"


class BlameStep(Struct, frozen=True):
    """One level that did something to the path.

    ``fields`` names what differs from the copy before (``content mode uid gid mtime target rdev xattr:NAME type``).
    ``size`` is in bytes, ``sha256`` hexadecimal of the content; both None where the step leaves nothing or it isn't a
    regular file.
    """

    level: int
    role: Role
    created_by: str
    event: BlameEvent
    fields: tuple[str, ...]
    size: int | None
    sha256: str | None


class Blame(Struct, frozen=True):
    """A path's life, base first. ``paid_bytes`` are the bytes of every stored copy, seen or not."""

    path: str
    visible: bool
    served_by: int | None
    paid_bytes: int
    steps: tuple[BlameStep, ...]
