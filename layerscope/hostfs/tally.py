"""The tally of trees: what they take, what tells later that they are as they were, and what needs a closer look.

This is the innermost loop of everything that is measured. The sources in ``native`` do the same without an object for
each entry, in half the time; an installation without a C compiler has this loop alone and the same answers, as has a
process with ``LAYERSCOPE_NO_EXTENSIONS=1`` in its environment. The standard library is all that is needed here.

| tuple | fields |
| --- | --- |
| tally | sums, folders, stamps, apart, left |
| sums | entries, blocks, bytes, those of directories, those of symlinks, vanished |
| apart | why, path of its directory, name, mode, inode, device, link count, bytes, blocks |
| left | path, names of directories at that path |

Blocks are of 512 bytes, paths below the root. ``folders`` and ``stamps`` are there where marks were asked for:
``folders`` is one text: for each directory that has directories its path and their names, NUL between them, two NUL
between one and the next; ``stamps`` are eight bytes each: inode and change time (ns, modulo 2**64) of each of those
names, in that order.

Apart are names of inodes that have several names and take up space, entries of another device, both not counted, and
directories that were not read, or not to their end, which were counted where they were found: ``why`` is then the
kernel's error, and the rest is 0 where they are gone. ``left`` is what is still to be read once enough was counted.
Source: openat(2), open(2) O_NOATIME, getdents64(2), fstatat(2).
"""

from __future__ import annotations

import errno
import os
from importlib import import_module
from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

Sums = tuple[int, int, int, int, int, int]
Apart = tuple[int, str, str, int, int, int, int, int, int]
Left = tuple[str, list[str]]
Tally = tuple[Sums, str, bytes, list[Apart], list[Left]]

SEVERAL_NAMES, OTHER_DEVICE = 0, -1
"""Why an entry is apart, beside the errors of the kernel."""
FOLDER_END = "\0\0"
STAMP_BYTES = 16
"""Of one directory: its inode and its change time."""
UNSIGNED = (1 << 64) - 1
_MOST_OPEN = 128
_TYPE, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000
_NOTHING = (0, 0, 0, 0, 0, 0)

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)


def tally_in_python(
    root: int,
    path: str,
    names: list[str],
    device: int,
    crosses: bool,
    marked: bool,
    budget: int,
    borders: Container[str] = (),
    deep: bool = True,
) -> Tally:
    """The tally of directories at a path, and of all below them until ``budget`` entries were counted.

    Args:
        root: a descriptor.
        path: below it, of no symlinks, without a leading slash; "": the root itself.
        names: of directories there; one that is a symlink isn't followed.
        device: that of the entries to count.
        crosses: count those of each of these directories' own device instead.
        marked: whether folders and stamps are asked for.
        budget: more than 0; the directory in which it is reached is read to its end.
        borders: paths to pass over.
        deep: false: of these directories only their own entries are counted; those in them are left.
    """
    walk = _Walk(device, marked, borders)
    try:
        first = descend(root, path)
    except OSError:
        return (*_NOTHING[:-1], len(names)), "", b"", [], []
    frames = [(first, path, list(reversed(names)))]
    left: list[Left] = []
    try:
        while frames:
            fd, above, pending = frames[-1]
            if not pending:
                frames.pop()
                os.close(fd)
                continue
            if walk.entries >= budget or len(frames) > _MOST_OPEN:
                break
            name = pending.pop()
            if len(frames) == 1:
                walk.device = None if crosses else device
            below, folders = walk.read(fd, above, name)
            if deep and folders:
                frames.append((below, join(above, name), folders[::-1]))
                continue
            if folders:
                left.append((join(above, name), folders))
            if below >= 0:
                os.close(below)
        left[:0] = [(above, pending[::-1]) for _, above, pending in frames if pending]
    finally:
        for fd, _, _ in frames:
            os.close(fd)
    return walk.sums(), FOLDER_END.join(walk.folders), b"".join(walk.stamps), walk.apart, left


