"""The rows of a scan: every entry of a tree, a directory's entries by name first, then those of each directory in it.

A directory is listed once and its entries are looked at in portions; nothing grows with the tree but the names of
directories that are still to be entered, and the inodes that have more names to come.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from layerscope.analysis.sorted_names import sorted_names
from layerscope.formats.scan.file import LONGEST_PATH, TOP
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, UNMARKED, Dialect, is_whiteout_device
from layerscope.model.claim import Category, Claim, Place
from layerscope.model.problem import Problem, Severity
from layerscope.model.scan import MOST_CHARACTERS, Mark, ScanRow, ScanSubject, decoded, encoded
from layerscope.model.tree import LayerDirectory
from layerscope.stores.claims import ClaimedTree

_BLOCK = 512
_TYPE = 0o170000
_TOLD = 20
_LONGEST = LONGEST_PATH - 1024
_SUBVOLUME_INODE = 256
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


class ScanTally:
    """What all trees of one scan come to: rows, what vanished, what could not be listed.

    ``progress`` is told the bytes on disk of the rows made so far, now and then.
    """

    def __init__(self, progress: Callable[[int], None] = lambda done: None) -> None:
        self.rows = 0
        self.vanished = 0
        self.unreadable = 0
        self.disk = 0
        self.progress = progress
        self._told: list[Problem] = []

    def add(self, rows: int, disk: int) -> None:
        """Rows that were made, and their bytes on disk."""
        self.rows += rows
        self.disk += disk
        self.progress(self.disk)

    def closed(self, path: str, error: OSError) -> None:
        """A directory that can't be listed."""
        if error.errno in _GONE:
            self.vanished += 1
            return
        self.unreadable += 1
        if len(self._told) < _TOLD:
            hint = "run as root" if error.errno in (errno.EACCES, errno.EPERM) else ""
            what = f"can't be listed: {error.strerror or os.strerror(error.errno or 0)}"
            self._told.append(Problem(path, what, "what is below it isn't in the scan", hint))

    def problems(self) -> list[Problem]:
        """What to tell of all that; that names vanished is a note."""
        found = list(self._told)
        if self.unreadable > len(found):
            found.append(Problem("", f"{self.unreadable - len(found)} more directories can't be listed"))
        if self.vanished:
            what = f"changed while it was read: {self.vanished} entries vanished"
            found.append(Problem("", what, "the scan is of no single moment", severity=Severity.NOTE))
        return found


_Known = TypeVar("_Known")


