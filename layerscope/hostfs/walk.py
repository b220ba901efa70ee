"""A walk over a layer's tree, for what is counted rather than shown."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterator

from layerscope.model.tree import LayerDirectory

_AT_ONCE = 2048


def inodes_below(
    top: LayerDirectory, cancelled: Callable[[], bool] = lambda: False, *, directories: bool = False
) -> Iterator[tuple[LayerDirectory, str, os.stat_result]]:
    """Everything below ``top`` that is no directory, or (``directories``) all: where it is, its name, its ``lstat``.

    Each inode comes once, however many names it has there, in no order; what vanishes meanwhile is left out. When
    ``cancelled`` says so the walk ends, and what was made of it means nothing.

    Raises:
        OSError: a directory can't be read.
    """
    seen: set[tuple[int, int]] = set()
    pending = [top]
    while pending and not cancelled():
        directory = pending.pop()
        try:
            listing = list(directory.scan())
        except (FileNotFoundError, NotADirectoryError):
            continue
        pending.extend(directory.enter(name) for name, kind in listing if kind == "d")
        names = [name for name, kind in listing if directories or kind != "d"]
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            for name, stat in zip(some, directory.stats(some), strict=True):
                if stat is None:
                    continue
                if stat.st_nlink > 1 and not modes.S_ISDIR(stat.st_mode):
                    if (stat.st_dev, stat.st_ino) in seen:
                        continue
                    seen.add((stat.st_dev, stat.st_ino))
                yield directory, name, stat
