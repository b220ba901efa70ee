"""renameat2(2): a rename that refuses to replace, exchanges two names, or leaves a whiteout behind."""

from __future__ import annotations

import ctypes
import errno
import os

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def renameat2(source_fd: int, source: str, target_fd: int, target: str, flags: int = 0) -> None:
    """Rename ``source`` in one directory to ``target`` in another, both given by descriptor.

    Raises:
        OSError: as renameat2(2); ENOSYS where there is no such call and ``flags`` aren't 0.
    """
    if not flags:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        return
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), source)
    if _renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source)
