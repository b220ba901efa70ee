"""The flags of chattr(1) on a layer's files and directories, and what a copy-up makes of them.

An immutable or append-only file could not be moved into place. So the copy doesn't bear these flags itself: they stand
in its mark ``protattr``, as letters (``a`` append only, ``i`` immutable), which counts in the upper layer only. The
other two that the kernel copies, ``sync`` and ``noatime``, are set on the copy.

Sources: kernel fs/overlayfs/util.c (``ovl_check_protattr``, ``ovl_set_protattr``), fs/overlayfs/copy_up.c
(``ovl_copy_fileattr``), include/uapi/linux/stat.h (``struct statx``); seen on Linux 6.18.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat as modes
import struct

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.tree import LayerDirectory

IMMUTABLE, APPEND = 0x10, 0x20
"""As ``statx`` tells them and chattr(1) sets them."""
_SYNC, _NOATIME = 0x8, 0x80
_LETTERS = {b"a": APPEND, b"i": IMMUTABLE}
_MARK_LIMIT = 32
_LONG = struct.calcsize("l")
_GET_FLAGS = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1
_SET_FLAGS = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2
_STATX_BYTES, _STATX_ATTRIBUTES = 256, 8
_NO_FOLLOW, _EMPTY_PATH, _DONT_SYNC = 0x100, 0x1000, 0x4000

_statx = getattr(ctypes.CDLL(None), "statx", None)
if _statx is not None:
    _statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)


def flags_of(directory: LayerDirectory, name: str, marks: Dialect | None) -> int:
    """``IMMUTABLE`` and ``APPEND`` of the entry ``name`` of a directory ("": itself); 0 where nobody can tell.

    ``marks``: in the upper layer, the dialect of its marks.
    """
    flags = 0
    if _statx is not None and isinstance(directory, Directory):
        buffer = ctypes.create_string_buffer(_STATX_BYTES)
        with directory.held() as fd:
            if not _statx(fd, os.fsencode(name), _NO_FOLLOW | _EMPTY_PATH | _DONT_SYNC, 0, buffer):
                flags = struct.unpack_from("Q", buffer, _STATX_ATTRIBUTES)[0] & (IMMUTABLE | APPEND)
    value = None if marks is None else directory.xattr(_mark_key(marks), name)
    if value is not None and len(value) <= _MARK_LIMIT and not value.strip(b"".join(_LETTERS)):
        flags |= sum(flag for letter, flag in _LETTERS.items() if letter in value)
    return flags


def copy_flags(directory: LayerDirectory, name: str, kind: int, scratch: int, fresh: str, dialect: Dialect) -> None:
    """Give the copy ``fresh`` in the directory ``scratch`` the flags of the regular file or directory ``name``."""
    flags = _flags_on_disk(directory, name, kind)
    letters = b"".join(letter for letter, flag in _LETTERS.items() if flags & flag)
    if letters:
        try:
            os.setxattr(f"/proc/self/fd/{scratch}/{fresh}", _mark_key(dialect), letters, follow_symlinks=False)
        except PermissionError:
            pass  # as in the kernel: the copy loses its protection
    wanted = flags & (_SYNC | _NOATIME)
    if not wanted:
        return
    fd = os.open(fresh, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=scratch)
    try:
        buffer = bytearray(_LONG)
        fcntl.ioctl(fd, _GET_FLAGS, buffer)
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("l", struct.unpack("l", buffer)[0] & ~(_SYNC | _NOATIME) | wanted))
    except OSError:
        pass  # a file system without them, such as the one that the upper layer lies on
    finally:
        os.close(fd)


def _mark_key(dialect: Dialect) -> str:
    return dialect.prefix + "protattr"


def _flags_on_disk(directory: LayerDirectory, name: str, kind: int) -> int:
    """What the file system itself knows; 0 where it, or this user, can't tell."""
    buffer = bytearray(_LONG)
    try:
        if kind == modes.S_IFREG:
            with directory.open(name) as file:
                fcntl.ioctl(file.fileno(), _GET_FLAGS, buffer)
        elif kind == modes.S_IFDIR:
            inside = directory.enter(name)
            assert isinstance(inside, Directory)
            with inside.held() as above:
                fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
            try:
                fcntl.ioctl(fd, _GET_FLAGS, buffer)
            finally:
                os.close(fd)
    except OSError:
        return 0
    return int(struct.unpack("l", buffer)[0])
