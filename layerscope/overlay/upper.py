"""The writable layer of an overlay, and the small steps that change it.

Each step leaves the upper directory as it was before or as it is after, never between: what is new is made in the work
directory, complete, and then renamed into place. Like the kernel's, the scratch is ``work/work``: whatever a killed
process leaves there is emptied at the next start, by us or by a kernel that mounts the same directories.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat as modes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from layerscope.formats.whiteout import Dialect, is_whiteout_device
from layerscope.hostfs import Directory
from layerscope.hostfs.rename import RENAME_EXCHANGE, renameat2

if TYPE_CHECKING:
    from layerscope.overlay.part import Part

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ACL_DEFAULT = "system.posix_acl_default"


def proc_path(fd: int, name: str = "") -> str:
    """A path for calls that take no directory descriptor; its last component is never followed by ``l…`` calls."""
    return f"/proc/self/fd/{fd}/{name}" if name else f"/proc/self/fd/{fd}"


def _claimed(upper: Path) -> int:
    """A descriptor of the directory that holds its lock."""
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            return fd  # a file system without locks
        os.close(fd)
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fspath(upper)) from None
    return fd


class Dresses(Protocol):
    """Gives a copy-up its owner, attributes and mode, as far as its user can; see ``Keeping.dress``."""

    def dress(self, scratch: int, fresh: str, stat: os.stat_result, part: Part, name: str, path: str) -> None:
        """Dress the entry ``fresh`` of the directory ``scratch`` as the entry ``name`` of ``part``."""
        ...


class Upper:
    """The upper directory ``top`` with its scratch; ``dialect`` says which marks are written.

    It is claimed by a lock as long as this lives, since two writers would sweep each other's scratch away.

    Raises:
        OSError: EBUSY, another one writes there, in this process or in another.
    """

    def __init__(self, upper: Path, work: Path, dialect: Dialect) -> None:
        self._release = weakref.finalize(self, os.close, _claimed(upper))
        self.top = Directory.open_root(upper)
        self.dialect = dialect
        self.keeping: Dresses | None = None
        scratch = work / "work"
        scratch.mkdir(mode=0o700, exist_ok=True)
        self.scratch = Directory.open_root(scratch)
        self._numbers = itertools.count()
        self.sweep()

    def close(self) -> None:
        """Give the descriptors back, and the claim."""
        self._release()
        self.top.close()
        self.scratch.close()

    def sweep(self) -> None:
        """Empty the scratch directory."""
        for name, kind in self.scratch.scan():
            remove_tree(self.scratch, name) if kind == "d" else self._unlink_scratch(name)

    def _unlink_scratch(self, name: str) -> None:
        with self.scratch.held() as fd:
            os.unlink(name, dir_fd=fd)

    def scratch_name(self) -> str:
        """A name that nothing in the scratch directory has."""
        return f"#{os.getpid():x}.{next(self._numbers):x}"

    # ------------------------------------------------------------------ marks
    def set_mark(self, fd: int, name: str, key: str, value: bytes) -> None:
        """Write one of the overlay's own attributes on an entry of the directory ``fd``."""
        os.setxattr(proc_path(fd, name), key, value, follow_symlinks=False)

    def drop_mark(self, fd: int, name: str, key: str) -> None:
        """Remove one of the overlay's own attributes, if it is there."""
        try:
            os.removexattr(proc_path(fd, name), key, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM):
                raise

    def whiteout(self, directory: Directory, name: str) -> None:
        """Put a whiteout at ``name``, in the place of whatever the upper directory has there."""
        mark = self.scratch_name()
        with self.scratch.held() as scratch, directory.held() as fd:
            self._make_whiteout(scratch, mark, fd)
            present = directory.stat_or_none(name)
            if present is not None and modes.S_ISDIR(present.st_mode):
                renameat2(scratch, mark, fd, name, RENAME_EXCHANGE)
                remove_tree(self.scratch, mark)
            else:
                os.rename(mark, name, src_dir_fd=scratch, dst_dir_fd=fd)

    def _make_whiteout(self, scratch: int, mark: str, fd: int) -> None:
        """A device; where this user may make none, an empty file with an attribute, announced in its directory."""
        try:
            os.mknod(mark, modes.S_IFCHR, os.makedev(0, 0), dir_fd=scratch)
            return
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
        os.close(os.open(mark, _NEW, 0o600, dir_fd=scratch))
        try:
            self.set_mark(scratch, mark, self.dialect.whiteout_key, b"y")
            self._announce(fd)
        except OSError:
            os.unlink(mark, dir_fd=scratch)
            raise

    def _announce(self, fd: int) -> None:
        """Say that whiteouts by attribute are in a directory; one that is opaque stays so."""
        key = self.dialect.opaque_key
        try:
            if os.getxattr(proc_path(fd), key) == b"y":
                return
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
        os.setxattr(proc_path(fd), key, b"x")

    @cached_property
    def makes_devices(self) -> bool:
        """Whether whiteouts are devices here, as the kernel's are: tried in the scratch directory."""
        mark = self.scratch_name()
        with self.scratch.held() as scratch:
            try:
                os.mknod(mark, modes.S_IFCHR, os.makedev(0, 0), dir_fd=scratch)
            except OSError as error:
                if error.errno != errno.EPERM:
                    raise
                return False
            os.unlink(mark, dir_fd=scratch)
        return True

    def has_whiteout(self, directory: Directory, name: str) -> bool:
        """Whether the upper directory itself holds a whiteout of ``name``, of either form."""
        stat = directory.stat_or_none(name)
        if stat is None:
            return False
        if modes.S_ISREG(stat.st_mode) and not stat.st_size:
            return directory.xattr(self.dialect.whiteout_key, name) is not None
        return is_whiteout_device(stat)

    # ------------------------------------------------------------------ new objects
    @contextmanager
    def nursery(self, parent: Directory) -> Iterator[int]:
        """A scratch directory in which new objects get owner, group and ACL as if they were made in ``parent``."""
        name = self.scratch_name()
        stat = parent.stat_self()
        with self.scratch.held() as scratch:
            os.mkdir(name, 0o700, dir_fd=scratch)
        nursery = self.scratch.enter(name)
        try:
            with nursery.held() as fd:
                acl = parent.xattr(_ACL_DEFAULT)
                if acl is not None:
                    os.setxattr(proc_path(fd), _ACL_DEFAULT, acl)
                if stat.st_mode & modes.S_ISGID:
                    os.chown(proc_path(fd), -1, stat.st_gid)
                    os.chmod(proc_path(fd), 0o2700)
                yield fd
        finally:
            nursery.close()
            remove_tree(self.scratch, name)

    def place(self, source_fd: int, source: str, directory: Directory, name: str, is_dir: bool) -> None:
        """Move a finished object to ``name``, over a whiteout if there is one."""
        with directory.held() as fd:
            if is_dir and self.has_whiteout(directory, name):
                renameat2(source_fd, source, fd, name, RENAME_EXCHANGE)
                os.unlink(source, dir_fd=source_fd)
            else:
                os.rename(source, name, src_dir_fd=source_fd, dst_dir_fd=fd)

    def empty(self, directory: Directory, name: str) -> None:
        """Replace a directory that holds only whiteouts by an opaque one that holds nothing, its metadata kept."""
        fresh = self.scratch_name()
        with self.scratch.held() as scratch, directory.held() as fd:
            os.mkdir(fresh, 0o700, dir_fd=scratch)
            copy_metadata(directory.enter(name), self.scratch.enter(fresh), self.dialect)
            self.set_mark(scratch, fresh, self.dialect.opaque_key, b"y")
            renameat2(scratch, fresh, fd, name, RENAME_EXCHANGE)
        remove_tree(self.scratch, fresh)


def copy_metadata(source: Directory, target: Directory, dialect: Dialect) -> None:
    """Owner, attributes (the overlay's own left out), mode and times of a directory."""
    stat = source.stat_self()
    with target.held() as fd:
        path = proc_path(fd)
        os.chown(path, stat.st_uid, stat.st_gid)
        for key, value in source.xattrs().items():
            if not dialect.is_own(key):
                os.setxattr(path, key, value)
        os.chmod(path, modes.S_IMODE(stat.st_mode))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def remove_tree(parent: Directory, name: str) -> None:
    """Remove a directory with all in it, without recursion and without following a link."""
    pending = [(parent, name, False)]
    while pending:
        directory, child, emptied = pending.pop()
        with directory.held() as fd:
            if emptied:
                os.rmdir(child, dir_fd=fd)
                continue
            try:
                os.unlink(child, dir_fd=fd)
                continue
            except (IsADirectoryError, PermissionError):
                pass
        inside = directory.enter(child)
        pending.append((directory, child, True))
        pending.extend((inside, entry, False) for entry, _ in inside.scan())
