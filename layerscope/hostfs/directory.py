"""A directory below an opened root, reached one component at a time, never through a symlink.

The root may have been made by an attacker while we read it as root, so:

* a path is walked with ``openat(O_PATH | O_NOFOLLOW | O_DIRECTORY)`` from the root's descriptor, one name at a time;
* a file is opened with ``O_PATH | O_NOFOLLOW`` first, looked at with ``fstat``, and only a regular file is then opened
  for reading (through ``/proc/self/fd``): a device, FIFO or socket is never opened, not even for a moment;
* directories and files are read with ``O_NOATIME`` where the right to it exists;
* nothing is opened before it is used, and few descriptors stay open (:mod:`layerscope.hostfs.descriptors`).

Sources: openat(2), open(2), symlink(7), proc(5).
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from layerscope.errors import CorruptError
from layerscope.hostfs import xattr
from layerscope.hostfs.descriptors import POOL
from layerscope.model.digest import is_file_name
from layerscope.model.tree import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.hostfs.owner_map import OwnerMap

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC
_DIRECTORY = _PATH_ONLY | os.O_DIRECTORY
_ONE_READ = 1 << 16
_NOATIME = getattr(os, "O_NOATIME", 0)
_NO_NAMES: frozenset[str] = frozenset()
_HAS_PROC = os.path.isdir("/proc/self/fd")


def _open_for_reading(path: str, flags: int, dir_fd: int | None = None) -> int:
    """Open without touching the access time if this user may, else plainly."""
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        return os.open(path, flags | _NOATIME, dir_fd=dir_fd)
    except PermissionError:
        if not _NOATIME:
            raise
        return os.open(path, flags, dir_fd=dir_fd)


def _check(name: str) -> None:
    if not is_file_name(name):
        if len(name) > 255:
            raise OSError(errno.ENAMETOOLONG, "file name too long", name)
        raise OSError(errno.EINVAL, "not a file name", name)


class Directory:
    """One directory below a root; satisfies :class:`layerscope.model.tree.LayerDirectory`.

    Names are single components; one that isn't (a slash, ``..``, empty) raises OSError EINVAL. All methods raise the
    OSError of the system call. Safe to use from several threads. ``owner_map``, which directories have from the one
    above, turns owners on disk into those that a container sees (None: they are the same).
    """

    __slots__ = ("_name", "_parent", "fd", "owner_map", "pins")

    shown = ""
    """What stands before every path below a root: nothing, unless it is another one than the user opened."""

    def __init__(self, parent: Directory | None, name: str) -> None:
        self._parent = parent
        self._name = name
        self.owner_map: OwnerMap | None = None if parent is None else parent.owner_map
        self.fd = -1
        self.pins = 0

    @classmethod
    def open_root(cls, path: Path | str) -> Directory:
        """The directory at ``path`` on the host. The path itself is the user's and may lead through symlinks."""
        root = cls(None, str(path))
        root.fd = os.open(path, _DIRECTORY)
        return root

    def as_root(self, shown: str) -> Directory:
        """This directory as a root of its own: what lies below it has paths that begin with ``shown``.

        Raises:
            OSError: it can't be opened.
        """
        root = _OtherRoot(None, shown)
        root.shown = shown
        root.owner_map = self.owner_map
        with self.held() as fd:
            root.fd = os.open(".", _DIRECTORY, dir_fd=fd)
        return root

    @property
    def path(self) -> str:
        """The path below the root, without a leading slash ("" for the root itself); see :attr:`shown`."""
        root, path = self.from_root()
        return "/".join(filter(None, (root.shown, path)))

    def from_root(self) -> tuple[Directory, str]:
        """The root that this directory was reached from, and the path below that one."""
        names: list[str] = []
        node = self
        while node._parent is not None:
            names.append(node._name)
            node = node._parent
        return node, "/".join(reversed(names))

    def __repr__(self) -> str:
        return f"Directory({self.path!r})"

    def is_below(self, top: object) -> bool:
        """Whether this directory lies below ``top``."""
        node = self._parent
        while node is not None and node is not top:
            node = node._parent
        return node is not None

    def close(self) -> None:
        """Give the descriptor back, a root those of everything below it; a directory opens again when used."""
        with POOL.lock:
            if self._parent is None:
                POOL.drop_below(self)
            POOL.drop(self)
            if self._parent is None and self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    # ------------------------------------------------------------------ descriptors
    def _acquire(self) -> int:
        with POOL.lock:
            if self.fd < 0:
                self._open_chain()
            if self._parent is not None:
                POOL.touch(self)
            self.pins += 1
            return self.fd

    def _release(self) -> None:
        with POOL.lock:
            self.pins -= 1

    def _open_chain(self) -> None:
        """Open this directory from its nearest open ancestor; the ones between are closed again."""
        closed: list[Directory] = []
        node = self
        while node.fd < 0:
            if node._parent is None:
                raise OSError(errno.EBADF, "the root was closed", node._name)
            closed.append(node)
            node = node._parent
        fd = node.fd
        for step in reversed(closed):
            try:
                below = os.open(step._name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                if fd != node.fd:
                    os.close(fd)
            fd = below
        self.fd = fd

    @contextmanager
    def held(self) -> Iterator[int]:
        """A descriptor of this directory (O_PATH), valid inside the ``with``."""
        fd = self._acquire()
        try:
            yield fd
        finally:
            self._release()

    # ------------------------------------------------------------------ the directory
    def enter(self, name: str) -> Directory:
        """The directory ``name`` in this one; nothing is opened yet."""
        _check(name)
        return Directory(self, name)

    def descend(self, path: str) -> Directory:
        """The directory at ``path`` below this one ("" or "." parts are not allowed, nor ".."); nothing is opened."""
        node = self
        for name in path.split("/") if path else ():
            node = node.enter(name)
        return node

    def scan(self) -> list[tuple[str, Kind]]:
        """Name and kind of each entry, in no order."""
        entries: list[tuple[str, Kind]] = []
        with self.listed() as scan:
            for entry in scan:
                if entry.is_file(follow_symlinks=False):
                    kind: Kind = "f"
                elif entry.is_dir(follow_symlinks=False):
                    kind = "d"
                else:
                    kind = "l" if entry.is_symlink() else "o"
                entries.append((entry.name, kind))
        return entries

    @contextmanager
    def listed(self) -> Iterator[Iterator[os.DirEntry[str]]]:
        """The entries themselves, in no order, for what would cost too much by :meth:`scan` and :meth:`stats`."""
        with self.held() as fd:
            # A descriptor of its own: two scans of one open file description would share the position.
            reading = _open_for_reading(".", os.O_DIRECTORY, dir_fd=fd)
        try:
            with os.scandir(reading) as entries:
                yield entries
        finally:
            os.close(reading)

    def names(self) -> list[str]:
        """The names in this directory, sorted by their bytes; empty if it doesn't exist."""
        try:
            return sorted((name for name, _ in self.scan()), key=os.fsencode)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """``lstat`` of several entries, in order; None for one that is not there."""
        found: list[os.stat_result | None] = []
        append, stat = found.append, os.stat
        fd = self._acquire()
        try:
            for name in names:
                if "/" in name:
                    raise OSError(errno.EINVAL, "not a file name", name)
                try:
                    append(stat(name, dir_fd=fd, follow_symlinks=False))
                except (FileNotFoundError, NotADirectoryError):
                    append(None)
        finally:
            self._release()
        if (owners := self.owner_map) is not None:
            return [None if result is None else owners.inside(result) for result in found]
        return found

    def stat_self(self) -> os.stat_result:
        """``fstat`` of this directory."""
        fd = self._acquire()
        try:
            return self._seen(os.fstat(fd))
        finally:
            self._release()

    def _seen(self, stat: os.stat_result) -> os.stat_result:
        return stat if self.owner_map is None else self.owner_map.inside(stat)

    # ------------------------------------------------------------------ one entry
    def stat(self, name: str) -> os.stat_result:
        """``lstat`` of the entry ``name``."""
        _check(name)
        fd = self._acquire()
        try:
            return self._seen(os.stat(name, dir_fd=fd, follow_symlinks=False))
        finally:
            self._release()

    def stat_or_none(self, name: str) -> os.stat_result | None:
        """``lstat`` of the entry ``name``, or None if there is none."""
        return self.stats((name,))[0]

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``."""
        _check(name)
        with self.held() as fd:
            return os.readlink(name, dir_fd=fd)

    def open(self, name: str) -> BinaryIO:
        """The bytes of the regular file ``name``.

        Raises:
            IsADirectoryError: it is a directory.
            OSError: EINVAL if it is a link, device, FIFO or socket: those are never opened.
        """
        return os.fdopen(self._open_regular(name), "rb")

    def _open_regular(self, name: str) -> int:
        _check(name)
        fd = self._acquire()
        try:
            looked_at = os.open(name, _PATH_ONLY | os.O_NOFOLLOW | (0 if _HAS_PROC else os.O_NONBLOCK), dir_fd=fd)
            try:
                mode = os.fstat(looked_at).st_mode
                if modes.S_ISDIR(mode):
                    raise IsADirectoryError(errno.EISDIR, "is a directory", name)
                if not modes.S_ISREG(mode):
                    raise OSError(errno.EINVAL, "not a regular file", name)
                if _HAS_PROC:
                    return _open_for_reading(f"/proc/self/fd/{looked_at}", 0)
            finally:
                os.close(looked_at)
            return _open_for_reading(name, os.O_NOFOLLOW, dir_fd=fd)  # pragma: no cover - no /proc
        finally:
            self._release()

    def read(self, name: str, limit: int) -> bytes:
        """All bytes of the regular file ``name``.

        Raises:
            CorruptError: it is longer than ``limit`` bytes.
        """
        fd = self._open_regular(name)
        try:
            return self._all_of(fd, name, limit)
        finally:
            os.close(fd)

    def _all_of(self, fd: int, name: str, limit: int) -> bytes:
        size = os.fstat(fd).st_size
        # All at once, as a rule; one that grows meanwhile, or that has no size (/proc), is read on in pieces.
        data = os.read(fd, size or min(limit + 1, _ONE_READ)) if size <= limit else b""
        if len(data) != size and size <= limit:
            pieces, length = [data], len(data)
            while length <= limit and (more := os.read(fd, min(limit + 1 - length, _ONE_READ))):
                pieces.append(more)
                length += len(more)
            data = b"".join(pieces)
        if max(size, len(data)) > limit:
            raise CorruptError(f"{self.path}/{name} is longer than {limit} bytes, which no such record is")
        return data

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One extended attribute of an entry ("" = this directory), None if absent or not readable."""
        if name:
            _check(name)
        with self.held() as fd:
            return xattr.value_of(f"/proc/self/fd/{fd}/{name}", key, follow=not name)

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of all extended attributes of an entry ("" = this directory) that this user can see."""
        if name:
            _check(name)
        fd = self._acquire()
        try:
            keys = xattr.keys_of(f"/proc/self/fd/{fd}/{name}", follow=not name)
            return frozenset(keys) if keys else _NO_NAMES
        finally:
            self._release()

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All extended attributes of an entry ("" = this directory) that this user can see."""
        if name:
            _check(name)
        with self.held() as fd:
            return xattr.values_of(f"/proc/self/fd/{fd}/{name}", follow=not name)


class _OtherRoot(Directory):
    """A root beside the one that the user opened."""

    __slots__ = ("shown",)

    shown: str
