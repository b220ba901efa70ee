"""Names in all levels of many stacks: each directory of a layer is read once, answers come sorted, as they are found.

What only ``lstat``, attributes or a comparison with the levels below can tell is asked of those entries whose names
fit, cheapest first.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from layerscope.analysis.stored_copies import Copy, Folder, Held, Strand, folder_of, stats_in, walk
from layerscope.model.entry import Entry, EntryState, file_type
from layerscope.model.found import Wanted
from layerscope.model.level import Level
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.provenance import describe
from layerscope.overlay.view import MergedView

_CAPABILITY = "security.capability"
_WHITEOUT = "whiteout"
_OF_KIND = {"d": {"dir"}, "f": {"file"}, "l": {"symlink"}, "o": {"char", "block", "fifo", "socket"}, "w": {_WHITEOUT}}


@dataclass(frozen=True, slots=True)
class Hit:
    """One stored copy: as an entry, with the numbers of the stacks that it was found in.

    ``gone``: none of these stacks has anything at its path in view. Without ``Wanted.deleted`` the entry is hidden
    only if it is hidden in all of them.
    """

    entry: Entry
    stacks: tuple[int, ...]
    gone: bool


@dataclass(slots=True)
class _Sighting:
    """A copy and the strands that have it; the first of them says what hides it."""

    copy: Copy
    strand: Strand
    stacks: tuple[int, ...]
    gone: bool
    hidden_by: int | None


def find_entries(
    views: Sequence[MergedView],
    wanted: Wanted,
    xattrs: bool = False,
    levels: Sequence[Mapping[int, Level]] | None = None,
) -> Iterator[Hit]:
    """The stored copies that fit, by the bytes of their paths, then higher levels first, then in the stacks' order.

    Args:
        views: The stacks. What can't be read is told in their problems.
        wanted: What is looked for.
        xattrs: Also all extended attributes of each.
        levels: Of each stack the levels by number, for chain and cache IDs.
    """
    types = wanted.types
    for folder, name in walk(folder_of(views), wanted.select):
        for sighting in _sightings(folder, name, wanted):
            kind = sighting.copy.kind
            if types and not types & _OF_KIND[kind]:
                continue
            level = None if levels is None else levels[sighting.stacks[0]].get(sighting.copy.part.level)
            hit = _hit(folder, name, sighting, wanted, xattrs, level)
            if hit is not None:
                yield hit


def _sightings(folder: Folder, name: str, wanted: Wanted) -> list[_Sighting]:
    """The copies of a name, each once, higher levels first."""
    found: dict[int, _Sighting] = {}
    for strand in folder.strands:
        copies = folder.copies(strand, name)
        if not copies:
            continue
        gone = copies[0].kind == "w" or copies[0].hider is not None
        for copy in copies:
            hidden_by = copy.hider.level if copy.hider else copy.part.level if copy.kind == "w" else None
            if (wanted.deleted and (not gone or copy.kind == "w")) or (wanted.visible and hidden_by is not None):
                continue
            known = found.get(id(copy.part))
            if known is None:
                found[id(copy.part)] = _Sighting(copy, strand, strand.stacks, gone, hidden_by)
                continue
            known.stacks = tuple(sorted((*known.stacks, *strand.stacks)))
            known.gone = known.gone and gone
            if hidden_by is None:
                known.hidden_by = None
    return sorted(found.values(), key=lambda one: (-one.copy.part.level, one.stacks))


def _hit(
    folder: Folder, name: str, sighting: _Sighting, wanted: Wanted, xattrs: bool, level: Level | None
) -> Hit | None:
    """A sighting as an entry, None if it doesn't fit after all."""
    copy = sighting.copy
    part = copy.part
    stat = _stat(sighting, name)
    if stat is None or not _fits(copy, name, stat, wanted):
        return None
    chain_id, cache_id = (None, None) if level is None else (level.chain_id, level.cache_id)
    hidden_by = sighting.hidden_by
    hidden = hidden_by is not None
    state: EntryState | None = None
    if copy.kind == "w":
        state = EntryState.WHITEOUT
    elif copy.kind in ("f", "o") and not xattrs and not _replaces(folder, name, sighting):
        state = EntryState.PLAIN if part.level == sighting.strand.view.base else EntryState.ADDED
    if state is not None:  # nothing has to be compared
        if wanted.states and state not in wanted.states:
            return None
        path = folder.path_of(name)
        attributes: dict[str, bytes] | None = {} if xattrs else None
        entry = Entry(
            path,
            name,
            stat,
            part.level,
            state,
            hidden,
            hidden_by,
            chain_id=chain_id,
            cache_id=cache_id,
            xattrs=attributes,
        )
        return Hit(entry, sighting.stacks, sighting.gone)
    try:
        entry = describe(_as_of(folder, sighting), name, xattrs=xattrs)
    except OSError:
        return None  # it vanished
    if wanted.states and entry.state not in wanted.states:
        return None
    entry = replace(entry, hidden=hidden, hidden_by=hidden_by, chain_id=chain_id, cache_id=cache_id)
    return Hit(entry, sighting.stacks, sighting.gone)


def _stat(sighting: _Sighting, name: str) -> os.stat_result | None:
    part = sighting.copy.part
    if sighting.copy.kind != "w":
        return stats_in(sighting.strand.view, part, (name,))[0]
    try:
        return part.whiteout_stat(name)
    except OSError:
        return None


def _fits(copy: Copy, name: str, stat: os.stat_result, wanted: Wanted) -> bool:
    mode = stat.st_mode
    kind = _WHITEOUT if copy.kind == "w" else file_type(mode)
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
            return modes.S_ISREG(mode) and copy.kind != "w" and copy.part.directory.xattr(_CAPABILITY, name) is not None
        except OSError:  # it vanished
            return False
    return True


def _below(sighting: _Sighting) -> Iterator[Held]:
    """The directories that the view had below a copy's own when its level was made, top first."""
    held = sighting.strand.held
    for lower in held[held.index(sighting.copy.held) + 1 :]:
        if lower.barrier is not None:
            return
        yield lower


def _replaces(folder: Folder, name: str, sighting: _Sighting) -> bool:
    """Whether a level below may have something of that name: then only a comparison tells what was done to it."""
    return any(folder.listing(lower.part).get(name) is not None for lower in _below(sighting))


def _as_of(folder: Folder, sighting: _Sighting) -> MergedDirectory:
    """The merged directory as it was after the level of a copy."""
    parts = (sighting.copy.part, *(lower.part for lower in _below(sighting)))
    return MergedDirectory(sighting.strand.view, folder.path, parts)
