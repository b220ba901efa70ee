"""The ledger as the rows of a tree: its classes, and below each its entries, as sorted and filtered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger, LedgerEntry
from layerscope.tui.background import sort_gently
from layerscope.tui.sources.facts import Fact
from layerscope.tui.sources.search import Matcher
from layerscope.tui.units import size_text
from layerscope.tui.widgets.rows.tree_rows import Item


class Standing(StrEnum):
    """What can be said of all that is in a class."""

    USED = "in use"
    OWN = "the engine's own"
    SPARE = "left over"
    NOBODYS = "nobody's"
    UNCLEAR = "not clear"


class ClassLook(NamedTuple):
    """A class in words: its name in a list, a few words beside it, what is in it in full, its standing."""

    name: str
    note: str
    what: str
    standing: Standing


_USED, _OWN, _SPARE = Standing.USED, Standing.OWN, Standing.SPARE
CLASS_LOOKS: Mapping[Category, ClassLook] = MappingProxyType(
    {
        Category.IMAGE_LAYER: ClassLook("image layers", "what images hold", "the layers of images", _USED),
        Category.UNUSED_LAYER: ClassLook(
            "unused layers", "nobody uses them", "whole layers, none leads to them", _SPARE
        ),
        Category.BUILD_CACHE: ClassLook("build cache", "for later builds", "kept by builders for later", _SPARE),
        Category.CONTAINER_RW: ClassLook("writable layers", "by containers", "what containers have written", _USED),
        Category.CONTAINER_INIT: ClassLook("init layers", "mount points", "mount points made for containers", _USED),
        Category.CONTAINER_RECORD: ClassLook("container records", "their state", "their settings and state", _USED),
        Category.LOG: ClassLook("logs", "printed by containers", "what containers have printed", _USED),
        Category.VOLUME: ClassLook("volumes", "outlive containers", "data that stays when containers go", _USED),
        Category.CONTENT_BLOB: ClassLook("content blobs", "packed layers", "layers and manifests as pulled", _USED),
        Category.LAYER_POOL: ClassLook("layer pool", "devices of layers", "devices that hold all layers", _USED),
        Category.ENGINE: ClassLook("engine", "its own files", "what the engine keeps for itself", _OWN),
        Category.PLUGIN: ClassLook("plugins", "and their files", "plugins of the engine", _OWN),
        Category.SWARM: ClassLook("swarm", "state of the cluster", "state of the cluster", _OWN),
        Category.NETWORK: ClassLook("networks", "their settings", "settings of networks", _OWN),
        Category.RECORD: ClassLook("records", "what the engine knows", "what the engine knows of all this", _OWN),
        Category.TEMPORARY: ClassLook(
            "temporary", "cut off, or going on", "of work that goes on or was cut off", _SPARE
        ),
        Category.FOREIGN_MOUNT: ClassLook("foreign mounts", "lie elsewhere", "mounted here, stored elsewhere", _OWN),
        Category.ORPHAN: ClassLook("orphans", "no record leads there", "no record leads to them", Standing.NOBODYS),
        Category.UNREADABLE: ClassLook("unreadable", "could not be read", "could not be read", Standing.UNCLEAR),
        Category.UNKNOWN: ClassLook("unknown", "claimed by nobody", "claimed by nobody", Standing.UNCLEAR),
    }
)


class LedgerOrder(StrEnum):
    """What classes and entries are sorted by."""

    SIZE = "size"
    NAME = "name"
    FILES = "files"


class DiskRow(Struct, frozen=True):
    """One row: a class (``entry`` None) or an entry. ``disk`` and ``apparent`` in bytes, ``count`` in names."""

    category: Category
    disk: int
    apparent: int
    count: int
    entries: int
    entry: LedgerEntry | None = None

    @property
    def label(self) -> str:
        """What the row is called: a class by its name, an entry by its owner, or where it lies if nobody owns it."""
        if self.entry is None:
            return CLASS_LOOKS[self.category].name
        return self.entry.owner or self.entry.path

    @property
    def note(self) -> str:
        """What is said beside it: what a class holds, where an entry lies."""
        if self.entry is None:
            return CLASS_LOOKS[self.category].note
        return self.entry.path if self.entry.owner else ""


class LedgerArrangement(Struct, frozen=True):
    """Which entries are shown, in which order."""

    order: LedgerOrder = LedgerOrder.SIZE
    reverse: bool = False
    text: str = ""

    def next_order(self) -> LedgerArrangement:
        """The next sort order, in its natural direction: names ascending, else the largest first."""
        orders = list(LedgerOrder)
        return replace(self, order=orders[(orders.index(self.order) + 1) % len(orders)], reverse=False)

    def sorted(self, rows: Sequence[DiskRow]) -> list[DiskRow]:
        """The rows in order; equal ones by name."""
        named = sort_gently(rows, lambda row: (os.fsencode(row.label), os.fsencode(row.note)))
        key = _KEYS.get(self.order)
        found = named if key is None else sort_gently(named, key)
        return found[::-1] if self.reverse else found


_KEYS: Mapping[LedgerOrder, Callable[[DiskRow], int]] = MappingProxyType(
    {LedgerOrder.SIZE: lambda row: -row.disk, LedgerOrder.FILES: lambda row: -row.count}
)


class LedgerRows:
    """A ledger, arranged: the rows of its tree, and sums of what is shown. Rows are at ``class`` and ``class/number``
    (the entry's number in the ledger)."""

    def __init__(self, ledger: Ledger, arrangement: LedgerArrangement) -> None:
        self.ledger = ledger
        self.arrangement = arrangement
        fits = _filter(arrangement.text)
        groups: dict[Category, list[int]] = {}
        for number, entry in enumerate(ledger.entries):
            if fits(entry):
                groups.setdefault(entry.category, []).append(number)
        self._groups = groups
        self.classes = arrangement.sorted([self._sum(category, numbers) for category, numbers in groups.items()])
        self.largest = max((row.disk for row in self.classes), default=0)
        self.disk = sum(row.disk for row in self.classes)
        self.entries = sum(row.entries for row in self.classes)

    def children(self, path: str) -> list[Item[DiskRow]]:
        """The items below a row, "" is the top."""
        if not path:
            return [Item(row.category.value, True, row) for row in self.classes]
        numbers = {id(self.ledger.entries[number]): number for number in self._groups.get(Category(path), ())}
        rows = [_row_of(self.ledger.entries[number]) for number in numbers.values()]
        return [Item(str(numbers[id(row.entry)]), False, row) for row in self.arrangement.sorted(rows)]

    def _sum(self, category: Category, numbers: Iterable[int]) -> DiskRow:
        found = [self.ledger.entries[number] for number in numbers]
        disk, apparent = sum(one.disk for one in found), sum(one.apparent for one in found)
        return DiskRow(category, disk, apparent, sum(one.count for one in found), len(found))


def _row_of(entry: LedgerEntry) -> DiskRow:
    return DiskRow(entry.category, entry.disk, entry.apparent, entry.count, 1, entry)


def _filter(text: str) -> Callable[[LedgerEntry], bool]:
    if not text:
        return lambda entry: True
    matcher = Matcher(text)

    def fits(entry: LedgerEntry) -> bool:
        folder, _, name = entry.path.rpartition("/")
        names = (entry.owner, CLASS_LOOKS[entry.category].name, entry.reason)
        return matcher.matches(folder, name) or any(matcher.matches("", one) for one in names)

    return fits


def facts_of_row(row: DiskRow, ledger: Ledger) -> list[Fact]:
    """All that the ledger tells of a row."""
    facts = [Fact("on disk", f"{_exact(row.disk)}, {share_text(row.disk, ledger.total_disk)} of the root")]
    facts.append(Fact("apparent", f"{_exact(row.apparent)} in {_files(row.count)}"))
    look, entry = CLASS_LOOKS[row.category], row.entry
    if entry is None:
        entries = f"{row.entries:,} {'entry' if row.entries == 1 else 'entries'}"
        return [Fact("class", f"{look.name}: {look.what}"), *facts, Fact("holds", f"{entries}, {look.standing}")]
    found = [facts[0], Fact("owner", entry.owner), Fact("because", entry.reason), Fact("path", entry.path)]
    found += [Fact("class", f"{look.name}, {look.standing}"), facts[1]]
    if entry.own_disk != entry.disk or entry.links:
        linked = sum(link.disk for link in entry.links.values())
        found.append(Fact("shared", f"{_exact(linked)} by hard links with other entries, or outside of the root"))
    if entry.stored is not None:
        told = f"{_exact(entry.stored)} recorded"
        told += "" if entry.measured in (None, entry.stored) else f", {_exact(entry.measured or 0)} measured"
        found.append(Fact("size", told))
    found.append(Fact("differs", entry.cause))
    return [fact for fact in found if fact.value]


def share_text(part: int, whole: int) -> str:
    """A share in at most 4 cells, such as ``75%``; what is there and below one percent is ``<1%``."""
    if not whole or not part:
        return "0%"
    percent = round(part * 100 / whole)
    return f"{percent}%" if percent else "<1%"


def _files(count: int) -> str:
    return "1 file or directory" if count == 1 else f"{count:,} files and directories"


def _exact(size_bytes: int) -> str:
    return f"{size_text(size_bytes)} ({size_bytes:,} bytes)" if size_bytes >= 1000 else f"{size_bytes} bytes"