class _Walk(Generic[_Known]):
    """The way through one tree.

    ``place`` is where its top lies below the root, for what is told. ``crosses``: subvolumes in it belong to it.
    """

    def __init__(
        self, top: LayerDirectory, place: str, dialect: Dialect, tally: ScanTally, crosses: bool = False
    ) -> None:
        self._top = top
        self._place = place
        self._dialect = dialect
        self._tally = tally
        self._crosses = crosses
        self._device = -1
        self._links: dict[tuple[int, int], int] = {}
        self._announcing: set[bytes] = set()
        self._marks_files = False

    @abstractmethod
    def choose(self, path: bytes, name: str, stat: os.stat_result, known: _Known) -> ScanSubject | None:
        """Whose an entry is; None for what isn't in this tree."""

    @abstractmethod
    def below(self, name: str, known: _Known) -> _Known:
        """What to know of a directory when it is entered: nothing of that is kept while it waits for its turn."""

    def rows(self, subject: ScanSubject, known: _Known) -> Iterator[ScanRow]:
        """The top, which is the subject's, and everything below it."""
        first = self._top.stat_self()
        self._device = first.st_dev
        yield self._row(b"", b"", subject, first, first.st_blocks * _BLOCK, Mark.PLAIN, b"")
        self._tally.add(1, first.st_blocks * _BLOCK)
        if self._opaque_value(self._top, "") == b"x":
            self._announcing.add(b"")
        below: list[str] = []
        yield from self._listed(self._top, b"", known, below)
        frames = [(self._top, b"", known, below)]
        while frames:
            directory, path, known, below = frames[-1]
            if not below:
                frames.pop()
                continue
            name = below.pop()
            inside = _joined(path, name)
            entered = directory.enter(name)
            within = self.below(name, known)
            deeper: list[str] = []
            yield from self._listed(entered, inside, within, deeper)
            if len(inside) > _LONGEST and deeper:
                self._tally.closed(self._shown(inside), OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
            elif deeper:
                frames.append((entered, inside, within, deeper))

    def _shown(self, path: bytes) -> str:
        return "/".join(part for part in (self._place, decoded(path)) if part) or "."

    def _listed(self, directory: LayerDirectory, path: bytes, known: _Known, below: list[str]) -> Iterator[ScanRow]:
        """The entries of one directory; ``below`` is filled with those to be entered, the last one first."""
        rows = disk = 0
        try:
            device = directory.stat_self().st_dev if self._crosses else self._device
            self._marks_files = self._dialect.names or path in self._announcing
            for some in sorted_names(directory):
                for name, stat in zip(some, directory.stats(some), strict=True):
                    if stat is None:
                        self._tally.vanished += 1
                        continue
                    if stat.st_dev != device and not (self._crosses and stat.st_ino == _SUBVOLUME_INODE):
                        continue  # another file system is mounted there
                    chosen = self.choose(path, name, stat, known)
                    if chosen is None:
                        continue
                    row = self._entry(directory, path, name, stat, chosen)
                    rows += 1
                    disk += row.disk
                    yield row
                    if row.mode & _TYPE == modes.S_IFDIR:
                        below.append(name)
        except OSError as error:
            self._tally.closed(self._shown(path), error)
        below.reverse()
        self._announcing.discard(path)
        self._tally.add(rows, disk)

    def _entry(
        self, directory: LayerDirectory, path: bytes, name: str, stat: os.stat_result, subject: ScanSubject
    ) -> ScanRow:
        kind = stat.st_mode & _TYPE
        disk = stat.st_blocks * _BLOCK
        mark, target = Mark.PLAIN, b""
        if kind == modes.S_IFDIR:
            value = self._opaque_value(directory, name)
            if value == b"y":
                mark = Mark.OPAQUE
            elif value == b"x":
                self._announcing.add(_joined(path, name))
        else:
            if stat.st_nlink > 1 and (disk or stat.st_size) and self._is_known(stat):
                disk = 0
            if kind == modes.S_IFLNK:
                target = _target(directory, name)
            elif kind != modes.S_IFREG or self._marks_files:
                mark = self._mark(directory, name, stat, kind)
        return self._row(path, encoded(name), subject, stat, disk, mark, target)

    def _is_known(self, stat: os.stat_result) -> bool:
        """Whether another name of the inode came before; each is forgotten with its last name."""
        key = (stat.st_dev, stat.st_ino)
        left = self._links.pop(key, stat.st_nlink)
        if left > 1:
            self._links[key] = left - 1
        return left < stat.st_nlink

    # ------------------------------------------------------------------ marks
    def _opaque_value(self, directory: LayerDirectory, name: str) -> bytes | None:
        if not self._dialect.prefix:
            return None
        try:
            names = directory.xattr_names(name)
            keys = [key for prefix in self._dialect.prefixes if (key := f"{prefix}opaque") in names]
            values = [directory.xattr(key, name) for key in keys]
        except OSError:
            return None
        return b"y" if b"y" in values else values[0] if values else None

    def _mark(self, directory: LayerDirectory, name: str, stat: os.stat_result, kind: int) -> Mark:
        """What an entry that is neither directory nor symlink means."""
        dialect = self._dialect
        if dialect.devices and is_whiteout_device(stat):
            return Mark.WHITEOUT
        if dialect.names and kind == modes.S_IFREG and name.startswith(NAME_PREFIX):
            if name == NAME_OPAQUE:
                return Mark.OPAQUE
            return Mark.PLAIN if name.startswith(2 * NAME_PREFIX) else Mark.WHITEOUT
        if dialect.xattrs and kind == modes.S_IFREG and not stat.st_size:
            try:
                names = directory.xattr_names(name)
            except OSError:
                return Mark.PLAIN
            if any(f"{prefix}whiteout" in names for prefix in dialect.prefixes):
                return Mark.WHITEOUT
        return Mark.PLAIN

    @staticmethod
    def _row(
        path: bytes, name: bytes, subject: ScanSubject, stat: os.stat_result, disk: int, mark: Mark, target: bytes
    ) -> ScanRow:
        numbers = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size, disk)
        moment, links, device = stat.st_mtime_ns, stat.st_nlink, stat.st_rdev
        if (numbers[1] | numbers[2] | numbers[3] | disk | links | device | abs(moment)) >> 63:  # no kernel's numbers
            numbers = (stat.st_mode, *map(_bounded, numbers[1:]))  # type: ignore[assignment]
            moment, links, device = min(max(moment, 1 - TOP), TOP - 1), _bounded(links), _bounded(device)
        return ScanRow(path, name, subject, *numbers, moment, links, device, mark, target)


