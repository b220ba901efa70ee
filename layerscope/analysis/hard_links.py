"""Which names of a view are links of one inode."""

from __future__ import annotations

import os
import stat as modes

from layerscope.overlay.view import MergedView, stat_all

Inode = tuple[int, int, int]
"""What ``MergedView.file_key`` tells."""


class HardLinks:
    """The first name, by the bytes of the whole path, of every inode of the view that has several links.

    The view is walked once, at the first question about a file with more than one link.
    """

    def __init__(self, view: MergedView) -> None:
        self._view = view
        self._first: dict[Inode, str] | None = None

    def first_name(self, level: int, stat: os.stat_result) -> str | None:
        """The first name of the inode in the view; None for a directory or a file with one link."""
        if stat.st_nlink < 2 or modes.S_ISDIR(stat.st_mode):
            return None
        if self._first is None:
            self._first = first_names(self._view)
        return self._first.get(self._view.file_key(level, stat))


def first_names(view: MergedView) -> dict[Inode, str]:
    """The first name of every inode with more than one link, over the whole view."""
    found: dict[Inode, str] = {}
    pending = [view.root]
    while pending:
        directory = pending.pop()
        for name, part, kind, stat in stat_all(directory):
            if kind == "d":
                try:
                    pending.append(directory.child(name))
                except OSError:
                    continue
            elif stat.st_nlink > 1 and not modes.S_ISDIR(stat.st_mode):
                _keep_first(found, view.file_key(part.level, stat), directory.path_of(name))
    return found


def _keep_first(found: dict[Inode, str], inode: Inode, path: str) -> None:
    known = found.get(inode)
    if known is None or os.fsencode(path) < os.fsencode(known):
        found[inode] = path
