"""The entries of a merged directory with the level that each comes from, and what is hidden beside them.

They become :class:`~layerscope.model.entry.Entry` values here; what the level did to an entry is told by
:mod:`layerscope.overlay.entry_state`.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge

from layerscope.model.entry import Entry, EntryState
from layerscope.overlay.entry_state import directory_state, link_target, own_xattrs, state_of
from layerscope.overlay.merged import NOTHING, Covered, MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView, stats_of

_AT_ONCE = 2048


def entries(
    directory: MergedDirectory, hidden: bool = False, compare_bytes: int | None = None, xattrs: bool = False
) -> list[Entry]:
    """The entries of a merged directory, sorted by the bytes of their names, hidden copies after what hides them.

    Args:
        directory: The merged directory; one scan of each of its parts.
        hidden: Also what is not in the view: whiteouts, and the copies that whiteouts and opaque directories cover.
        compare_bytes: Files above this size aren't read to tell whether a copy differs from the one below: their
            state is None (unknown) unless size or times already tell. None: always read.
        xattrs: Also all extended attributes of each entry.
    """
    return list(ordered_entries(directory, hidden, compare_bytes, xattrs))


def ordered_entries(
    directory: MergedDirectory, hidden: bool = False, compare_bytes: int | None = None, xattrs: bool = False
) -> Iterator[Entry]:
    """As :func:`entries`, one by one; a directory costs its names in memory, and what is hidden in it."""
    parts = {name: part for name, part, _ in directory.attributed()}
    ordered = _in_order(directory, parts, compare_bytes, xattrs)
    if not hidden:
        return ordered
    return merge(ordered, sorted(_hidden(directory, xattrs), key=_by_name), key=_by_name)


def _in_order(
    directory: MergedDirectory, parts: Mapping[str, Part], compare_bytes: int | None, xattrs: bool
) -> Iterator[Entry]:
    names = sorted(parts, key=os.fsencode)
    for first in range(0, len(names), _AT_ONCE):
        groups: dict[int, tuple[Part, list[str]]] = {}
        for name in names[first : first + _AT_ONCE]:
            groups.setdefault(id(parts[name]), (parts[name], []))[1].append(name)
        found = [_served(directory, part, some, compare_bytes, xattrs) for part, some in groups.values()]
        yield from found[0] if len(found) == 1 else merge(*found, key=_by_name)


def stream_entries(
    directory: MergedDirectory, hidden: bool = False, compare_bytes: int | None = None, xattrs: bool = False
) -> Iterator[Entry]:
    """As :func:`entries`, one by one, in no order but that hidden ones come last, each after what hides it.

    A directory costs its names in memory, not its entries.
    """
    groups: dict[int, tuple[Part, list[str]]] = {}
    for name, part, _ in directory.attributed():
        groups.setdefault(id(part), (part, []))[1].append(name)
    for part, names in groups.values():
        yield from _served(directory, part, names, compare_bytes, xattrs)
    if hidden:
        yield from _hidden(directory, xattrs)


def _by_name(entry: Entry) -> tuple[bytes, int]:
    return os.fsencode(entry.name), -entry.level


def own_entries(directory: MergedDirectory) -> list[Entry]:
    """What the topmost level of a merged directory itself holds there, whiteouts included, sorted as :func:`entries`.

    Reads that level's directory only; names are looked up one by one in the levels below.
    """
    return sorted(stream_own_entries(directory), key=_by_name)


def stream_own_entries(directory: MergedDirectory, compare_bytes: int | None = None) -> Iterator[Entry]:
    """As :func:`own_entries`, one by one, in no order but that whiteouts come last.

    ``compare_bytes``: as of :func:`entries`.
    """
    if not directory.parts:
        return
    top = directory.parts[0]
    listing = directory.view.listing_of(top)
    names = [name for name, kind in listing.items() if kind != "w"]
    for lower in directory.parts[1:]:
        lower.learn(names)
    yield from _served(directory, top, names, compare_bytes)
    for name, kind in listing.items():
        if kind == "w":
            yield from _covered_entry(directory, top, name, top.level, False, EntryState.WHITEOUT)


def entry_at(view: MergedView, path: str) -> Entry:
    """The entry at ``path`` of a view with its state; a last symlink is the entry. Raises as ``MergedView.place``."""
    place = view.place(path)
    return describe(place.directory, place.name) if place.name else describe_directory(place.directory)


def _served(
    directory: MergedDirectory, part: Part, names: Sequence[str], compare_bytes: int | None, xattrs: bool = False
) -> Iterator[Entry]:
    """The entries ``names``, which are what ``part`` made them."""
    lower, server = _parts_below(directory, part), directory.server(part)
    plain = EntryState.PLAIN if part.level == directory.view.base else EntryState.ADDED
    prefix = directory.path + "/" if directory.path else ""
    for name, stat in stats_of(server.directory, names):
        if stat is None or server.is_ghost(name, stat):
            continue
        target = link_target(server, name) if modes.S_ISLNK(stat.st_mode) else None
        state: EntryState | None = plain
        level_below = None
        if lower or (not part.bottom and modes.S_ISDIR(stat.st_mode)):
            state, level_below = state_of(directory, part, name, stat, lower, plain, compare_bytes)
        attributes = _xattrs(server, name) if xattrs else None
        yield Entry(
            prefix + name, name, stat, part.level, state, level_below=level_below, target=target, xattrs=attributes
        )


def describe(directory: MergedDirectory, name: str, *, xattrs: bool = False) -> Entry:
    """One visible entry of a directory, with its state; reads no whole directory.

    Raises:
        FileNotFoundError: the view has no such name.
    """
    found = directory.origin(name)
    if found is None:
        raise FileNotFoundError(2, "no such entry in the view", directory.path_of(name))
    part, server = found.part, directory.server(found.part)
    stat = server.directory.stat(name)
    plain = EntryState.PLAIN if part.level == directory.view.base else EntryState.ADDED
    state, below = state_of(directory, part, name, stat, _parts_below(directory, part), plain)
    target = link_target(server, name) if modes.S_ISLNK(stat.st_mode) else None
    attributes = _xattrs(server, name) if xattrs else None
    return Entry(
        directory.path_of(name), name, stat, part.level, state, level_below=below, target=target, xattrs=attributes
    )


def describe_directory(directory: MergedDirectory) -> Entry:
    """A merged directory as an entry, the root included."""
    parts = directory.copies or tuple(covered.part for covered in directory.covered)
    if not parts:
        return Entry("", "", NOTHING, 0, EntryState.PLAIN)
    top = parts[0]
    stat = directory.stat()
    plain = EntryState.PLAIN if top.level == directory.view.base else EntryState.ADDED
    state, below = directory_state(parts, stat, plain)
    name = directory.path.rpartition("/")[2]
    hidden_by = directory.covered[0].hidden_by if not directory.parts else None
    return Entry(
        directory.path, name, stat, top.level, state, hidden=not directory.parts, hidden_by=hidden_by, level_below=below
    )


def _parts_below(directory: MergedDirectory, part: Part) -> Sequence[Part]:
    return directory.parts[directory.parts.index(part) + 1 :]


# ---------------------------------------------------------------------- what is hidden
def _hidden(directory: MergedDirectory, xattrs: bool) -> Iterator[Entry]:
    """Whiteouts of this directory, and the copies that they or an opaque directory cover."""
    hiders: dict[str, int] = {}
    shown: set[str] = set()
    for part in directory.parts:
        for name, kind in directory.view.touched_of(part).items():
            if name in shown:
                continue
            if name in hiders:
                if kind != "w":
                    yield from _covered_entry(directory, part, name, hiders[name], xattrs)
            elif kind == "w":
                hiders[name] = part.level
                yield from _covered_entry(directory, part, name, part.level, xattrs, EntryState.WHITEOUT)
            else:
                shown.add(name)
    for covered in directory.covered:
        yield from _covered_listing(directory, covered, shown, hiders, xattrs)


def _covered_listing(
    directory: MergedDirectory, covered: Covered, shown: set[str], hiders: dict[str, int], xattrs: bool
) -> Iterator[Entry]:
    for name, kind in directory.view.touched_of(covered.part).items():
        if name not in shown:
            state = EntryState.WHITEOUT if kind == "w" else None
            hidden_by = hiders.get(name, covered.hidden_by)
            yield from _covered_entry(directory, covered.part, name, hidden_by, xattrs, state)


def _covered_entry(
    directory: MergedDirectory, part: Part, name: str, hidden_by: int, xattrs: bool, state: EntryState | None = None
) -> Iterator[Entry]:
    stat = part.whiteout_stat(name) if state is EntryState.WHITEOUT else part.directory.stats((name,))[0]
    if stat is None:
        return
    if state is None:
        state = EntryState.PLAIN if part.level == directory.view.base else EntryState.ADDED
    target = link_target(part, name) if modes.S_ISLNK(stat.st_mode) else None
    yield Entry(
        directory.path_of(name),
        name,
        stat,
        part.level,
        state,
        hidden=True,
        hidden_by=hidden_by,
        target=target,
        xattrs=_xattrs(part, name) if xattrs else None,
    )


def _xattrs(part: Part, name: str) -> dict[str, bytes]:
    """The attributes of an entry as a mount shows them: without the overlay's own, escaped ones under their names.

    Empty if it vanished or can't be read.
    """
    prefix = part.dialect.prefix
    try:
        stored = own_xattrs(part, name)
    except OSError:
        return {}
    escaped = prefix + "overlay."
    return {
        prefix + key.removeprefix(escaped) if key.startswith(escaped) else key: value for key, value in stored.items()
    }
