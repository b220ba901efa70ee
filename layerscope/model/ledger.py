"""Where every byte of a root is: entries, each with one owner, and their sums by class."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from layerscope.model.claim import Category
from layerscope.model.problem import Problem


class LedgerClass(Struct, frozen=True):
    """The sums of one class: bytes on disk, apparent bytes, and the number of names."""

    category: Category
    disk: int
    apparent: int
    count: int


Inode = int
"""Device and inode number in one: ``device << 64 | inode``."""


class Link(Struct, frozen=True):
    """An inode with names in several entries, or outside: ``seen`` of its ``nlink`` names are in this entry."""

    seen: int
    nlink: int
    disk: int
    apparent: int


NO_LINKS: Mapping[Inode, Link] = MappingProxyType({})
"""Those of nearly all entries."""


class LedgerEntry(Struct, frozen=True, gc=False):
    """One owner's part. ``disk`` is what du counts (blocks of 512 bytes), ``apparent`` the sum of all sizes.

    ``disk`` holds each inode once: one that other entries have too is with the first of them, and is told in ``links``
    of all; ``own_disk`` leaves those out. ``stored`` is the size in a record, ``measured`` what the same rule gives
    now, both in bytes, None where nothing is recorded; where they differ ``cause`` says why.
    """

    path: str
    category: Category
    owner: str
    reason: str
    disk: int
    own_disk: int
    apparent: int
    count: int
    stored: int | None
    measured: int | None
    cause: str
    links: Mapping[Inode, Link]


class Ledger(Struct, frozen=True):
    """A whole root. ``entries`` are the largest first, then by path; ``classes`` likewise.

    ``vanished``: names that were listed and gone when looked at. ``shares_extents``: files may share blocks here
    (btrfs, reflinks), so what a removal gives back is at most what is told.
    """

    root: str
    total_disk: int
    accounted_disk: int
    unaccounted_disk: int
    classes: tuple[LedgerClass, ...]
    entries: tuple[LedgerEntry, ...]
    vanished: int
    shares_extents: bool
    problems: tuple[Problem, ...]
