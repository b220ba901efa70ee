"""Names in all levels of many stacks: each directory of a layer is read once, answers come sorted, as they are found.

What only ``lstat``, attributes or a comparison with the levels below can tell is asked of those entries whose names
fit, cheapest first. Most files lie in one level only and have no attributes: those of one directory come as a
:class:`Run`, without a value for each.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from layerscope.analysis.find.shared_levels import Repeats, SharedLevels, without_repeats
from layerscope.analysis.find.sightings import (
    Outlook,
    Sighting,
    as_of,
    outlooks_of,
    replaces,
    sightings_of,
    state_of_new,
)
from layerscope.analysis.waste.copies import Folder, folder_of, stats_in, walk_runs
from layerscope.hostfs import Directory
from layerscope.hostfs.attributes import names_with_xattrs
from layerscope.model.digest import CacheID, ChainID
from layerscope.model.entry import Entry, EntryState
from layerscope.model.file_type import file_type
from layerscope.model.found import Alike, FoundRow, Wanted
from layerscope.overlay.part import MarkedKind, Part
from layerscope.overlay.provenance import describe
from layerscope.overlay.view import MergedView

_CAPABILITY = "security.capability"
_WHITEOUT = "whiteout"
_TYPE = 0o170000
_TOGETHER = 512
_FIRST = (0,)
_OF_KIND = {"d": {"dir"}, "f": {"file"}, "l": {"symlink"}, "o": {"char", "block", "fifo", "socket"}, "w": {_WHITEOUT}}


LayerIDs = tuple[ChainID | None, CacheID | None]
Layers = Sequence[LayerIDs]
"""Of the levels of one stack from the base on."""
_NO_LAYER: LayerIDs = (None, None)


class Hit(Struct, frozen=True):
    """One stored copy: as an entry, with the numbers of the stacks that it was found in.

    ``gone``: none of these stacks has anything at its path in view. Without ``Wanted.deleted`` the entry is hidden
    only if it is hidden in all of them.
    """

    entry: Entry
    stacks: tuple[int, ...]
    gone: bool


class Run(NamedTuple):
    """Files, symlinks and other entries of one directory that are seen and hidden alike, and have no attributes.

    ``xattrs``: whether anybody asked for these. ``stacks`` and ``gone`` as in :class:`Hit`.
    """

    copies: Alike
    stacks: tuple[int, ...]
    gone: bool
    xattrs: bool

    def hits(self) -> Iterator[Hit]:
        """The entries, one by one."""
        for entry in self.copies.entries({} if self.xattrs else None, {}):
            yield Hit(entry, self.stacks, self.gone)


class _Look(NamedTuple):
    """What some names of one directory are, and those that may have attributes."""

    stats: dict[str, os.stat_result | None]
    special: frozenset[str]


def find_runs(
    views: Sequence[MergedView],
    wanted: Wanted,
    xattrs: bool = False,
    layers: Sequence[Layers] | None = None,
) -> Iterator[Run | Hit]:
    """The stored copies that fit, by the bytes of their paths, then higher levels first, then in the stacks' order.

    What lies together comes in one piece.

    Args:
        views: The stacks. What can't be read is told in their problems.
        wanted: What is looked for.
        xattrs: Also all extended attributes of each.
        layers: Of each stack the layers of its levels.
    """
    shared = SharedLevels()
    lean, repeats = without_repeats([shared.lean(view) for view in views])
    searches: list[_Search] = []  # in the directories that aren't finished, each in the one before
    for folder, names in walk_runs(folder_of(lean), wanted.select):
        while searches and not searches[-1].is_around(folder):
            searches.pop()
        if not searches or searches[-1].folder is not folder:
            searches.append(_Search(folder, wanted, xattrs, layers, repeats))
        yield from searches[-1].found(names)


class _Search:
    """The search in one directory."""

    def __init__(
        self,
        folder: Folder,
        wanted: Wanted,
        xattrs: bool,
        layers: Sequence[Layers] | None,
        repeats: Sequence[Repeats],
    ) -> None:
        self.folder = folder
        self._wanted = wanted
        self._xattrs = xattrs
        self._layers = layers
        self._repeats = repeats
        self._checks = replace(wanted, deleted=False, visible=False, states=frozenset()) != Wanted(wanted.select)
        self._listings = list(folder.listings())
        self._holders = folder.holders() if len(self._listings) > 1 else None
        self._outlooks: dict[int, Outlook] | None = None
        self._patterns: dict[tuple[tuple[int, MarkedKind], ...], list[Sighting]] = {}

    def is_around(self, folder: Folder) -> bool:
        """Whether ``folder`` is this directory or below it."""
        path = self.folder.path
        return folder is self.folder or not path or folder.path.startswith(f"{path}/")

    def found(self, names: list[str]) -> Iterator[Run | Hit]:
        """What there is of these names, which are in order."""
        for first in range(0, len(names), _TOGETHER):
            yield from self._found(names[first : first + _TOGETHER])

    def _found(self, names: list[str]) -> Iterator[Run | Hit]:
        looks: dict[int, _Look] = {}
        alone: list[str] = []
        part: Part | None = None
        holders, listings, types = self._holders, self._listings, self._wanted.types
        for name in names:
            here: Part | None = None
            places = _FIRST if holders is None else holders[name]
            if len(places) == 1:
                here, listing = listings[places[0]]
                kind = listing[name]
                if kind in ("d", "w"):
                    here = None
                elif types and not types & _OF_KIND[kind]:
                    continue
            if here is not part and part is not None:
                yield from self._alone(part, alone)
                alone = []
            part = here
            if here is not None:
                alone.append(name)
            else:
                yield from self._one(name, names, looks)
        if part is not None:
            yield from self._alone(part, alone)

    def _one(self, name: str, names: list[str], looks: dict[int, _Look]) -> Iterator[Run | Hit]:
        """The copies of a name, each looked at by itself; ``looks`` are those at all of ``names``."""
        sightings = self._sightings(name)
        found = ((one, made) for one in sightings if (made := self._looked_at(name, one, names, looks)) is not None)
        if any(self._repeats[one.stacks[0]] for one in sightings):
            yield from self._repeated(found)
        else:
            yield from (made for _, made in found)

    def _looked_at(self, name: str, sighting: Sighting, names: list[str], looks: dict[int, _Look]) -> Run | Hit | None:
        """One copy of a name, None if it isn't what is wanted."""
        wanted = self._wanted
        kind, part = sighting.copy.kind, sighting.part
        if wanted.types and not wanted.types & _OF_KIND[kind]:
            return None
        look = looks.get(id(part))
        if look is None:
            look = looks[id(part)] = self._look(part, sighting.strand.view, names)
        stat = look.stats.get(name) or _stat(sighting, name)
        if stat is None or not _fits(part, stat, name, wanted, removes=kind == "w"):
            return None
        if kind == "w":
            if wanted.states and EntryState.WHITEOUT not in wanted.states:
                return None
            return self._run(sighting, EntryState.WHITEOUT, [(name, stat, None)])
        plain = self._xattrs and name not in look.special
        if kind != "d" and (plain or not self._xattrs) and not replaces(self.folder, name, sighting):
            state = state_of_new(part, sighting.strand)
            if wanted.states and state not in wanted.states:
                return None
            return self._run(sighting, state, [(name, stat, _target(part, name) if kind == "l" else None)])
        entry = self._described(name, sighting, plain)
        if entry is None or (wanted.states and entry.state not in wanted.states):
            return None
        if plain and entry.state is not None:
            return self._run(sighting, entry.state, [(name, entry.stat, entry.target)])
        return self._hit(entry, sighting)

    def _sightings(self, name: str) -> list[Sighting]:
        """The copies of a name. What isn't a directory is hidden as all are that the same levels have."""
        places = _FIRST if self._holders is None else self._holders[name]
        pattern = tuple([(place, self._listings[place][1][name]) for place in places])
        if any(kind == "d" for _, kind in pattern):
            return sightings_of(self.folder, name, self._wanted)
        found = self._patterns.get(pattern)
        if found is None:
            found = self._patterns[pattern] = sightings_of(self.folder, name, self._wanted)
        return found

    def _look(self, part: Part, view: MergedView, names: list[str]) -> _Look:
        """What ``lstat`` says of the names that ``part`` has, and which have attributes; few are wanted: of none."""
        if self._wanted.deleted or self._wanted.visible:
            return _Look({}, frozenset(names))
        listing = self.folder.listing(part)
        here = [name for name in names if name in listing]
        stats = dict(zip(here, stats_in(view, part, here), strict=True))
        asked = [name for name in here if listing[name] != "w"] if self._xattrs else []
        return _Look(stats, with_attributes(part, asked) if asked else frozenset())

    def _described(self, name: str, sighting: Sighting, plain: bool) -> Entry | None:
        """A copy as an entry, compared with what it replaces; None if it vanished. ``plain``: it has no attributes."""
        if sighting.as_of is None:
            sighting.as_of = as_of(self.folder, sighting)
        try:
            return describe(sighting.as_of, name, xattrs=self._xattrs and not plain)
        except OSError:
            return None

    def _hit(self, entry: Entry, sighting: Sighting) -> Hit:
        chain_id, cache_id = self._layer(sighting.stacks, sighting.part.level)
        by = sighting.hidden_by
        xattrs = {} if self._xattrs and entry.xattrs is None else entry.xattrs
        entry = replace(entry, hidden=by is not None, hidden_by=by, chain_id=chain_id, cache_id=cache_id, xattrs=xattrs)
        return Hit(entry, sighting.stacks, sighting.gone)

    def _layer(self, stacks: tuple[int, ...], level: int) -> LayerIDs:
        layers = self._layers[stacks[0]] if self._layers is not None else ()
        return layers[level - 1] if level <= len(layers) else _NO_LAYER

    def _alone(self, part: Part, names: list[str]) -> Iterator[Run | Hit]:
        """Names that only ``part`` holds, none of them a directory or a mark."""
        if self._outlooks is None:
            self._outlooks = outlooks_of(self.folder, self._wanted)
        outlook = self._outlooks.get(id(part))
        if outlook is None:
            return
        state = state_of_new(part, outlook.strand)
        if self._wanted.states and state not in self._wanted.states:
            return
        special = with_attributes(part, names) if self._xattrs else frozenset()
        rows: list[FoundRow] = []
        for name, stat in zip(names, stats_in(outlook.strand.view, part, names), strict=True):
            if name in special:
                if rows:
                    yield self._run(outlook, state, rows)
                    rows = []
                yield from self._one(name, [name], {})
            elif stat is not None and (not self._checks or _fits(part, stat, name, self._wanted, removes=False)):
                target = _target(part, name) if stat.st_mode & _TYPE == modes.S_IFLNK else None
                rows.append((name, stat, target))
        if rows:
            yield self._run(outlook, state, rows)

    def _run(self, seen: Outlook | Sighting, state: EntryState, rows: list[FoundRow]) -> Run:
        chain_id, cache_id = self._layer(seen.stacks, seen.part.level)
        copies = Alike(self.folder.path, rows, seen.part.level, state, seen.hidden_by, chain_id, cache_id)
        return Run(copies, seen.stacks, seen.gone, self._xattrs)

    def _repeated(self, found: Iterable[tuple[Sighting, Run | Hit]]) -> Iterator[Run | Hit]:
        """What was found, in order, once more for each level that another one stands for."""
        made: list[tuple[int, tuple[int, ...], Run | Hit]] = []
        for sighting, one in found:
            level, stacks = sighting.part.level, sighting.stacks
            last = self._repeats[stacks[0]].get(level, level)
            for again in range(last, level - 1, -1):
                made.append((-again, stacks, self._at(one, again, last, stacks) if last > level else one))
        made.sort(key=lambda row: row[:2])
        yield from (one for _, _, one in made)

    def _at(self, one: Run | Hit, level: int, last: int, stacks: tuple[int, ...]) -> Run | Hit:
        """A copy as ``level`` has it; the layer of the next one hides it there as above ``last``."""
        chain_id, cache_id = self._layer(stacks, level)
        here = one.copies if isinstance(one, Run) else one.entry
        by = here.hidden_by
        if by is not None and by <= last + 1:  # a whiteout's own level, or that of the next copy
            by = level if by == here.level else level + 1
        if isinstance(one, Run):
            copies = one.copies._replace(level=level, hidden_by=by, chain_id=chain_id, cache_id=cache_id)
            return one._replace(copies=copies)
        entry = replace(one.entry, level=level, hidden_by=by, chain_id=chain_id, cache_id=cache_id)
        return replace(one, entry=entry)


