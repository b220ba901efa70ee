"""The tally of a directory: what its entries take, its directories, and those entries that need a closer look.

This is the innermost loop of everything that is measured. ``_tally.c`` does the same without an object for each entry,
in half the time; an installation without a C compiler has this loop alone and the same answers, as has a process with
``LAYERSCOPE_NO_EXTENSIONS=1`` in its environment. The standard library is all that is needed here.

| tuple | fields |
| --- | --- |
| tally | descriptor, device, sums, directories, stamps, apart, errno |
| sums | entries, blocks, bytes, those of directories, those of symlinks, vanished |
| apart | name, mode, inode, device, link count, bytes, blocks, change time (ns, modulo 2**64) |

Blocks are of 512 bytes. ``stamps`` are, where they were asked for, eight bytes each: inode and change time of each of
the directories, in their order. Apart, and not counted, are entries of another device, and names of inodes that have
several names and take up space. ``errno`` says why the directory was not opened, or not read to its end: 0 where it
was. The descriptor stays open for the directories in this one; it is -1 where there are none, and nothing is apart.
Source: openat(2), open(2) O_NOATIME, getdents64(2), fstatat(2).
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
Sums = tuple[int, int, int, int, int, int]
Tally = tuple[int, int, Sums, list[str], bytes, list[Apart], int]

STAMP_BYTES = 16
"""Of one directory: its inode and its change time."""
UNSIGNED = (1 << 64) - 1
_TYPE, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000


_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)


def _open(name: str, parent: int) -> int:
    try:
        return os.open(name, _FLAGS | _NOATIME, dir_fd=parent)
    except PermissionError:
        return os.open(name, _FLAGS, dir_fd=parent)


def tally_in_python(
    parent: int, name: str, device: int, crosses: bool, marked: bool, without: Container[str] = ()
) -> Tally:
    """The tally of the directory ``name`` in the one behind ``parent``.

    Args:
        parent: a descriptor.
        name: not followed where it is a symlink.
        device: that of the entries to count.
        crosses: count those of the directory's own device instead.
        marked: whether stamps are asked for.
        without: names to pass over.
    """
    folders: list[str] = []
    stamps = array("Q")
    apart: list[Apart] = []
    entries = blocks = apparent = folder_size = symlink_size = vanished = failed = 0
    try:
        fd = _open(name, parent)
    except OSError as error:
        return -1, device, (0, 0, 0, 0, 0, 0), [], b"", [], error.errno or errno.EIO
    try:
        device = os.fstat(fd).st_dev if crosses else device
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
    except BaseException:
        os.close(fd)
        raise
    if not folders and not apart:
        os.close(fd)
        fd = -1
    sums = (entries, blocks, apparent, folder_size, symlink_size, vanished)
    return fd, device, sums, folders, stamps.tobytes(), apart, failed


def tallies_in_python(parent: int, names: list[str], device: int, crosses: bool, marked: bool) -> list[Tally]:
    """The tallies of several directories in the one behind ``parent``."""
    return [tally_in_python(parent, name, device, crosses, marked) for name in names]


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
tallies: Callable[[int, list[str], int, bool, bool], list[Tally]] = _extension.tally if COMPILED else tallies_in_python
"""As ``tallies_in_python``."""
stamps: Callable[[int, int, str], bytes | None] = _extension.stamps if COMPILED else stamps_in_python
"""As ``stamps_in_python``."""
