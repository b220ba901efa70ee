"""The walk through a root: places that are claimed one by one here, whole trees by the pool.

What an entry belongs to is what its place says; one that no place names belongs to nobody, with everything below it. A
mount of another device isn't entered; one that shows a directory of the same file system is, for the mount's own sake.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial

from layerscope.analysis.ledger.book import Book
from layerscope.analysis.ledger.kept import KeptLayers, Layers
from layerscope.analysis.measuring.pool import Pool
from layerscope.hostfs import Directory
from layerscope.hostfs.measure import Sums, Verdict
from layerscope.hostfs.mounts import Mount
from layerscope.model.claim import Category, Claim, Place
from layerscope.stores.claims import ClaimedTree

_BLOCK = 512
_FOREIGN_RANK = 1 << 30
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_SUBVOLUME_INODE = 256
_LOOKED_AT = 256
"""Entries of a directory at a time: what stat says of one takes a kilobyte."""
_MOST_WAITING = 4096
"""Trees that wait to be measured: what is known of one takes a quarter of a kilobyte."""


def walk(
    trees: Iterable[ClaimedTree],
    mounts: Callable[[ClaimedTree], list[Mount]],
    workers: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    counted: Callable[[int], None] = lambda entries: None,
    kept: KeptLayers | None = None,
) -> Book:
    """Count every entry of ``trees``.

    Args:
        trees: the trees, none inside of another.
        mounts: what is mounted below a tree.
        workers: how many processes measure; None: one for each processor.
        cancelled: asked now and then; once it says so, ``pool.Cancelled`` is raised.
        counted: told now and then how many entries of whole trees were counted.
        kept: where the sums of committed layers are kept.
    """
    listed = list(trees)
    with ExitStack() as stack:
        fds = [stack.enter_context(tree.directory.held()) for tree in listed]
        walks = _Walks(listed, fds, mounts, workers, cancelled, counted)
        book, layers = walks.run(kept, read=True)
        if kept is None or layers is None:
            return book
        outside, known = book.outside(), kept.outside()
        if layers.used and not outside <= known:
            # One of these inodes may have got its other name from a layer that was not looked at.
            book, layers = walks.run(kept, read=False)
            outside = book.outside()
        if outside != known:
            kept.keep_outside(outside)
    return book


class _Walks:
    """The walk through all trees, as often as it must be made."""

    def __init__(
        self,
        trees: list[ClaimedTree],
        fds: list[int],
        mounts: Callable[[ClaimedTree], list[Mount]],
        workers: int | None,
        cancelled: Callable[[], bool],
        counted: Callable[[int], None],
    ) -> None:
        self._trees = trees
        self._fds = fds
        self._mounts = mounts
        self._pool = partial(Pool, fds, workers=workers, cancelled=cancelled, counted=counted)

    def run(self, kept: KeptLayers | None, read: bool) -> tuple[Book, Layers | None]:
        """Walk; ``read``: sums that are kept may be used."""
        book, begun = Book(), time.time_ns()
        layers: Layers | None = None

        def take(sums: Sums) -> None:
            book.take(sums)
            if layers is not None:
                layers.mark(sums[0], sums[-1])

        def judge(verdict: Verdict) -> None:
            if layers is not None:
                layers.judge(verdict)

        with self._pool(take, judge) as pool:
            if kept is not None:
                layers = Layers(kept, read, book.use, pool.add, pool.check)
            for tree, fd in zip(self._trees, self._fds, strict=True):
                _Walk(tree, fd, book, pool, self._mounts(tree), layers).run()
            pool.finish()
        if kept is not None and layers is not None:
            for unit, identity, marks in layers.measured(begun):
                sums = book.whole_sums(unit, marks)
                if sums is not None:
                    kept.keep(identity, sums)
        return book, layers


class _Walk:
    """The walk through one tree."""

    def __init__(
        self, tree: ClaimedTree, fd: int, book: Book, pool: Pool, mounts: list[Mount], layers: Layers | None
    ) -> None:
        self._tree = tree
        self._layers = layers
        self._fd = fd
        self._book = book
        self._pool = pool
        self._added = 0
        self._place = os.path.realpath(tree.path)
        self._prefix = f"{tree.directory.path}/" if tree.directory.path else ""
        top = os.fstat(fd)
        self._device = top.st_dev
        self._mounted, self._foreign = _mount_points(tree, mounts)
        self._top = top

    def run(self) -> None:
        self._count(self._tree.place.claim, self._top)
        if self._tree.place.whole:
            self._listed_whole(self._tree.directory, "", self._tree.place)
            return
        # A directory is walked as soon as it is met: one place at each depth is known at a time, not one of each layer.
        frames = [self._entered(self._tree.directory, "", self._tree.place)]
        while frames:
            below = next(frames[-1], None)
            if below is None:
                frames.pop()
            else:
                frames.append(self._entered(*below))

    def _entered(self, directory: Directory, path: str, place: Place) -> Iterator[tuple[Directory, str, Place]]:
        """Count what is in a directory; gives the directories in it that are to be walked, too."""
        for name, stat, below, inside in self._entries(directory, path, place):
            if stat.st_dev != self._device and not self._crosses(below, stat, inside):
                continue
            mount = self._foreign.get(inside)
            if mount is not None:
                below = Place(_foreign_claim(f"{self._prefix}{inside}", mount), whole=True)
            self._count(below.claim, stat)
            if not modes.S_ISDIR(stat.st_mode):
                continue
            if below.whole:
                self._measure(path, name, inside, below, stat)
            else:
                yield directory.enter(name), inside, below

    def _entries(
        self, directory: Directory, path: str, place: Place
    ) -> Iterator[tuple[str, os.stat_result, Place, str]]:
        for name, stat in self._looked_at(directory, path, place):
            if stat is None:
                self._book.vanished += 1
                continue
            inside = f"{path}/{name}" if path else name
            found = place.at(name)
            if found is None or (found.folder and not modes.S_ISDIR(stat.st_mode)):
                found = self._nobodys(inside)
            yield name, stat, found, inside

    def _looked_at(self, directory: Directory, path: str, place: Place) -> Iterator[tuple[str, os.stat_result | None]]:
        """The entries of a directory, in portions."""
        try:
            names = [name for name, _kind in directory.scan()]
        except OSError as error:
            self._closed(path, place.claim, error)
            return
        for first in range(0, len(names), _LOOKED_AT):
            some = names[first : first + _LOOKED_AT]
            try:
                stats = directory.stats(some)
            except OSError as error:
                self._closed(path, place.claim, error)
                return
            yield from zip(some, stats, strict=True)

    def _nobodys(self, path: str) -> Place:
        claim = Claim(f"{self._prefix}{path}", Category.UNKNOWN, "", "no record, database key or mount claims it")
        return Place(claim, whole=True)

    def _listed_whole(self, directory: Directory, path: str, place: Place) -> None:
        """A whole tree's top that is no entry of anything: what it holds is measured entry by entry."""
        for name, stat, _below, inside in self._entries(directory, path, place):
            if stat.st_dev == self._device:
                self._count(place.claim, stat)
                if modes.S_ISDIR(stat.st_mode):
                    self._measure(path, name, inside, place, stat)

    def _measure(self, path: str, name: str, inside: str, place: Place, stat: os.stat_result) -> None:
        borders = [point for point in self._mounted if point.startswith(f"{inside}/")]
        known = self._layers is not None and place.claim.committed and not borders
        unit = (self._book.part if known else self._book.unit)(place.claim, self._prefix)
        task = (unit, self._fd, path, [name], stat.st_dev, place.crosses, borders, known)
        self._added += 1
        if self._added % _MOST_WAITING == 0:
            self._pool.finish()
        if known and self._layers is not None:
            self._layers.add(os.path.join(self._place, inside), stat, task)
            return
        self._pool.add(task)
        for point in borders:
            if point in self._foreign:
                self._foreign_tree(point)

    def _foreign_tree(self, point: str) -> None:
        """A mount of the same file system inside of a whole tree."""
        folder, _, name = point.rpartition("/")
        try:
            stat = self._tree.directory.descend(folder).stat(name)
        except OSError:
            self._book.vanished += 1
            return
        if stat.st_dev != self._device:
            return
        claim = _foreign_claim(f"{self._prefix}{point}", self._foreign[point])
        self._count(claim, stat)
        if modes.S_ISDIR(stat.st_mode):
            self._measure(folder, name, point, Place(claim, whole=True), stat)

    def _crosses(self, place: Place, stat: os.stat_result, path: str) -> bool:
        """Whether another file system that begins here belongs to the place: a subvolume, a dataset."""
        if not place.crosses or not modes.S_ISDIR(stat.st_mode):
            return False
        mount = self._mounted.get(path)
        return stat.st_ino == _SUBVOLUME_INODE if mount is None else mount.type == "zfs"

    def _count(self, claim: Claim, stat: os.stat_result) -> None:
        account = self._book.accounts[self._book.unit(claim, self._prefix)]
        account.count += 1
        disk = stat.st_blocks * _BLOCK
        if stat.st_nlink > 1 and not modes.S_ISDIR(stat.st_mode):
            account.link(stat.st_dev << 64 | stat.st_ino, 1, stat.st_nlink, disk, stat.st_size)
        else:
            account.disk += disk
            account.apparent += stat.st_size

    def _closed(self, path: str, claim: Claim, error: OSError) -> None:
        if error.errno in _GONE:
            self._book.vanished += 1
            return
        try:
            folder, _, name = path.rpartition("/")
            stat = self._tree.directory.descend(folder).stat(name) if path else self._top
        except OSError:
            self._book.vanished += 1
            return
        account = self._book.accounts[self._book.unit(claim, self._prefix)]
        disk = stat.st_blocks * _BLOCK
        account.disk -= disk
        account.apparent -= stat.st_size
        account.count -= 1
        self._book.unreadable(claim, f"{self._prefix}{path}" or ".", disk, stat.st_size)


