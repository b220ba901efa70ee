"""What a search for names asks, and what it finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID
from layerscope.model.entry import Entry, EntryState

FoundRow = tuple[str, os.stat_result, str | None]
"""Name, ``lstat`` and, of a symlink, the target."""


class Wanted(Struct, frozen=True):
    """What is looked for; every condition that is given must hold.

    ``select`` gets the path of a directory (no leading slash) and the names in it, and gives those that fit. ``types``
    are the words of ``Entry.type``, and ``whiteout``, which is no other type; empty: any. ``sizes`` are lowest and
    highest ``st_size`` in bytes, of what is no directory (None: no limit). ``states`` are what the level did (empty:
    any). ``deleted``: only copies of paths that are gone from the view, ``visible``: only what is in it.
    """

    select: Callable[[str, Collection[str]], Iterable[str]]
    types: frozenset[str] = frozenset()
    sizes: tuple[int | None, int | None] = (None, None)
    states: frozenset[EntryState] = frozenset()
    uid: int | None = None
    gid: int | None = None
    setuid: bool = False
    setgid: bool = False
    capabilities: bool = False
    deleted: bool = False
    visible: bool = False


class FoundEntry(Struct, frozen=True):
    """One stored copy that was looked for.

    ``ref`` is ready for ``cat`` and ``extract``: a thing whose stack has the copy, cut at its level, and the path;
    "" for a layer that no image and no container has. ``holders`` names all of those (for a deleted path: those in
    whose view it is gone). ``gone``: no view of them has anything at the path.
    """

    entry: Entry
    ref: str
    holders: tuple[str, ...]
    gone: bool


class Alike(NamedTuple):
    """Stored copies of one directory that differ by name, ``lstat`` and target only, in order.

    ``folder`` has no leading slash.
    """

    folder: str
    rows: list[FoundRow]
    level: int
    state: EntryState
    hidden_by: int | None
    chain_id: ChainID | None
    cache_id: CacheID | None

    def path(self, name: str) -> str:
        """Where the copy of that name is, without a leading slash."""
        return f"{self.folder}/{name}" if self.folder else name

    def entries(self, xattrs: Mapping[str, bytes] | None, links: Mapping[str, str]) -> Iterator[Entry]:
        """The copies, one by one; ``links`` as in :class:`FoundRun`."""
        start = f"{self.folder}/" if self.folder else ""
        for name, stat, target in self.rows:
            yield Entry(
                start + name,
                name,
                stat,
                self.level,
                self.state,
                self.hidden_by is not None,
                self.hidden_by,
                target=target,
                link_to=links.get(name),
                chain_id=self.chain_id,
                cache_id=self.cache_id,
                xattrs=xattrs,
            )


class FoundRun(NamedTuple):
    """Copies of one directory that are alike; none has extended attributes.

    ``ref`` ends where their paths begin ("" as in :class:`FoundEntry`). ``links`` are the first names, by theirs, of
    those in view that are later names of one inode.
    """

    copies: Alike
    links: Mapping[str, str]
    ref: str
    holders: tuple[str, ...]
    gone: bool

    def entries(self) -> Iterator[FoundEntry]:
        """The copies, one by one."""
        for entry in self.copies.entries({}, self.links):
            yield FoundEntry(entry, f"{self.ref}{entry.path}" if self.ref else "", self.holders, self.gone)
