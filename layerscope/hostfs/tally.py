"""The tally of one directory: what its entries take, its directories, and those entries that need a closer look.

This is the innermost loop of everything that is measured. ``_tally.c`` does the same without an object for each entry,
in half the time; an installation without a C compiler has this loop alone and the same answers, as has a process with
``LAYERSCOPE_NO_EXTENSIONS=1`` in its environment. The standard library is all that is needed here.

| tuple | fields |
| --- | --- |
| tally | entries, blocks, bytes, those of directories, those of symlinks, vanished, directories, stamps, apart, errno |
| apart | name, mode, inode, device, link count, bytes, blocks, change time (ns, modulo 2**64) |

Blocks are of 512 bytes. ``stamps`` are, where they were asked for, eight bytes each: inode and change time of each of
the directories, in their order. Apart, and not counted, are entries of another device, and names of inodes that have
several names and take up space. ``errno`` says why the directory was not read to its end: 0 where it was.
Source: getdents64(2), fstatat(2).
"""

from __future__ import annotations

import errno
import os
from array import array
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

Apart = tuple[str, int, int, int, int, int, int, int]
Tally = tuple[int, int, int, int, int, int, list[str], bytes, list[Apart], int]

STAMP_BYTES = 16
"""Of one directory: its inode and its change time."""
UNSIGNED = (1 << 64) - 1
_TYPE, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000


def tally_in_python(fd: int, device: int, marked: bool, without: Container[str] = ()) -> Tally:
    """The tally of the directory behind ``fd``, which is at its start.

    Args:
        fd: the directory; it stays open.
        device: that of the entries to count.
        marked: whether stamps are asked for.
        without: names to pass over.
    """
    folders: list[str] = []
    stamps = array("Q")
    apart: list[Apart] = []
    entries = blocks = apparent = folder_size = symlink_size = vanished = failed = 0
    try:
        with os.scandir(fd) as scan:
            for entry in scan:
                if without and entry.name in without:
                    continue
                try:
                    stat = entry.stat(follow_symlinks=False)
                except PermissionError:
                    raise
                except OSError:
                    vanished += 1
                    continue
                # One by one these fields cost as much again as the file system takes to tell them.
                mode, inode, own_device, nlink, _, _, size, _, _, _ = stat
                kind = mode & _TYPE
                own_blocks = stat.st_blocks
                if own_device != device or (nlink > 1 and kind != _FOLDER and (size or own_blocks)):
                    changed = stat.st_ctime_ns & UNSIGNED
                    apart.append((entry.name, mode, inode, own_device, nlink, size, own_blocks, changed))
                    continue
                entries += 1
                blocks += own_blocks
                apparent += size
                if kind == _FOLDER:
                    folders.append(entry.name)
                    folder_size += size
                    if marked:
                        stamps.append(inode)
                        stamps.append(stat.st_ctime_ns & UNSIGNED)
                elif kind == _SYMLINK:
                    symlink_size += size
    except OSError as error:
        failed = error.errno or errno.EIO
    sums = (entries, blocks, apparent, folder_size, symlink_size, vanished)
    return (*sums, folders, stamps.tobytes(), apart, failed)


def stamps_in_python(fd: int, device: int, names: str) -> bytes | None:
    """The stamps of entries of the directory behind ``fd``, None where one is missing or of another device.

    ``names`` has NUL between one and the next.
    """
    found = array("Q")
    for name in names.split("\0"):
        try:
            stat = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return None
        if stat.st_dev != device:
            return None
        found.append(stat.st_ino)
        found.append(stat.st_ctime_ns & UNSIGNED)
    return found.tobytes()


def _compiled() -> Any:
    if os.environ.get("LAYERSCOPE_NO_EXTENSIONS"):
        return None
    try:
        # A process that measures runs without the package, and has this folder's modules as its own.
        return import_module(f"{__package__}._tally" if __package__ else "_tally")
    except ImportError:
        return None


_extension = _compiled()
COMPILED = _extension is not None
"""Whether others may go on in this process while a directory is read."""
tally: Callable[[int, int, bool], Tally] = _extension.tally if COMPILED else tally_in_python
"""As ``tally_in_python``, without names to pass over."""
stamps: Callable[[int, int, str], bytes | None] = _extension.stamps if COMPILED else stamps_in_python
"""As ``stamps_in_python``."""