def with_attributes(part: Part, names: Sequence[str]) -> frozenset[str]:
    """Those of some names that have extended attributes, or may have: nobody knows of what can't be looked at."""
    directory = part.directory
    if isinstance(directory, Directory):
        try:
            return names_with_xattrs(directory, names)
        except OSError:
            return frozenset(names)
    return frozenset(names)


def _target(part: Part, name: str) -> str | None:
    try:
        return part.directory.readlink(name)
    except OSError:
        return None


def _stat(sighting: Sighting, name: str) -> os.stat_result | None:
    part = sighting.copy.part
    if sighting.copy.kind != "w":
        return stats_in(sighting.strand.view, part, (name,))[0]
    try:
        return part.whiteout_stat(name)
    except OSError:
        return None


def _fits(part: Part, stat: os.stat_result, name: str, wanted: Wanted, *, removes: bool) -> bool:
    mode = stat.st_mode
    kind = _WHITEOUT if removes else file_type(mode)
    if wanted.types and kind not in wanted.types:
        return False
    least, most = wanted.sizes
    if (least is not None or most is not None) and (kind in (_WHITEOUT, "dir")):
        return False
    if (least is not None and stat.st_size < least) or (most is not None and stat.st_size > most):
        return False
    if (wanted.uid is not None and stat.st_uid != wanted.uid) or (wanted.gid is not None and stat.st_gid != wanted.gid):
        return False
    if (wanted.setuid and not mode & modes.S_ISUID) or (wanted.setgid and not mode & modes.S_ISGID):
        return False
    if wanted.capabilities:
        try:
            return modes.S_ISREG(mode) and not removes and part.directory.xattr(_CAPABILITY, name) is not None
        except OSError:  # it vanished
            return False
    return True
