"""What differs between two scans: sums by class and owner, layers that came and went, paths that grew."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from layerscope.model.scan import ScanHeader, ScanSubject, ScanTree


class Growth(StrEnum):
    """What became of something. CHANGED: other content, mode, owner or time, on as many bytes of disk."""

    ADDED = "added"
    REMOVED = "removed"
    GROWN = "grown"
    SHRUNK = "shrunk"
    CHANGED = "changed"


class SumGrowth(Struct, frozen=True):
    """Bytes on disk of a class, or of an owner, in both ledgers. ``kind`` and ``owner`` are "" for a class."""

    kind: str
    owner: str
    category: str
    old_disk: int
    new_disk: int

    @property
    def grown_disk(self) -> int:
        """How much more it is, negative if it is less."""
        return self.new_disk - self.old_disk


class LayerGrowth(Struct, frozen=True):
    """A layer that only one scan has, with its number of entries and their bytes on disk."""

    growth: Growth
    tree: ScanTree
    subject: ScanSubject
    entries: int
    disk: int


class PathGrowth(Struct, frozen=True):
    """A path that differs. What a scan doesn't have is None there.

    ``path`` is below the root, or below the store's other half; ``inside`` that in the layer, with a leading slash,
    None for what is no layer's. ``old_disk`` and ``new_disk`` are bytes on disk, or where those aren't known, lengths.
    """

    growth: Growth
    path: str
    inside: str | None
    layer: str | None
    subject: ScanSubject
    mode: int
    old_disk: int | None
    new_disk: int | None
    old_size: int | None
    new_size: int | None

    @property
    def grown_disk(self) -> int:
        """How many bytes more it takes, negative if fewer."""
        return (self.new_disk or 0) - (self.old_disk or 0)


class GrowthCount(Struct, frozen=True):
    """How many paths have become so, and the bytes by which they grew in all."""

    growth: Growth
    paths: int
    grown_disk: int


class ScanDifference(Struct, frozen=True):
    """What differs between two scans.

    ``classes`` and ``owners`` are those whose bytes differ, and layers that came or went, by how much it is, the
    largest first, whether more or less; ``paths`` likewise, to be read once. Lists may end before the last.
    ``counts`` are of all paths, those that aren't listed included. ``notes`` say what to keep in mind.
    """

    old: ScanHeader
    new: ScanHeader
    notes: tuple[str, ...]
    classes: tuple[SumGrowth, ...]
    owners: tuple[SumGrowth, ...]
    layers: tuple[LayerGrowth, ...]
    counts: tuple[GrowthCount, ...]
    paths: Iterable[PathGrowth]
