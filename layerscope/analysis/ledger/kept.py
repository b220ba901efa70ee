"""Committed layers whose sums are kept from one run to the next: when they may be used, and when they may be kept.

A committed layer is never written again, so its sums are those of the last time as long as each of its directories is
the same inode with the same change time. What a run finds is worth keeping if it is the whole truth about the layer:
everything could be read, nothing is mounted in it, all names of its inodes lie inside, and it is not so young that a
change could have the same time.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec import Struct, field

from layerscope.hostfs.measure import Check, Marks, Task, Verdict
from layerscope.hostfs.tally import FOLDER_END, STAMP_BYTES
from layerscope.model.ledger import Inode

_YOUNG_NS = 2_000_000_000
_DEEPEST = 60
_CHECKED = 4000
"""Directories in one check."""
MOST_OUTSIDE = 10_000
Outside = frozenset[tuple[Inode, int, int]]
"""Inodes with names elsewhere: each with the names that were seen and the link count."""


class LayerIdentity(Struct, frozen=True):
    """Which directory it was: its path below the root, and what the file system says of it (change time in ns)."""

    path: str
    device: int
    inode: int
    changed: int


class KeptSums(Struct, frozen=True):
    """The sums of a layer without its own directory, in bytes, as in an account; with the marks of its directories."""

    disk: int
    apparent: int
    count: int
    file_bytes: int
    symlink_bytes: int
    marks: Marks


class KeptLayers(Protocol):
    """Where sums are kept. Nothing here raises: what can't be read isn't there, what can't be written isn't kept."""

    def find(self, layer: LayerIdentity) -> KeptSums | None:
        """The sums of a layer, if it is the same directory as when they were kept."""

    def keep(self, layer: LayerIdentity, sums: KeptSums) -> None:
        """Keep the sums of a layer."""

    def outside(self) -> Outside:
        """The inodes with names elsewhere that a run knew of, in which every layer was measured."""

    def keep_outside(self, inodes: Outside) -> None:
        """Keep what :meth:`outside` gives."""


class Layer(Struct, eq=False):
    """A committed layer in this run: being checked, or being measured.

    ``task`` measures it. ``kept`` is what was known of it, None once that is out of the question.
    """

    identity: LayerIdentity
    task: Task
    kept: KeptSums | None
    unchecked: int = 0
    folders: list[str] = field(default_factory=list)
    stamps: array[int] = field(default_factory=lambda: array("Q"))
    whole: bool = True

    def checks(self) -> Iterator[Check]:
        """What must be true if the kept sums are."""
        assert self.kept is not None
        unit, root, device = self.task[0], self.task[1], self.identity.device
        text, stamps = self.kept.marks
        folders: list[str] = []
        begin = end = 0
        for folder in text.split(FOLDER_END) if text else ():
            folders.append(folder)
            end += folder.count("\0") * STAMP_BYTES
            if end - begin >= _CHECKED * STAMP_BYTES:
                yield unit, root, device, FOLDER_END.join(folders), stamps[begin:end]
                folders, begin = [], end
        if folders:
            yield unit, root, device, FOLDER_END.join(folders), stamps[begin:]

    def mark(self, marks: Marks | None) -> None:
        """Part of the layer was measured."""
        if marks is None:
            self.whole = False
        elif marks[0]:
            self.folders.append(marks[0])
            self.stamps.frombytes(marks[1])

    def measured(self, begun_ns: int) -> Marks | None:
        """The marks of all of it, if its sums may be kept; ``begun_ns``: when the run began."""
        if not self.whole or any(one.count("/") > _DEEPEST for one in self._paths()):
            return None
        if max(self.identity.changed, max(self.stamps[1::2], default=0)) > begun_ns - _YOUNG_NS:
            return None
        return FOLDER_END.join(self.folders), self.stamps.tobytes()

    def _paths(self) -> Iterator[str]:
        for text in self.folders:
            for folder in text.split(FOLDER_END):
                yield folder.partition("\0")[0]


class Layers:
    """All committed layers of a run.

    ``read``: whether kept sums may be used; they are written in any case. ``use`` is given the unit and the sums of
    each layer that is as it was, ``measure`` the task of each that isn't, ``check`` what must be looked at.
    """

    def __init__(
        self,
        kept: KeptLayers,
        read: bool,
        use: Callable[[int, KeptSums], None],
        measure: Callable[[Task], None],
        check: Callable[[Check], None],
    ) -> None:
        self._kept = kept
        self._read = read
        self._use = use
        self._measure = measure
        self._check = check
        self._layers: dict[int, Layer] = {}
        self.used = False

    def add(self, path: str, stat: os.stat_result, task: Task) -> None:
        """One more layer, by the task that would measure it."""
        identity = LayerIdentity(path, stat.st_dev, stat.st_ino, stat.st_ctime_ns)
        known = self._kept.find(identity) if self._read else None
        layer = self._layers[task[0]] = Layer(identity, task, known)
        if known is None:
            self._measure(task)
            return
        for check in layer.checks():
            layer.unchecked += 1
            self._check(check)
        if not layer.unchecked:
            self._as_it_was(layer, known)

    def judge(self, verdict: Verdict) -> None:
        """What a check told."""
        unit, _directories, same = verdict
        layer = self._layers[unit]
        layer.unchecked -= 1
        if not same and layer.kept is not None:
            layer.kept = None
            self._measure(layer.task)
        if not layer.unchecked and layer.kept is not None:
            self._as_it_was(layer, layer.kept)

    def _as_it_was(self, layer: Layer, sums: KeptSums) -> None:
        self.used = True
        self._use(layer.task[0], sums)

    def mark(self, unit: int, marks: Marks | None) -> None:
        """Part of a unit was measured, which may be a layer."""
        layer = self._layers.get(unit)
        if layer is not None:
            layer.mark(marks)

    def measured(self, begun_ns: int) -> Iterator[tuple[int, LayerIdentity, Marks]]:
        """The layers that were measured in this run, and whose sums may be kept."""
        for unit, layer in self._layers.items():
            if layer.kept is None:
                marks = layer.measured(begun_ns)
                if marks is not None:
                    yield unit, layer.identity, marks