def _mount_points(tree: ClaimedTree, mounts: list[Mount]) -> tuple[dict[str, Mount], dict[str, Mount]]:
    """Every mount point below a tree, relative to it, and those that show another directory of the same file system.

    A directory that is mounted on itself, as the daemon does with its own, is no border.
    """
    top = os.path.realpath(tree.path)
    above: Mount | None = None
    mounted: dict[str, Mount] = {}
    for mount in mounts:
        if mount.point == top or top.startswith(mount.point.rstrip("/") + "/"):
            if above is None or len(mount.point) >= len(above.point):
                above = mount
        elif mount.point.startswith(f"{top}/"):
            mounted[mount.point.removeprefix(f"{top}/")] = mount
    if above is None:
        return mounted, {}
    foreign = {}
    for path, mount in list(mounted.items()):
        if mount.device != above.device:
            continue
        holder = above
        own = os.path.relpath(f"{top}/{path}", holder.point)
        if os.path.normpath(f"{holder.root.rstrip('/')}/{own}") == os.path.normpath(mount.root):
            del mounted[path]
        else:
            foreign[path] = mount
    return mounted, foreign


def _foreign_claim(path: str, mount: Mount) -> Claim:
    reason = f"a mount shows {mount.root} of the same file system ({mount.source}) here"
    return Claim(path, Category.FOREIGN_MOUNT, mount.root, reason, _FOREIGN_RANK)
