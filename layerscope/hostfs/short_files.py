"""Many small files of one directory read at once, so that what costs most beside the reading is done once for all.

By the rules of :mod:`layerscope.hostfs.directory`: an entry is opened with ``O_PATH | O_NOFOLLOW`` and looked at, which
takes the place of its ``lstat``, and only a regular file is then opened for reading.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterable
from typing import NamedTuple

from layerscope.hostfs.directory import Directory
from layerscope.hostfs.xattr import keys_of, value_of

_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_NOATIME = getattr(os, "O_NOATIME", 0)
_HAS_PROC = os.path.isdir("/proc/self/fd")


class Look(NamedTuple):
    """One entry: its ``lstat``; of a short regular file with one name also the bytes, and one extended attribute.

    ``content`` is None for every other entry, and the error of the system call where the file can't be read. If the
    file grows or shrinks meanwhile, it is longer or shorter than ``stat`` says. ``keys``: of all its attributes.
    """

    stat: os.stat_result
    content: bytes | OSError | None = None
    xattr: bytes | None = None
    keys: tuple[str, ...] = ()


def look(directory: Directory, names: Iterable[str], longest: int, key: str) -> list[Look | None]:
    """Look at entries of ``directory``; in their order, None for one that isn't there.

    Args:
        directory: where they are.
        names: single components.
        longest: of the files that are read; empty ones are not.
        key: the attribute's.

    Raises:
        OSError: of a system call, other than for a file that can't be read.
    """
    if not _HAS_PROC:  # pragma: no cover - no /proc
        return [None if stat is None else Look(stat) for stat in directory.stats(names)]
    owners = directory.owner_map
    found: list[Look | None] = []
    with directory.held() as fd:
        for name in names:
            if "/" in name:
                raise OSError(errno.EINVAL, "not a file name", name)
            try:
                looked_at = os.open(name, _LOOK, dir_fd=fd)
            except (FileNotFoundError, NotADirectoryError):
                found.append(None)
                continue
            try:
                stat = os.fstat(looked_at)
                size = stat.st_size
                content: bytes | OSError | None = None
                value = None
                keys: tuple[str, ...] = ()
                if stat.st_nlink == 1 and 0 < size <= longest and modes.S_ISREG(stat.st_mode):
                    try:
                        content, value, keys = _read(f"/proc/self/fd/{looked_at}", size, key)
                    except OSError as error:
                        content = error
            finally:
                os.close(looked_at)
            found.append(Look(stat if owners is None else owners.inside(stat), content, value, keys))
    return found


def _read(path: str, size: int, key: str) -> tuple[bytes, bytes | None, tuple[str, ...]]:
    """At least ``size`` bytes, or all, of a regular file; one more if it is longer. Its attribute ``key``; all keys."""
    try:
        fd = os.open(path, _READ | _NOATIME)
    except PermissionError:
        fd = os.open(path, _READ)
    try:
        data = os.read(fd, size + 1)
        while len(data) < size and (more := os.read(fd, size + 1 - len(data))):
            data += more
        keys = tuple(keys_of(fd))
        # Hardly a file has one, and to be told so by an error takes longer.
        return data, value_of(fd, key) if key in keys else None, keys
    finally:
        os.close(fd)
