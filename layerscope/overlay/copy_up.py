"""Copy-up: an object of a lower layer, made anew in the upper one, complete before anyone sees it.

Kept: type, mode, owner, access and modification time to the nanosecond, symlink target, device number, holes, flags of
chattr(1), and all extended attributes but the overlay's own. Not kept: hard links and change time. Order matters: owner
before capability and mode, times last. Source: kernel fs/overlayfs/copy_up.c; tried on Linux 6.18.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from typing import BinaryIO

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.overlay.flags import copy_flags
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.upper import Upper, proc_path

_CHUNK = 1 << 20


def copy_up(
    upper: Upper,
    source: MergedDirectory,
    part: Part,
    name: str,
    target: Directory,
    *,
    data: bool = True,
    metadata_only: bool = False,
) -> None:
    """Copy the entry ``name`` of ``source``, which ``part`` serves, into the upper directory ``target``.

    Args:
        upper: The writable layer.
        source: The merged directory that holds the entry.
        part: The lower part that serves it.
        name: Its name, in both.
        target: The upper directory of the same path.
        data: False: a regular file comes up empty (it is about to be truncated).
        metadata_only: A regular file comes up without data, marked so (metacopy).

    Raises:
        OSError: as the system calls; the upper directory is as it was.
    """
    stat = part.directory.stat(name)
    fresh = upper.scratch_name()
    parent = target.stat_self()
    with upper.scratch.held() as scratch:
        try:
            _make(scratch, fresh, stat, part, name)
            if modes.S_ISREG(stat.st_mode) and data:
                _fill(scratch, fresh, stat, source, part, name, metadata_only)
            if upper.keeping is not None:
                upper.keeping.dress(scratch, fresh, stat, part, name, source.path_of(name))
            else:
                _dress(scratch, fresh, stat, part, name, upper.dialect)
            if metadata_only and modes.S_ISREG(stat.st_mode):
                upper.set_mark(scratch, fresh, upper.dialect.metacopy_key, b"")
            copy_flags(part.directory, name, modes.S_IFMT(stat.st_mode), scratch, fresh, upper.dialect)
            if not modes.S_ISLNK(stat.st_mode) or os.utime in os.supports_follow_symlinks:
                os.utime(fresh, ns=(stat.st_atime_ns, stat.st_mtime_ns), dir_fd=scratch, follow_symlinks=False)
            with target.held() as fd:
                os.rename(fresh, name, src_dir_fd=scratch, dst_dir_fd=fd)
                os.utime(proc_path(fd), ns=(parent.st_atime_ns, parent.st_mtime_ns))
        except OSError:
            _discard(scratch, fresh)
            raise


def fill_data(upper: Upper, source: MergedDirectory, name: str, target: Directory) -> None:
    """Give a metadata-only copy in the upper directory ``target`` its data; its modification time becomes now.

    The mark goes last: until then everybody reads the data below.
    """
    with source.open(name) as data, target.held() as fd:
        out = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            _copy_data(data, out, os.fstat(data.fileno()).st_size)
        finally:
            os.close(out)
        upper.drop_mark(fd, name, upper.dialect.metacopy_key)


def _make(scratch: int, fresh: str, stat: os.stat_result, part: Part, name: str) -> None:
    kind = modes.S_IFMT(stat.st_mode)
    if kind == modes.S_IFDIR:
        os.mkdir(fresh, 0o700, dir_fd=scratch)
    elif kind == modes.S_IFLNK:
        os.symlink(part.directory.readlink(name), fresh, dir_fd=scratch)
    elif kind == modes.S_IFREG:
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=scratch))
    else:
        os.mknod(fresh, kind | 0o600, stat.st_rdev, dir_fd=scratch)


def _fill(
    scratch: int,
    fresh: str,
    stat: os.stat_result,
    source: MergedDirectory,
    part: Part,
    name: str,
    metadata_only: bool,
) -> None:
    out = os.open(fresh, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=scratch)
    try:
        if metadata_only:
            os.ftruncate(out, stat.st_size)
            return
        data_part, data_name = source.data_of(part, name)
        with data_part.directory.open(data_name) as data:
            _copy_data(data, out, stat.st_size)
    finally:
        os.close(out)


def _copy_data(data: BinaryIO, out: int, size: int) -> None:
    """Copy data and keep holes: only what the file system calls data is read and written."""
    source = data.fileno()
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(out, start, os.SEEK_SET)
        while start < end:
            start += _copy_range(source, out, end - start)
        offset = end
    if size:
        os.ftruncate(out, size)


def _copy_range(source: int, out: int, count: int) -> int:
    try:
        copied = os.copy_file_range(source, out, min(count, 1 << 30))
        if copied:
            return copied
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    chunk = os.read(source, min(count, _CHUNK))
    if not chunk:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    view = memoryview(chunk)
    while view:
        view = view[os.write(out, view) :]
    return len(chunk)


def _dress(scratch: int, fresh: str, stat: os.stat_result, part: Part, name: str, dialect: Dialect) -> None:
    os.chown(fresh, stat.st_uid, stat.st_gid, dir_fd=scratch, follow_symlinks=False)
    for key, value in part.directory.xattrs(name).items():
        if not dialect.is_own(key):
            os.setxattr(proc_path(scratch, fresh), key, value, follow_symlinks=False)
    if not modes.S_ISLNK(stat.st_mode):
        os.chmod(fresh, modes.S_IMODE(stat.st_mode), dir_fd=scratch)


def _discard(scratch: int, fresh: str) -> None:
    for remove in (os.unlink, os.rmdir):
        try:
            remove(fresh, dir_fd=scratch)
        except OSError:
            continue
        return
