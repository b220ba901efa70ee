"""Two merged directories side by side: what one of them has that the other hasn't, and the facts of names in both."""

from __future__ import annotations

import os
from collections.abc import Sequence

from layerscope.overlay.merged import MergedDirectory
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


def stats_of_parts(wanted: Sequence[tuple[str, Part]]) -> list[os.stat_result | None]:
    """``lstat`` of names in several parts, in order, with one call for each part."""
    found: list[os.stat_result | None] = [None] * len(wanted)
    groups: dict[Part, list[int]] = {}
    for position, (_, part) in enumerate(wanted):
        groups.setdefault(part, []).append(position)
    for part, positions in groups.items():
        stats = part.directory.stats([wanted[position][0] for position in positions])
        if len(groups) == 1:
            return stats
        for position, stat in zip(positions, stats, strict=True):
            found[position] = stat
    return found