def descend(root: int, path: str) -> int:
    """A descriptor of the directory at ``path``, one component after the other. Raises OSError."""
    fd = os.open(".", _PATH_ONLY, dir_fd=root)
    for name in path.split("/") if path else ():
        try:
            below = os.open(name, _PATH_ONLY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def join(path: str, name: str) -> str:
    """The path of a name in the directory at ``path``."""
    return f"{path}/{name}" if path else name


def _open(name: str, parent: int) -> int:
    try:
        return os.open(name, _READING | _NOATIME, dir_fd=parent)
    except PermissionError:
        return os.open(name, _READING, dir_fd=parent)


def _word(number: int) -> bytes:
    return (number & UNSIGNED).to_bytes(8, byteorder)


class _Walk:
    """What was counted until now; ``device`` is None until a directory has told its own."""

    def __init__(self, device: int | None, marked: bool, borders: Container[str]) -> None:
        self.device = device
        self.marked = marked
        self.borders = borders
        self.entries = self.blocks = self.bytes = self.folder_bytes = self.symlink_bytes = self.vanished = 0
        self.folders: list[str] = []
        self.stamps: list[bytes] = []
        self.apart: list[Apart] = []

    def sums(self) -> Sums:
        return self.entries, self.blocks, self.bytes, self.folder_bytes, self.symlink_bytes, self.vanished

    def read(self, parent: int, path: str, name: str) -> tuple[int, list[str]]:
        """Count what is in one directory: its descriptor, -1 where it can't be opened, and the directories in it."""
        folders: list[str] = []
        try:
            fd = _open(name, parent)
        except OSError as error:
            self._closed(parent, path, name, error)
            return -1, folders
        try:
            if self.device is None:
                self.device = os.fstat(fd).st_dev
            stamps: list[bytes] = []
            try:
                with os.scandir(fd) as scan:
                    for entry in scan:
                        self._count(entry, join(path, name), folders, stamps)
            except OSError as error:
                self._closed(parent, path, name, error)
        except BaseException:
            os.close(fd)
            raise
        if self.marked and folders:
            self.folders.append("\0".join((join(path, name), *folders)))
            self.stamps.extend(stamps)
        return fd, folders

    def _count(self, entry: os.DirEntry[str], path: str, folders: list[str], stamps: list[bytes]) -> None:
        if self.borders and join(path, entry.name) in self.borders:
            return
        try:
            stat = entry.stat(follow_symlinks=False)
        except PermissionError:
            raise
        except OSError:
            self.vanished += 1
            return
        # One by one these fields cost as much again as the file system takes to tell them.
        mode, inode, device, links, _, _, size, _, _, _ = stat
        kind = mode & _TYPE
        blocks = stat.st_blocks
        if device != self.device:
            self.apart.append((OTHER_DEVICE, path, entry.name, mode, inode, device, links, size, blocks))
            return
        if links > 1 and kind != _FOLDER and (size or blocks):
            self.apart.append((SEVERAL_NAMES, path, entry.name, mode, inode, device, links, size, blocks))
            return
        self.entries += 1
        self.blocks += blocks
        self.bytes += size
        if kind == _FOLDER:
            folders.append(entry.name)
            self.folder_bytes += size
            if self.marked:
                stamps.append(_word(inode) + _word(stat.st_ctime_ns))
        elif kind == _SYMLINK:
            self.symlink_bytes += size

    def _closed(self, parent: int, path: str, name: str, error: OSError) -> None:
        why = error.errno or errno.EIO
        try:
            stat = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError:
            self.apart.append((why, path, name, *_NOTHING))
            return
        mode, inode, device, links, _, _, size, _, _, _ = stat
        self.apart.append((why, path, name, mode, inode, device, links, size, stat.st_blocks))


def stamps_in_python(fd: int, device: int, names: str) -> bytes | None:
    """The stamps of entries of the directory behind ``fd``, None where one is missing or of another device.

    ``names`` has NUL between one and the next.
    """
    found: list[bytes] = []
    for name in names.split("\0"):
        try:
            stat = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return None
        if stat.st_dev != device:
            return None
        found.append(_word(stat.st_ino) + _word(stat.st_ctime_ns))
    return b"".join(found)


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
"""Whether others may go on in this process while trees are read."""
tally: Callable[[int, str, list[str], int, bool, bool, int], Tally] = _extension.tally if COMPILED else tally_in_python
"""As ``tally_in_python``, deep and without borders."""
stamps: Callable[[int, int, str], bytes | None] = _extension.stamps if COMPILED else stamps_in_python
"""As ``stamps_in_python``."""
