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

``folders`` is one text: for each directory that has directories its path and their names, NUL between them, two NUL
between one and the next. ``stamps`` are eight bytes each: the inode and the change time (ns) of each of those names, in
that order. A directory's change time moves when an entry is added, removed or renamed in it; that a file's content
changed it does not tell.

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
    from layerscope.hostfs.tally import STAMP_BYTES, Apart, stamps, tallies, tally_in_python
else:
    sys.path.append(os.path.dirname(__file__))
    from tally import STAMP_BYTES, stamps, tallies, tally_in_python
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

Task = tuple[int, int, str, list[str], int, bool, list[str], bool]
Marks = tuple[str, bytes]
Check = tuple[int, int, int, str, bytes]
Verdict = tuple[int, int, bool]
Unreadable = tuple[str, int, int]
Link = tuple[int, int, int, int, int]
Sums = tuple[int, int, int, int, int, int, int, list[Unreadable], list[Link], "Marks | None"]
Done = tuple[list[Sums], list[Task], list[Verdict]]
FOLDER_END = "\0\0"

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 128
_TOGETHER = 12
"""Directories that are read in one go: threads wait less for each other."""
_TYPE, _FOLDER, _SYMLINK = 0o170000, 0o040000, 0o120000
_BLOCK = 512
_SUBVOLUME_INODE = 256
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


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


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


class Measuring:
    """The sums of one unit, while a task of it is carried out."""

    def __init__(self, task: Task) -> None:
        self.unit, self.root, self.path, self.names, self.device, self.crosses, borders, marked = task
        self.borders = borders
        self.bordering = {border.rpartition("/")[0] for border in borders}
        self.disk = self.apparent = self.count = self.file_bytes = self.symlink_bytes = self.vanished = 0
        self.unreadable: list[Unreadable] = []
        self.links: dict[int, list[int]] = {}
        self.marked = marked
        self.whole = not borders
        self.folders: list[str] = []
        self.stamps: list[bytes] = []

    def run(self, budget: int, is_ended: Callable[[], bool]) -> list[Task]:
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
                if self.count >= budget or len(frames) > _MOST_OPEN or is_ended():
                    frames.pop()
                    os.close(fd)
                    more = (self.device, self.crosses, self.borders, self.marked)
                    left.append((self.unit, self.root, path, pending, *more))
                    continue
                names = pending[-_TOGETHER:]
                del pending[-_TOGETHER:]
                frames.extend(self._scan(fd, path, names))
        finally:
            for fd, _, _ in frames:
                os.close(fd)
        return left

    def _scan(self, parent: int, path: str, names: list[str]) -> Iterator[tuple[int, str, list[str]]]:
        """Count what is in directories; of each that has directories its descriptor, its path and these."""
        where = (self.device, self.crosses, self.marked)
        if self.bordering and any(_below(path, name) in self.bordering for name in names):
            found = [tally_in_python(parent, name, *where, self._borders_in(_below(path, name))) for name in names]
        else:
            found = tallies(parent, names, *where)
        for name, (fd, device, sums, folders, marks, apart, failed) in zip(names, found, strict=True):
            below = _below(path, name)
            entries, blocks, size, folder_size, symlink_size, vanished = sums
            self.disk += blocks * _BLOCK
            self.apparent += size
            self.count += entries
            self.file_bytes += size - folder_size
            self.symlink_bytes += symlink_size
            self.vanished += vanished
            for entry in apart:
                self._look(entry, device, folders)
            if failed:
                self._closed(parent, name, below, failed)
            if not folders:
                if fd >= 0:
                    os.close(fd)
                continue
            if self.marked:
                self.folders.append("\0".join((below, *folders)))
                self.stamps.append(marks)
            yield fd, below, folders

    def _borders_in(self, path: str) -> set[str]:
        """The names in a directory behind which something else begins."""
        within = f"{path}/"
        return {border.removeprefix(within) for border in self.borders if border.startswith(within)}

    def _look(self, entry: Apart, device: int, folders: list[str]) -> None:
        """Count an entry of another device, if it belongs here, or one name of an inode that has several."""
        name, mode, inode, own_device, nlink, size, blocks, _changed = entry
        if own_device == device:
            self.count += 1
            self._link(own_device << 64 | inode, nlink, mode, size, blocks)
            return
        self.whole = False
        if self.crosses and mode & _TYPE == _FOLDER and inode == _SUBVOLUME_INODE:
            self.count += 1
            self.disk += blocks * _BLOCK
            self.apparent += size
            folders.append(name)

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

    def _closed(self, parent: int, name: str, path: str, failed: int) -> None:
        self.whole = False
        if failed in _GONE:
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
        marks = None
        if self.marked and self.whole and not self.vanished:
            marks = (FOLDER_END.join(self.folders), b"".join(self.stamps))
        return (*plain, self.unreadable, links, marks)


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
