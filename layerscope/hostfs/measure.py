"""Sums of directory trees, as du makes them: one scandir and one fstatat for each entry, nothing followed.

This file needs the standard library only, and runs as a program of its own too: jobs come in on standard input, sums go
out on standard output, each as four bytes of length and a marshalled value. Directories of a root are given as
descriptors that the program inherits.

| tuple | fields |
| --- | --- |
| task | unit, root descriptor, path below it, names of directories at that path, device, crosses, borders |
| sums | unit, disk, apparent, names, file bytes, symlink bytes, vanished, unreadable, links |
| unreadable | path, disk, apparent |
| link | device << 64 or'ed with the inode, names seen, link count, disk, apparent |

A task is given up after a number of entries; what is left of it comes back as more tasks, so that large trees are
shared out. Symlinks and devices count like files; an inode with several names counts once all of them were seen, else
it is among the links. Names longer than any path are no matter: descriptors lead the way, and few are open.
Source: GNU du; openat(2), open(2) O_NOATIME.
"""

from __future__ import annotations

import errno
import marshal
import os
import sys
from typing import Any

Task = tuple[int, int, str, list[str], int, bool, list[str]]
Sums = tuple[int, int, int, int, int, int, int, list[tuple[str, int, int]], list[tuple[int, int, int, int, int]]]

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)
_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 64
_TYPE, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000
_BLOCK = 512
_SUBVOLUME_INODE = 256
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


def _open(name: str, parent: int) -> int:
    try:
        return os.open(name, _FLAGS | _NOATIME, dir_fd=parent)
    except PermissionError:
        return os.open(name, _FLAGS, dir_fd=parent)


def _descend(root: int, path: str) -> int:
    """A descriptor of the directory at ``path``, one component after the other."""
    fd = os.dup(root)
    for name in path.split("/") if path else ():
        try:
            below = os.open(name, _PATH_ONLY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _is_subvolume(stat: os.stat_result) -> bool:
    return stat.st_ino == _SUBVOLUME_INODE


class Measuring:
    """The sums of one unit, while a task of it is carried out."""

    def __init__(self, task: Task) -> None:
        self.unit, self.root, self.path, self.names, self.device, self.crosses, borders = task
        self.borders = frozenset(borders)
        self.disk = self.apparent = self.count = self.file_bytes = self.symlink_bytes = self.vanished = 0
        self.unreadable: list[tuple[str, int, int]] = []
        self.links: dict[int, list[int]] = {}

    def run(self, budget: int) -> list[Task]:
        """Measure until about ``budget`` entries are counted, and give what is left to do."""
        try:
            frames = [(_descend(self.root, self.path), self.path, list(self.names))]
        except OSError:
            self.vanished += len(self.names)
            return []
        left: list[Task] = []
        try:
            while frames:
                fd, path, pending = frames[-1]
                if not pending:
                    frames.pop()
                    os.close(fd)
                    continue
                if self.count >= budget or len(frames) > _MOST_OPEN:
                    frames.pop()
                    os.close(fd)
                    left.append((self.unit, self.root, path, pending, self.device, self.crosses, list(self.borders)))
                    continue
                name = pending.pop()
                below = f"{path}/{name}" if path else name
                inside = self._scan(fd, name, below)
                if inside is not None:
                    frames.append((inside[0], below, inside[1]))
        finally:
            for fd, _, _ in frames:
                os.close(fd)
        return left

    def _scan(self, parent: int, name: str, path: str) -> tuple[int, list[str]] | None:
        """Count what is in a directory; its descriptor and its directories, if it has any."""
        try:
            fd = _open(name, parent)
        except OSError as error:
            self._closed(parent, name, path, error)
            return None
        folders: list[str] = []
        disk = apparent = count = file_bytes = 0
        links, borders = self.links, self.borders
        try:
            device = os.fstat(fd).st_dev if self.crosses else self.device
            with os.scandir(fd) as scan:
                for entry in scan:
                    try:
                        stat = entry.stat(follow_symlinks=False)
                    except OSError:
                        self.vanished += 1
                        continue
                    kind = stat.st_mode & _TYPE
                    if stat.st_dev != device and not (self.crosses and kind == _FOLDER and _is_subvolume(stat)):
                        continue
                    if borders and f"{path}/{entry.name}" in borders:
                        continue
                    count += 1
                    size = stat.st_size
                    if kind == _FOLDER:
                        folders.append(entry.name)
                    elif stat.st_nlink > 1:
                        blocks = stat.st_blocks
                        if not size and not blocks:
                            continue  # whiteouts, mostly: they cost nothing wherever they are counted
                        key = stat.st_dev << 64 | stat.st_ino
                        known = links.get(key)
                        if known is None:
                            links[key] = [1, stat.st_nlink, blocks, size]
                        elif known[0] + 1 < known[1]:
                            known[0] += 1
                            continue
                        else:
                            del links[key]
                            disk += blocks
                            apparent += size
                            continue
                        file_bytes += size
                        if kind == _SYMLINK:
                            self.symlink_bytes += size
                        continue
                    else:
                        file_bytes += size
                        if kind == _SYMLINK:
                            self.symlink_bytes += size
                    disk += stat.st_blocks
                    apparent += size
        except OSError as error:
            self._closed(parent, name, path, error)
        self.disk += disk * _BLOCK
        self.apparent += apparent
        self.count += count
        self.file_bytes += file_bytes
        if folders:
            return fd, folders
        os.close(fd)
        return None

    def _closed(self, parent: int, name: str, path: str, error: OSError) -> None:
        if error.errno in _GONE:
            self.vanished += 1
            return
        try:
            stat = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError:
            self.vanished += 1
            return
        self.unreadable.append((path, stat.st_blocks * _BLOCK, stat.st_size))
        self.disk -= stat.st_blocks * _BLOCK
        self.apparent -= stat.st_size
        self.count -= 1

    def sums(self) -> Sums:
        """What was counted."""
        links = [(key, one[0], one[1], one[2] * _BLOCK, one[3]) for key, one in self.links.items()]
        plain = (self.unit, self.disk, self.apparent, self.count, self.file_bytes, self.symlink_bytes, self.vanished)
        return (*plain, self.unreadable, links)


def measure(tasks: list[Task], budget: int) -> tuple[list[Sums], list[Task]]:
    """The sums of ``tasks``, of about ``budget`` entries in all, and the tasks that are left."""
    done: list[Sums] = []
    left: list[Task] = []
    for position, task in enumerate(tasks):
        if budget <= 0:
            left.extend(tasks[position:])
            break
        measuring = Measuring(task)
        left.extend(measuring.run(budget))
        done.append(measuring.sums())
        budget -= measuring.count + 16
    return done, left


def _read(count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def _write(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


def serve() -> None:
    """Carry out the jobs that come in: each is a list of tasks and a budget."""
    while True:
        job: Any = marshal.loads(_read(int.from_bytes(_read(4), "big")))
        data = marshal.dumps(measure(*job))
        _write(len(data).to_bytes(4, "big") + data)


if __name__ == "__main__":
    import gc

    gc.disable()
    if sys.flags.isolated:
        serve()
