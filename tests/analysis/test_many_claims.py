"""What a root with thousands of layers holds in memory while it is walked: counted in objects and bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest

from layerscope.analysis.ledger.book import Book
from layerscope.analysis.ledger.reclaim import Returns, weights
from layerscope.analysis.ledger.walk import walk
from layerscope.analysis.measuring.pool import Pool
from layerscope.analysis.scan.rows import ScanTally, root_rows
from layerscope.hostfs import Directory
from layerscope.hostfs.measure import Task
from layerscope.model.claim import Category, Claim, Place
from layerscope.model.ledger import NO_LINKS, Ledger, LedgerEntry
from layerscope.model.reclaim import Removable, Thing, ThingKind
from layerscope.stores.claims import ClaimedTree
from layerscope.stores.overlay_places import overlay_layer

LAYERS = 600
MOST_ALIVE = 8
"""Of places with names: those of one path from the top to a file, and what is just being made."""


class Names(dict[str, Place]):
    """The names of a place; counts how many of its kind there are."""

    alive = most = 0

    def __init__(self, names: Mapping[str, Place]) -> None:
        super().__init__(names)
        Names.alive += 1
        Names.most = max(Names.most, Names.alive)

    def __del__(self) -> None:
        Names.alive -= 1


@pytest.fixture
def tree(tmp_path: Path):
    """``layers/<number>/{link,diff/file}``: each layer's place is made when it is asked for."""
    for number in range(LAYERS):
        files = tmp_path / "layers" / str(number) / "diff"
        files.mkdir(parents=True)
        (files / "file").write_bytes(b"x" * number)
        (files.parent / "link").write_text("a")
    own = Claim("layers", Category.RECORD, "", "holds layers")

    def layer(name: str) -> Place:
        claim = Claim(f"layers/{name}", Category.IMAGE_LAYER, name, "a layer")
        return Place(claim, names=Names({"diff": Place(claim, whole=True), "link": Place(claim)}))

    Names.alive = Names.most = 0
    top = Place(Claim(".", Category.RECORD, "", "the root"), names={"layers": Place(own, rule=layer)})
    root = Directory.open_root(tmp_path)
    yield ClaimedTree(root, tmp_path, top)
    root.close()


def test_a_ledger_knows_one_layer_at_a_time(tree: ClaimedTree):
    book = walk([tree], lambda tree: [], workers=1)
    assert 0 < Names.most <= MOST_ALIVE
    ledger = book.ledger("", False)
    assert {one.owner for one in ledger.entries} >= {str(number) for number in range(LAYERS)}
    assert ledger.unaccounted_disk == 0


def test_a_ledger_looks_at_some_entries_at_a_time(tree: ClaimedTree, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    stats = Directory.stats

    def counted(directory: Directory, names):
        listed = list(names)
        asked.append(len(listed))
        return stats(directory, listed)

    monkeypatch.setattr(Directory, "stats", counted)
    walk([tree], lambda tree: [], workers=1)
    assert max(asked) <= LAYERS // 2
    assert sum(asked) >= 3 * LAYERS


def test_a_scan_knows_one_layer_at_a_time(tree: ClaimedTree):
    tally = ScanTally()
    found = {row.path: row.subject for row in root_rows(tree, {}, frozenset(), tally, {})}
    assert 0 < Names.most <= MOST_ALIVE
    assert len(found) == 2 + 4 * LAYERS
    assert found[b"layers/17/diff/file"] == ("image-layer", "17")
    assert found[b"layers/17"] == ("image-layer", "17")
    assert found[b"layers"] == ("record", "")


def test_the_place_of_a_layer_is_small():
    claim = Claim("overlay2/x", Category.IMAGE_LAYER, "", "why")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [overlay_layer(claim, "diff") for _ in range(1000)]
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(kept) == 1000
    assert grown < 500 * 1000


def test_what_lies_beside_the_files_of_a_layer():
    claim = Claim("overlay2/x", Category.IMAGE_LAYER, "", "why")
    place = overlay_layer(claim, "diff")
    files = place.at("diff")
    assert files is not None
    assert files.whole
    for name in ("link", "lower", "committed", "lower-id", "merged"):
        beside = place.at(name)
        assert beside is not None
        assert not beside.whole
    work = place.at("work")
    assert work is not None
    assert work.at("planted") is None
    assert place.at("planted") is None


def test_a_ledger_of_many_entries_takes_few_bytes_of_each():
    book = Book()
    claims = [Claim(f"layers/{number}", Category.IMAGE_LAYER, "", "why") for number in range(5000)]
    for claim in claims:
        account = book.accounts[book.unit(claim)]
        account.count, account.disk, account.apparent = 1, 4096, 4096
    tracemalloc.start()
    try:
        ledger = book.ledger("", False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(ledger.entries) == len(claims)
    assert all(entry.links is NO_LINKS for entry in ledger.entries)
    assert peak < 400 * len(claims)
    assert not book.accounts


def test_trees_that_wait_to_be_measured_are_some_at_a_time(tree: ClaimedTree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("layerscope.analysis.ledger.walk._MOST_WAITING", 50, raising=False)
    waiting = most = 0
    add, finish = Pool.add, Pool.finish

    def added(pool: Pool, task: Task) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        add(pool, task)

    def finished(pool: Pool) -> None:
        nonlocal waiting
        finish(pool)
        waiting = 0

    monkeypatch.setattr(Pool, "add", added)
    monkeypatch.setattr(Pool, "finish", finished)
    ledger = walk([tree], lambda tree: [], workers=2).ledger("", False)
    assert most <= 50
    assert {one.owner for one in ledger.entries} >= {str(number) for number in range(LAYERS)}


def test_what_comes_back_of_many_orphans_takes_few_bytes_of_each():
    """By the things and their needs, which are there anyway, less than one more set of each would take."""
    things = [Thing(ThingKind.ORPHAN, f"layers/{number}") for number in range(5000)]
    needs = {thing.id: (frozenset((thing,)),) for thing in things}
    entries = tuple(
        LedgerEntry(thing.id, Category.ORPHAN, "", "why", size, size, size, 1, None, None, "", NO_LINKS)
        for size, thing in enumerate(things, 1)
    )
    total = sum(range(1, len(things) + 1))
    ledger = Ledger("", total, total, 0, (), entries, 0, False, ())
    tracemalloc.start()
    try:
        returns = Returns(weights(ledger, Removable({}, {}, frozenset(), {}, needs, {})))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert returns.freed(things) == total
    assert returns.freed(things[:3]) == 1 + 2 + 3
    assert peak < 216 * len(things)
