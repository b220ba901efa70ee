"""A directory held open to read many of its files in a row: the rules of :mod:`layerscope.hostfs.directory`, quicker.

One descriptor stays open instead of one look at the pool of descriptors for each file, and a small file is read by four
system calls more than it has chunks. Nothing but a regular file is ever opened for reading.
"""

from __future__ import annotations

import errno
import os
import stat as modes

from layerscope.hostfs.directory import Directory

_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_NOATIME = getattr(os, "O_NOATIME", 0)
_HAS_PROC = os.path.isdir("/proc/self/fd")


class Folder:
    """One directory; :meth:`close` gives its descriptor back. Names must be single components."""

    __slots__ = ("_fd", "_owner_map")

    def __init__(self, directory: Directory) -> None:
        self._owner_map = directory.owner_map
        with directory.held() as fd:
            self._fd = os.open(".", _LOOK | os.O_DIRECTORY, dir_fd=fd)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def stat(self, name: str) -> os.stat_result:
        """``lstat`` of the entry ``name``; of a remapped root with the owner that a container sees."""
        if "/" in name:
            raise OSError(errno.EINVAL, "not a file name", name)
        stat = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        return stat if self._owner_map is None else self._owner_map.inside(stat)

    def xattr_names(self, name: str) -> list[str]:
        """The names of the extended attributes of the entry ``name`` that this user can see."""
        try:
            return os.listxattr(f"/proc/self/fd/{self._fd}/{name}", follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES):
                return []
            raise

    def open(self, name: str) -> tuple[int, int]:
        """A descriptor of the regular file ``name``, the caller's to close, and its size.

        Raises:
            OSError: EISDIR, or EINVAL for what isn't a regular file: such is never opened.
        """
        if "/" in name:
            raise OSError(errno.EINVAL, "not a file name", name)
        looked_at = os.open(name, _LOOK if _HAS_PROC else _READ | os.O_NOFOLLOW, dir_fd=self._fd)
        try:
            stat = os.fstat(looked_at)
            if not modes.S_ISREG(stat.st_mode):
                if modes.S_ISDIR(stat.st_mode):
                    raise IsADirectoryError(errno.EISDIR, "is a directory", name)
                raise OSError(errno.EINVAL, "not a regular file", name)
            path = f"/proc/self/fd/{looked_at}"
            if not _HAS_PROC:  # pragma: no cover - no /proc
                return os.dup(looked_at), stat.st_size
            try:
                return os.open(path, _READ | _NOATIME), stat.st_size
            except PermissionError:
                return os.open(path, _READ), stat.st_size
        finally:
            os.close(looked_at)
