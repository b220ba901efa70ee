"""One entry of a merged directory, with where it comes from and what its level did to it."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID
from layerscope.model.file_type import file_type


class EntryState(StrEnum):
    """What the level that serves an entry did to it, seen from the levels below.

    PLAIN: level 1 brought it. ADDED: nothing was visible there before. MODIFIED: content (or type) differs from the
    copy below. METADATA: same content, other mode, owner, times or xattrs. UNCHANGED: copied up, nothing differs.
    WHITEOUT: a mark that removes the name. OPAQUE: a directory that hides the one below.
    """

    PLAIN = "plain"
    ADDED = "added"
    MODIFIED = "modified"
    METADATA = "metadata"
    UNCHANGED = "unchanged"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"


class Entry(Struct, frozen=True):
    """One path of a merged view, or one hidden copy of it.

    ``path`` is relative to the view's root, no leading slash. ``level`` counts from 1 (base) and is the level whose
    copy is described. ``state`` is None when it was not asked for. ``hidden`` entries aren't in the view: whiteouts,
    and what a whiteout or opaque directory of level ``hidden_by`` covers. ``level_below`` is the nearest lower level
    with a visible copy that this one replaces (None: none). ``xattrs`` are those that a mount would show, not the
    overlay's own marks; None when they were not asked for.
    """

    path: str
    name: str
    stat: os.stat_result
    level: int
    state: EntryState | None
    hidden: bool = False
    hidden_by: int | None = None
    level_below: int | None = None
    target: str | None = None
    link_to: str | None = None
    chain_id: ChainID | None = None
    cache_id: CacheID | None = None
    xattrs: Mapping[str, bytes] | None = None

    @property
    def type(self) -> str:
        """``file dir symlink char block fifo socket``."""
        return file_type(self.stat.st_mode)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return modes.S_ISDIR(self.stat.st_mode)
