"""Sums of directory trees, as du makes them: one listing and one fstatat for each entry, nothing followed.

This file needs the standard library and its neighbour ``tally`` only, and runs as a program of its own too: jobs come
in on standard input, what was done goes out on standard output, each as four bytes of length and a marshalled value.
Directories of a root are given as descriptors that the program inherits.

| tuple | fields |
| --- | --- |
| job | tasks, checks, budget |
| done | sums, tasks that are left, verdicts |
| task | unit, root descriptor, path below it, names of directories at that path, device, crosses, borders, marked |
| sums | unit, disk, apparent, names, file bytes, symlink bytes, vanished, unreadable, links, marks |
| unreadable | path, disk, apparent |
| link | device << 64 or'ed with the inode, names seen, link count, disk, apparent |
| marks | folders, stamps: what tells later that no directory changed |
| check | unit, root descriptor, device, folders, stamps |
| verdict | unit, directories, whether they are as they were |

``folders`` and ``stamps`` are those of :mod:`layerscope.hostfs.tally`. A directory's change time moves when an entry is
added, removed or renamed in it; that a file's content changed it does not tell.

A task is given up after a number of entries; what is left of it comes back as more tasks, so that large trees are
shared out. Symlinks and devices count like files; an inode with several names counts once all of them were seen, else
it is among the links. Names longer than any path are no matter: descriptors lead the way, and few are open.
Source: GNU du; openat(2).
"""

from __future__ import annotations

import errno
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING or __name__ != "__main__":
    from layerscope.hostfs.tally import (
        FOLDER_END,
        OTHER_DEVICE,
        SEVERAL_NAMES,
        STAMP_BYTES,
        Apart,
        join,
        stamps,
        tally,
        tally_in_python,
    )
else:
    sys.path.append(os.path.dirname(__file__))
    from tally import FOLDER_END, OTHER_DEVICE, SEVERAL_NAMES, STAMP_BYTES, join, stamps, tally, tally_in_python
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Task = tuple[int, int, str, list[str], int, bool, list[str], bool]
Marks = tuple[str, bytes]
Check = tuple[int, int, int, str, bytes]
Verdict = tuple[int, int, bool]
Unreadable = tuple[str, int, int]
Link = tuple[int, int, int, int, int]
Sums = tuple[int, int, int, int, int, int, int, list[Unreadable], list[Link], "Marks | None"]
Done = tuple[list[Sums], list[Task], list[Verdict]]

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPE, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000
_TOGETHER = 64
"""Directories that are handed to a tally at a time: of very many it would give most back, again and again."""
_BLOCK = 512
_SUBVOLUME_INODE = 256
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


