"""Operations that change an object's attributes or length: chmod, chown, utime, truncate, extended attributes.

Extended attributes that carry the overlay's own prefix are stored one level deeper (``P`` + ``overlay.``), so that
overlays can be nested; the overlay's own marks are never shown. Source: kernel fs/overlayfs/xattrs.c.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections.abc import Iterator
from contextlib import contextmanager

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.overlay.protection import demand_change
from layerscope.overlay.target import Target, failure
from layerscope.overlay.upper import proc_path
from layerscope.overlay.writer import Writer

_NAME_MAX = 255
_EMPTY_ACL = 4
"""The bytes of an access control list without entries, which stands for none, as no bytes do."""
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


def chmod(writer: Writer, path: str, mode: int, follow: bool) -> None:
    """Change permission bits; a symlink has none that could be changed (ENOTSUP)."""
    target = writer.existing(path, follow)
    if not follow and modes.S_ISLNK(writer.stat(target).st_mode):
        raise failure(errno.EOPNOTSUPP, path)
    writer.stat(target)
    demand_change(writer, target, path)
    folder, name = writer.raise_target(target, metadata_only=True)
    with folder.held() as fd:
        os.chmod(proc_path(fd, name), mode)


def chown(writer: Writer, path: str, uid: int, gid: int, follow: bool) -> None:
    """Change owner and group; -1 keeps one, and is a copy-up all the same."""
    target = writer.existing(path, follow)
    writer.stat(target)
    if uid >= 0 or gid >= 0:
        demand_change(writer, target, path)
    folder, name = writer.raise_target(target, metadata_only=True)
    with folder.held() as fd:
        if name:
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
        else:
            os.chown(proc_path(fd), uid, gid)


def utime(writer: Writer, path: str, ns: tuple[int, int] | None, follow: bool) -> None:
    """Set access and modification time, in nanoseconds; None: to now, which an append-only file allows."""
    target = writer.existing(path, follow)
    writer.stat(target)
    demand_change(writer, target, path, append=ns is None)
    now = (time.time_ns(),) * 2
    folder, name = writer.raise_target(target, metadata_only=True)
    with folder.held() as fd:
        if name:
            os.utime(name, ns=ns or now, dir_fd=fd, follow_symlinks=False)
        else:
            os.utime(proc_path(fd), ns=ns or now)


def truncate(writer: Writer, path: str, length: int) -> None:
    """Cut or grow a regular file."""
    if length < 0:
        raise failure(errno.EINVAL, path)
    target = writer.existing(path, follow=True)
    if target.is_dir:
        raise failure(errno.EISDIR, path)
    if not modes.S_ISREG(writer.stat(target).st_mode):
        raise failure(errno.EINVAL, path)
    demand_change(writer, target, path)
    folder, name = writer.raise_target(target)
    with folder.held() as fd:
        os.truncate(proc_path(fd, name), length)


# ---------------------------------------------------------------------- extended attributes
def stored_name(dialect: Dialect, key: str) -> str:
    """The attribute on disk for one that a user of the overlay names.

    Raises:
        OSError: EOPNOTSUPP, with what is put into it the name is too long.
    """
    if not key.startswith(dialect.prefix):
        return key
    name = dialect.prefix + "overlay." + key.removeprefix(dialect.prefix)
    if len(os.fsencode(name)) > _NAME_MAX:
        raise failure(errno.EOPNOTSUPP, key)
    return name


def shown_name(dialect: Dialect, key: str) -> str | None:
    """The name that a user of the overlay sees for an attribute on disk, None for the overlay's own marks."""
    if not key.startswith(dialect.prefix):
        return key
    inner = key.removeprefix(dialect.prefix)
    return dialect.prefix + inner.removeprefix("overlay.") if inner.startswith("overlay.") else None


def getxattr(writer: Writer, path: str, key: str, follow: bool) -> bytes:
    """One extended attribute."""
    _demand_name(key, path)
    target = writer.existing(path, follow)
    writer.stat(target)
    with stored(target) as (fd, name):
        return os.getxattr(proc_path(fd, name), stored_name(writer.dialect, key), follow_symlinks=not name)


