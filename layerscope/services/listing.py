"""Entries of a view as a stream: sorted by the bytes of the whole path, with what a listing shows beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush

from msgspec.structs import replace

from layerscope.analysis.hard_links import HardLinks
from layerscope.model.entry import Entry
from layerscope.model.level import Level
from layerscope.overlay import MergedDirectory, MergedView, describe, entries
from layerscope.overlay.provenance import ordered_entries
from layerscope.overlay.view import Place


def list_entries(
    view: MergedView,
    path: str,
    levels: Mapping[int, Level],
    recursive: bool = False,
    hidden: bool = False,
    xattrs: bool = False,
) -> Iterator[Entry]:
    """What is at ``path``: a directory's entries, or the one entry that it is.

    Args:
        view: The merged view.
        path: A path in it; links on the way and at its end are followed if they lead to a directory.
        levels: The levels by number, for chain and cache IDs.
        recursive: Everything below, too; a directory's entries are read when their turn comes.
        hidden: Also whiteouts and what marks hide.
        xattrs: Also all extended attributes.

    Raises:
        OSError: as ``MergedView.place``, before the first entry.
    """
    place = view.place(path, hidden=hidden)
    if place.name:
        target = _directory_behind(view, path)
        if target is None:
            return iter([_named(entry, levels) for entry in _single(place, hidden, xattrs)])
        place = Place(target, "")
    return (_named(entry, levels) for entry in _stream(place.directory, recursive, hidden, xattrs))


def _directory_behind(view: MergedView, path: str) -> MergedDirectory | None:
    try:
        place = view.place(path, follow=True)
    except OSError:
        return None
    return None if place.name else place.directory


def _single(place: Place, hidden: bool, xattrs: bool) -> list[Entry]:
    if not hidden:
        return [describe(place.directory, place.name, xattrs=xattrs)]
    listed = entries(place.directory, hidden=True, xattrs=xattrs)
    return [entry for entry in listed if entry.name == place.name]


def _stream(directory: MergedDirectory, recursive: bool, hidden: bool, xattrs: bool) -> Iterator[Entry]:
    """Entries in the order of their whole paths' bytes: ``a``, ``a-b``, ``a/b``."""
    if not recursive:
        yield from ordered_entries(directory, hidden, xattrs=xattrs)
        return
    pending = [_steps(directory, hidden, xattrs)]
    while pending:
        step = next(pending[-1], None)
        if step is None:
            pending.pop()
        elif isinstance(step, Entry):
            yield step
        else:
            parent, name = step
            try:
                child = parent.child(name)
            except OSError:
                continue
            pending.append(_steps(child, hidden, xattrs))


def _steps(directory: MergedDirectory, hidden: bool, xattrs: bool) -> Iterator[Entry | tuple[MergedDirectory, str]]:
    """The entries of a directory and the descents into its directories, in order."""
    descents: list[bytes] = []  # a heap of names with a slash, whose turn comes before the first larger name
    last = ""
    for entry in ordered_entries(directory, hidden, xattrs=xattrs):
        while descents and descents[0] < os.fsencode(entry.name):
            yield directory, os.fsdecode(heappop(descents)[:-1])
        yield entry
        if entry.is_dir and entry.name != last:
            last = entry.name
            heappush(descents, os.fsencode(last) + b"/")
    while descents:
        yield directory, os.fsdecode(heappop(descents)[:-1])


def _named(entry: Entry, levels: Mapping[int, Level]) -> Entry:
    level = levels.get(entry.level)
    if level is None:
        return entry
    return replace(entry, chain_id=level.chain_id, cache_id=level.cache_id)


def with_links(listed: Iterator[Entry], view: MergedView) -> Iterator[Entry]:
    """The same entries, with ``link_to`` for later names of one inode."""
    links = HardLinks(view)
    for entry in listed:
        first = None if entry.hidden else links.first_name(entry.level, entry.stat)
        yield replace(entry, link_to=first) if first is not None and first != entry.path else entry