class Measuring:
    """The sums of one unit, while a task of it is carried out."""

    def __init__(self, task: Task) -> None:
        self.unit, self.root, self.path, self.names, self.device, self.crosses, borders, marked = task
        self.borders = borders
        self.above_borders = {above for border in borders for above in _paths_above(border)}
        self.disk = self.apparent = self.count = self.file_bytes = self.symlink_bytes = self.vanished = 0
        self.unreadable: list[Unreadable] = []
        self.links: dict[int, list[int]] = {}
        self.marked = marked
        self.whole = not borders
        self.folders: list[str] = []
        self.stamps: list[bytes] = []
        self.left: list[tuple[str, list[str]]] = []

    def run(self, budget: int, is_ended: Callable[[], bool]) -> list[Task]:
        """Measure until about ``budget`` entries are counted, and give what is left to do."""
        self.left = [(self.path, list(self.names))]
        while self.left and self.count < budget and not is_ended():
            path, pending = self.left[-1]
            names = pending[-_TOGETHER:]
            del pending[-_TOGETHER:]
            if not pending:
                self.left.pop()
            bordering = [name for name in names if join(path, name) in self.above_borders]
            plain = [name for name in names if name not in bordering] if bordering else names
            if bordering:
                self._count(path, bordering, budget - self.count, borders=True)
            if plain:
                self._count(path, plain, budget - self.count, borders=False)
        more = (self.device, self.crosses, self.borders, self.marked)
        return [(self.unit, self.root, path, names, *more) for path, names in self.left]

    def _count(self, path: str, names: list[str], budget: int, borders: bool) -> None:
        """Count what is in directories at a path, as much as the budget allows; the rest is left."""
        where = (self.root, path, names, self.device, self.crosses, self.marked, max(1, budget))
        if borders:
            sums, folders, stamps, apart, left = tally_in_python(*where, set(self.borders), deep=False)
        else:
            sums, folders, stamps, apart, left = tally(*where)
        entries, blocks, size, folder_size, symlink_size, vanished = sums
        self.disk += blocks * _BLOCK
        self.apparent += size
        self.count += entries
        self.file_bytes += size - folder_size
        self.symlink_bytes += symlink_size
        self.vanished += vanished
        self.left.extend(left)
        if folders:
            self.folders.append(folders)
            self.stamps.append(stamps)
        for entry in apart:
            self._look(entry)

    def _look(self, entry: Apart) -> None:
        """Count what a tally left apart: a name of an inode that has several, or an entry of another device."""
        why, path, name, mode, inode, device, links, size, blocks = entry
        if why == SEVERAL_NAMES:
            self.count += 1
            self._link(device << 64 | inode, links, mode, size, blocks)
            return
        self.whole = False
        if why != OTHER_DEVICE:
            self._closed(why, join(path, name), mode, size, blocks)
        elif self.crosses and mode & _TYPE == _FOLDER and inode == _SUBVOLUME_INODE:
            self.count += 1
            self.disk += blocks * _BLOCK
            self.apparent += size
            self.left.append((path, [name]))

    def _link(self, key: int, nlink: int, mode: int, size: int, blocks: int) -> None:
        """Note one name of an inode that has several; it counts once all of them were seen."""
        known = self.links.get(key)
        if known is None:
            self.links[key] = [1, nlink, blocks, size]
            self.file_bytes += size
            if mode & _TYPE == _SYMLINK:
                self.symlink_bytes += size
        elif known[0] + 1 < known[1]:
            known[0] += 1
        else:
            # Its sizes as a file and as a symlink were told with its first name.
            del self.links[key]
            self.disk += blocks * _BLOCK
            self.apparent += size

    def _closed(self, why: int, path: str, mode: int, size: int, blocks: int) -> None:
        """A directory that can't be read, or is gone; it was counted where it was found."""
        if why in _GONE or not mode:
            self.vanished += 1
            return
        self.unreadable.append((path, blocks * _BLOCK, size))
        self.disk -= blocks * _BLOCK
        self.apparent -= size
        self.count -= 1

    def sums(self) -> Sums:
        """What was counted."""
        links = [(key, one[0], one[1], one[2] * _BLOCK, one[3]) for key, one in self.links.items()]
        plain = (self.unit, self.disk, self.apparent, self.count, self.file_bytes, self.symlink_bytes, self.vanished)
        marks = None
        if self.marked and self.whole and not self.vanished:
            marks = (FOLDER_END.join(self.folders), b"".join(self.stamps))
        return (*plain, self.unreadable, links, marks)


def _paths_above(border: str) -> list[str]:
    """The paths of the directories that a border lies in, at any depth."""
    return [border[:at] for at, letter in enumerate(border) if letter == "/"]


def unchanged(check: Check) -> bool:
    """Whether every directory is the one that it was, and holds the names that it held."""
    _unit, root, device, folders, expected = check
    found: list[bytes] = []
    opened: list[tuple[str, int]] = [("", root)]
    try:
        for folder in folders.split(FOLDER_END):
            path, _, names = folder.partition("\0")
            path += "/"
            while not path.startswith(opened[-1][0]):
                os.close(opened.pop()[1])
            above, fd = opened[-1]
            for name in path[len(above) : -1].split("/") if above != path else ():
                fd = os.open(name, _PATH_ONLY, dir_fd=fd)
                above = f"{above}{name}/"
                opened.append((above, fd))
            told = stamps(fd, device, names) if names else b""
            if told is None:
                return False
            found.append(told)
    except OSError:
        return False
    finally:
        for _path, fd in opened[1:]:
            os.close(fd)
    return b"".join(found) == expected


def measure(tasks: list[Task], checks: list[Check], budget: int, is_ended: Callable[[], bool] = lambda: False) -> Done:
    """The sums of ``tasks``, of about ``budget`` entries in all, the tasks that are left, and all the verdicts.

    ``is_ended`` is asked before each directory; once it says so the rest is left.
    """
    done: list[Sums] = []
    left: list[Task] = []
    for position, task in enumerate(tasks):
        if budget <= 0:
            left.extend(tasks[position:])
            break
        measuring = Measuring(task)
        left.extend(measuring.run(budget, is_ended))
        done.append(measuring.sums())
        budget -= measuring.count + 16
    return done, left, [(check[0], len(check[4]) // STAMP_BYTES, unchanged(check)) for check in checks]


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
    """Carry out the jobs that come in, until no more can."""
    while True:
        job: Any = marshal.loads(_read(int.from_bytes(_read(4), "big")))
        data = marshal.dumps(measure(*job))
        _write(len(data).to_bytes(4, "big") + data)


if __name__ == "__main__":
    import gc

    gc.disable()
    if sys.flags.isolated:
        serve()
