"""A level: one directory that the mount of an image or container would name.

Levels are counted from 1 (base). Image layers come first, then hidden init layers, a container's init layer, and its
writable layer on top. Source: moby daemon/graphdriver/overlay2/overlay.go; ``lower`` files of real roots.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID, DiffID


class Role(StrEnum):
    """What a level is in its stack."""

    IMAGE = "image"
    INIT = "init"
    RW = "rw"


class LayerKind(StrEnum):
    """What a level's directory holds: only what changed (with marks), or the whole tree."""

    DIFF = "diff"
    SNAPSHOT = "snapshot"


class Absence(Struct, frozen=True):
    """Why a level has no files here: ``what`` continues a sentence that begins with it; ``hint``: what helps."""

    what: str
    hint: str = ""


class Level(Struct, frozen=True):
    """One level of a stack.

    ``path`` is where its files lie, relative to the root (None if unknown); ``size`` its recorded bytes (None if not
    recorded: init and writable layers have no record). ``created_by`` is the history command ("" if none).
    ``absence``: why it has no cache ID, where that is known.
    """

    number: int
    role: Role
    cache_id: CacheID | None
    chain_id: ChainID | None = None
    diff_id: DiffID | None = None
    path: str | None = None
    size: int | None = None
    created_by: str = ""
    absence: Absence | None = None


class LevelCounts(Struct, frozen=True):
    """What one level does to those below it: paths by kind, and the bytes it stores.

    ``added`` new paths; ``modified`` copies with other content; ``metadata`` copies whose content is the same;
    ``deleted`` whiteouts; ``opaque`` opaque directories. ``size`` is apparent bytes, hard links once, as docker walks.
    """

    added: int = 0
    modified: int = 0
    metadata: int = 0
    deleted: int = 0
    opaque: int = 0
    size: int = 0
