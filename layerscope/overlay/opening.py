"""Opening a file of an overlay: a descriptor as ``os.open`` gives one, copied up first if it is to be written."""

from __future__ import annotations

import errno
import os
import stat as modes

from layerscope.hostfs import Directory
from layerscope.overlay import namespace
from layerscope.overlay.operations import Operations
from layerscope.overlay.protection import demand_change, demand_new_name
from layerscope.overlay.target import Target, failure
from layerscope.overlay.writer import Writer

_TMPFILE = getattr(os, "O_TMPFILE", 0)
_PATH_ONLY = getattr(os, "O_PATH", 0)


def open_file(writer: Writer, operations: Operations, path: str, flags: int, mode: int) -> int:
    """Open a path, or make it.

    Raises:
        OSError: as open(2); ENXIO for a device, FIFO or socket, which are never opened.
    """
    if flags & _PATH_ONLY:
        flags &= _PATH_ONLY | os.O_DIRECTORY | os.O_NOFOLLOW  # open(2): all others are ignored
    nameless = bool(_TMPFILE) and flags & _TMPFILE == _TMPFILE
    writes = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
    if flags & os.O_CREAT and flags & os.O_DIRECTORY:
        raise failure(errno.EINVAL, path)
    if nameless and flags & os.O_ACCMODE == os.O_RDONLY:
        raise failure(errno.EINVAL, path)
    exclusive = bool(flags & os.O_CREAT and flags & os.O_EXCL)
    follow = not exclusive and not flags & os.O_NOFOLLOW
    if flags & os.O_CREAT and path.rstrip("/") and path.endswith("/"):
        named = namespace.locate_name(writer, path)
        if named.last not in (".", ".."):
            raise failure(errno.EISDIR, path)
    target = writer.locate(path, follow)
    if target.name and target.found is None:
        if not flags & os.O_CREAT:
            raise failure(errno.ENOENT, path)
        return _create(operations, target, path, flags, mode)
    if exclusive:
        raise failure(errno.EEXIST, path)
    if nameless and target.is_dir:
        demand_new_name(writer, writer.view().directory("/" + target.path), path)
        with writer.raise_directory(target.path).held() as fd:
            return os.open(".", flags | os.O_CLOEXEC, mode, dir_fd=fd)
    return _open_existing(writer, operations, target, path, flags, writes)


def _create(operations: Operations, target: Target, path: str, flags: int, mode: int) -> int:
    opened: list[int] = []

    def make(fd: int, name: str) -> None:
        opened.append(os.open(name, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=fd))

    try:
        operations.create(target, path, make)
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened[0]


def _open_existing(writer: Writer, operations: Operations, target: Target, path: str, flags: int, writes: bool) -> int:
    plain = flags & ~(os.O_CREAT | os.O_EXCL) | os.O_NOFOLLOW | os.O_CLOEXEC
    if target.is_dir:
        if writes or flags & os.O_CREAT:
            raise failure(errno.EISDIR, path)
        part = target.parent.child(target.name).parts[0] if target.name else target.parent.parts[0]
        assert isinstance(part.directory, Directory)
        with part.directory.held() as fd:
            return os.open(".", plain | os.O_DIRECTORY, dir_fd=fd)
    if flags & os.O_DIRECTORY:
        raise failure(errno.ENOTDIR, path)
    kind = modes.S_IFMT(operations.stat(target).st_mode)
    if kind != modes.S_IFREG and not flags & _PATH_ONLY:  # a descriptor of the path alone opens nothing
        raise failure(errno.ELOOP if kind == modes.S_IFLNK else errno.ENXIO, path)
    if writes:
        demand_change(writer, target, path, append=bool(flags & os.O_APPEND) and not flags & os.O_TRUNC)
        folder, name = writer.raise_target(target, data=not flags & os.O_TRUNC)
        operations.about_to_write("/" + target.path)
        with folder.held() as fd:
            if flags & os.O_TRUNC:
                writer.upper.drop_mark(fd, name, writer.dialect.metacopy_key)
            return os.open(name, plain, dir_fd=fd)
    assert target.found is not None
    part, name = target.parent.data_of(target.found.part, target.name)
    assert isinstance(part.directory, Directory)
    with part.directory.held() as fd:
        return os.open(name, plain, dir_fd=fd)