def listxattr(writer: Writer, path: str, follow: bool) -> list[str]:
    """The names of all extended attributes that are not the overlay's own."""
    target = writer.existing(path, follow)
    writer.stat(target)
    with stored(target) as (fd, name):
        keys = os.listxattr(proc_path(fd, name), follow_symlinks=not name)
    return [shown for key in keys if (shown := shown_name(writer.dialect, key)) is not None]


def setxattr(writer: Writer, path: str, key: str, value: bytes, flags: int, follow: bool) -> None:
    """Set an extended attribute. The object is copied up even where the layer's file system then refuses."""
    if flags & ~(os.XATTR_CREATE | os.XATTR_REPLACE):
        raise failure(errno.EINVAL, path)
    _demand_name(key, path)
    if len(value) > os.XATTR_SIZE_MAX:
        raise failure(errno.E2BIG, path)
    target = writer.existing(path, follow)
    stat = writer.stat(target)
    demand_change(writer, target, path)
    if key.startswith("user.") and not (modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode)):
        raise failure(errno.EPERM, path)
    _demand_right(key, path)
    if key in _ACLS and not writer.in_upper(target):
        _try_acl(writer, modes.S_IFMT(stat.st_mode), key, value, path)
        if len(value) <= _EMPTY_ACL:
            removexattr(writer, path, key, follow)
            return
    stored = stored_name(writer.dialect, key)
    folder, name = writer.raise_target(target, metadata_only=True)
    with folder.held() as fd:
        os.setxattr(proc_path(fd, name), stored, value, flags, follow_symlinks=not name)


def _try_acl(writer: Writer, kind: int, key: str, value: bytes, path: str) -> None:
    """What is no valid list, or not for an object of this kind, is refused before a copy-up: tried on a scratch."""
    if kind == modes.S_IFLNK:
        raise failure(errno.EOPNOTSUPP, path)
    if len(value) <= _EMPTY_ACL and key == _ACLS[1] and kind != modes.S_IFDIR:
        return  # nobody asks whether it is one
    fresh = writer.upper.scratch_name()
    with writer.upper.scratch.held() as scratch:
        if kind == modes.S_IFDIR:
            os.mkdir(fresh, 0o700, dir_fd=scratch)
        else:
            os.mknod(fresh, modes.S_IFREG | 0o600, dir_fd=scratch)
        try:
            os.setxattr(proc_path(scratch, fresh), key, value, follow_symlinks=False)
        except OSError as error:
            raise failure(error.errno or errno.EIO, path) from None
        finally:
            (os.rmdir if kind == modes.S_IFDIR else os.unlink)(fresh, dir_fd=scratch)


def removexattr(writer: Writer, path: str, key: str, follow: bool) -> None:
    """Remove an extended attribute; one that isn't there costs no copy-up."""
    _demand_name(key, path)
    target = writer.existing(path, follow)
    stat = writer.stat(target)
    demand_change(writer, target, path)
    if key.startswith("user.") and not (modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode)):
        raise failure(errno.EPERM, path)
    _demand_right(key, path)
    if not writer.in_upper(target):
        if key == _ACLS[1] and not modes.S_ISDIR(stat.st_mode):
            return
        with stored(target) as (fd, name):
            os.getxattr(proc_path(fd, name), stored_name(writer.dialect, key), follow_symlinks=not name)
    folder, name = writer.raise_target(target, metadata_only=True)
    with folder.held() as fd:
        os.removexattr(proc_path(fd, name), stored_name(writer.dialect, key), follow_symlinks=not name)


def _demand_name(key: str, path: str) -> None:
    """A name that no attribute can have is refused before the path is looked at (fs/xattr.c)."""
    if not 0 < len(os.fsencode(key)) <= _NAME_MAX:
        raise failure(errno.ERANGE, path)


def _demand_right(key: str, path: str) -> None:
    """``trusted.*`` is refused to those without the right before anything is looked at (fs/xattr.c)."""
    if key.startswith("trusted.") and not privilege().trusted_xattrs:
        raise failure(errno.EPERM, path)


@contextmanager
def stored(target: Target) -> Iterator[tuple[int, str]]:
    """Where the layer that serves the target stores it: a directory descriptor and a name in it ("": itself)."""
    part = target.parent.parts[0] if target.found is None else target.found.part
    directory = part.directory
    assert isinstance(directory, Directory)
    with directory.held() as fd:
        yield fd, target.name
