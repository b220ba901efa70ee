"""Two merged directories side by side: what one of them has that the other hasn't, and the facts of names in both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence, Set

from layerscope.overlay.merged import Found, MergedDirectory
from layerscope.overlay.part import Part


def unshared(old: MergedDirectory, new: MergedDirectory) -> tuple[list[Part], list[Part], MergedDirectory]:
    """The parts of each side that the other hasn't (top first), and ``new`` with the shared ones being ``old``'s.

    Shared parts are the common tail: the same directories of the same layers, down to the base.
    """
    shared = 0
    for one, other in zip(reversed(old.parts), reversed(new.parts), strict=False):
        if not old.view.same_part(one, new.view, other):
            break
        shared += 1
    own_old = list(old.parts[: len(old.parts) - shared])
    own_new = list(new.parts[: len(new.parts) - shared])
    tail = old.parts[len(old.parts) - shared :]
    return own_old, own_new, MergedDirectory(new.view, new.path, (*own_new, *tail), new.covered)


def looked_up(directory: MergedDirectory, names: Set[str]) -> tuple[dict[str, Found], Set[str]]:
    """As ``MergedDirectory.lookup_all``, and the names that a part may have in which this user can't look any up.

    Such a part is told of in the view's problems; what a part above it has is sure.
    """
    try:
        return directory.lookup_all(names), frozenset()
    except PermissionError:
        found: dict[str, Found] = {}
        unknown: Set[str] = frozenset()
        for part in directory.parts:
            try:
                kinds = part.kinds(names)
            except PermissionError as error:
                directory.view.note_unread(part, error)
                unknown |= names
                continue
            found.update({name: Found(part, kind) for name, kind in kinds.items() if name not in unknown})
            names = names - kinds.keys()
        return found, unknown


def child_where_allowed(directory: MergedDirectory, name: str) -> MergedDirectory | None:
    """The child directory; None if it vanished, the kernel refuses its redirect, or this user can't reach it.

    The last is told in the view's problems.
    """
    try:
        return directory.child(name)
    except PermissionError as refused:
        for part in directory.parts:
            try:
                part.kind(name)
            except PermissionError as error:
                directory.view.note_unread(part, error)
                break
        else:
            directory.view.note_unread_at(directory.level, directory.path_of(name), refused)
        return None
    except OSError:
        return None


def stats_of_parts(
    wanted: Sequence[tuple[str, Part]], unread: Callable[[Part, OSError], None] | None = None
) -> list[os.stat_result | None]:
    """``lstat`` of names in several parts, in order, with one call for each part; None for what is gone.

    ``unread`` is told of a part in which this user can't look names up: its results are None. Without it that is
    raised.
    """
    found: list[os.stat_result | None] = [None] * len(wanted)
    groups: dict[Part, list[int]] = {}
    for position, (_, part) in enumerate(wanted):
        groups.setdefault(part, []).append(position)
    for part, positions in groups.items():
        try:
            stats = part.directory.stats([wanted[position][0] for position in positions])
        except PermissionError as error:
            if unread is None:
                raise
            unread(part, error)
            continue
        if len(groups) == 1:
            return stats
        for position, stat in zip(positions, stats, strict=True):
            found[position] = stat
    return found