def _bounded(number: int) -> int:
    return min(max(number, 0), TOP - 1)


def _joined(path: bytes, name: str) -> bytes:
    return path + b"/" + encoded(name) if path else encoded(name)


def _target(directory: LayerDirectory, name: str) -> bytes:
    try:
        return encoded(directory.readlink(name))[:LONGEST_PATH]
    except OSError:  # gone meanwhile
        return b""


class _LayerWalk(_Walk[None]):
    """The way through one layer, all of which is the subject's."""

    def __init__(
        self, top: LayerDirectory, place: str, dialect: Dialect, tally: ScanTally, subject: ScanSubject, crosses: bool
    ) -> None:
        super().__init__(top, place, dialect, tally, crosses)
        self._subject = subject

    def choose(self, path: bytes, name: str, stat: os.stat_result, known: None) -> ScanSubject:
        return self._subject

    def below(self, name: str, known: None) -> None:
        return None


class _RootWalk(_Walk[Place]):
    """The way through a root, entry by entry as far as its places tell."""

    def __init__(self, tree: ClaimedTree, layers: Mapping[str, str], apart: frozenset[str], tally: ScanTally) -> None:
        super().__init__(tree.directory, tree.directory.path, UNMARKED, tally)
        self._layers = layers
        self._apart = apart
        self._last: tuple[Claim, ScanSubject] | None = None
        self.found: dict[str, ScanSubject] = {}

    def subject_of(self, claim: Claim) -> ScanSubject:
        if self._last is None or self._last[0] is not claim:
            self._last = claim, ScanSubject(claim.category.value, claim.owner[:MOST_CHARACTERS])
        return self._last[1]

    def choose(self, path: bytes, name: str, stat: os.stat_result, known: Place) -> ScanSubject | None:
        is_folder = modes.S_ISDIR(stat.st_mode)
        place = known
        if not known.whole:
            at = known.at(name)
            place = _NOBODYS if at is None or (at.folder and not is_folder) else at
        subject = self.subject_of(place.claim)
        if is_folder:
            inside = self._shown(_joined(path, name))
            if inside in self._layers:
                self.found[self._layers[inside]] = subject
                return None
            if inside in self._apart:
                return None
        return subject

    def below(self, name: str, known: Place) -> Place:
        return known if known.whole else known.at(name) or _NOBODYS


_NOBODYS = Place(Claim("", Category.UNKNOWN, "", "nobody claims it"), whole=True)


def layer_rows(
    top: LayerDirectory, place: str, dialect: Dialect, subject: ScanSubject, tally: ScanTally, crosses: bool = False
) -> Iterator[ScanRow]:
    """All entries of a layer's own directory, marks included, under the names that they have there.

    Args:
        top: the layer's directory.
        place: where it lies below the root, for what is told.
        dialect: which marks count.
        subject: whose all of it is.
        tally: what is counted and told.
        crosses: subvolumes in it belong to it.

    Raises:
        OSError: ``top`` itself can't be looked at.
    """
    return _LayerWalk(top, place, dialect, tally, subject, crosses).rows(subject, None)


def root_rows(
    tree: ClaimedTree,
    layers: Mapping[str, str],
    apart: frozenset[str],
    tally: ScanTally,
    found: dict[str, ScanSubject],
) -> Iterator[ScanRow]:
    """All entries of a root but the files of layers.

    Args:
        tree: the root, with what is claimed in it.
        layers: where the files of layers lie, and the storage driver's name of each.
        apart: the paths of what else isn't entered.
        tally: what is counted and told.
        found: is filled with whose the layers are, by the driver's names.

    Raises:
        OSError: the root itself can't be looked at.
    """
    walk = _RootWalk(tree, layers, apart, tally)
    walk.found = found
    return walk.rows(walk.subject_of(tree.place.claim), tree.place)
