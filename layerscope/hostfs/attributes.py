"""Which of many entries have extended attributes: most have none, and one system call tells so."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from layerscope.hostfs.directory import Directory
from layerscope.hostfs.xattr import ABSENT


def names_with_xattrs(directory: Directory, names: Iterable[str]) -> frozenset[str]:
    """Those of several entries of a directory that have extended attributes which this user can see, or are gone.

    Raises:
        OSError: the directory can't be opened, or a name is none.
    """
    found: list[str] = []
    list_names = getattr(os, "listxattr", None)
    if list_names is None:  # pragma: no cover - macOS
        return frozenset()
    with directory.held() as fd:
        folder = f"/proc/self/fd/{fd}/"
        for name in names:
            if "/" in name:
                raise OSError(errno.EINVAL, "not a file name", name)
            try:
                if list_names(folder + name, follow_symlinks=False):
                    found.append(name)
            except OSError as error:
                if error.errno not in ABSENT:
                    found.append(name)
    return frozenset(found)
