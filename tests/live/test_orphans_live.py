"""Daemons killed in the middle of something: what nobody owns is named, and nothing that docker still lists is."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import operations
import pytest
from engine import ApiError, Engine
from ledger_facts import assert_closed, du
from operations import BASE, Operation

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger
from layerscope.services.ledger import ledger

LOST = {Category.ORPHAN, Category.TEMPORARY, Category.UNUSED_LAYER}
RECORDS = "image/overlay2/layerdb"
FIRST_GUESS = 0.5
"""Seconds that an operation is taken to last before it was seen to the end."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    try:
        yield made
    finally:
        made.remove()


def counted(engine: Engine) -> Ledger:
    """The ledger, taken while two du agree."""
    for _ in range(50):
        before = du(engine.root)
        with open_root(engine.root) as session:
            found = ledger(session)
        if before == du(engine.root):
            break
        time.sleep(0.1)
    assert_closed(found, before)
    assert found.unaccounted_disk == 0, [one for one in found.entries if one.category is Category.UNKNOWN]
    return found


def lost(found: Ledger, categories: Collection[Category] = LOST) -> set[str]:
    """The layers' directories that nothing owns."""
    layers = (
        one for one in found.entries if one.path.startswith("overlay2/") and not one.path.startswith("overlay2/l/")
    )
    return {one.path.partition("/")[2] for one in layers if one.category in categories}


def listed(engine: Engine) -> set[str]:
    """The directories of everything that docker lists."""
    found: set[str] = set()
    things = [f"/containers/{one['Id']}/json" for one in engine.get("/containers/json?all=1")]
    things += [f"/images/{one['Id']}/json" for one in engine.get("/images/json?all=1")]
    for path in things:
        for value in (engine.get(path)["GraphDriver"]["Data"] or {}).values():
            found.update(part.rpartition("/overlay2/")[2].partition("/")[0] for part in value.split(":"))
    return found


@dataclass
class Killer:
    """Kills a daemon in the middle of operations. ``hits`` are those that had begun and never ended."""

    engine: Engine
    rng: random.Random
    hits: Counter[str] = field(default_factory=Counter)
    lasted: dict[str, float] = field(default_factory=dict)
    turn: int = 0

    def hit(self, operation: Operation) -> None:
        """One kill at a random moment of the operation; the daemon stays dead."""
        self.turn += 1
        operation.prepare(self.engine, self.turn)
        outcome: list[BaseException | float] = []
        thread = threading.Thread(target=self._work, args=(operation, outcome))
        thread.start()
        time.sleep(self.rng.uniform(0.05, 0.95) * self.lasted.get(operation.name, FIRST_GUESS))
        before = list(outcome)
        self.engine.kill()
        thread.join(60)
        assert not thread.is_alive(), operation.name
        if before and isinstance(before[0], BaseException):
            raise before[0]  # it failed by itself
        if isinstance(outcome[0], BaseException):
            self.hits[operation.name] += 1
        else:
            self.lasted[operation.name] = outcome[0]

    def _work(self, operation: Operation, outcome: list[BaseException | float]) -> None:
        start = time.monotonic()
        try:
            operation.work(self.engine, self.turn)
            outcome.append(time.monotonic() - start)
        except (ApiError, OSError, HTTPException, StopIteration, ValueError, KeyError) as error:
            outcome.append(error)

    def clear(self, boot: bool) -> None:
        """End what the daemon left running; with ``boot``, as a restart of the machine does, its mounts, too."""
        self.engine.kill_containers()
        if boot:
            self.engine.unmount()
        shutil.rmtree(self.engine.home / "x" / ("" if boot else "containerd"), ignore_errors=True)


def prune_cache(engine: Engine) -> None:
    """``docker builder prune -a``, which a kill can leave with records whose lease is gone: docker fails at each."""
    for _ in range(10):
        try:
            operations.prune(engine, "build")
        except ApiError as error:
            assert "lease" in str(error) and "not found" in str(error), error
        else:
            return


def remove_everything(engine: Engine) -> bool:
    """By docker's own means. Gives whether docker still lists a build cache, which it then can't remove."""
    for one in engine.get("/containers/json?all=1"):
        engine.call("DELETE", f"/containers/{one['Id']}?force=1&v=1")
    prune_cache(engine)
    for _ in range(8):
        for one in engine.get("/images/json?all=1"):
            try:
                engine.call("DELETE", f"/images/{one['Id']}?force=1")
            except ApiError as error:  # has children: another round
                assert "409" in str(error) or "404" in str(error), error
    prune_cache(engine)
    assert engine.get("/images/json?all=1") == []
    told = engine.get("/system/df")
    assert not told["Containers"]
    assert not told["LayersSize"] or told["BuildCache"]
    return bool(told["BuildCache"])


def assert_records_are_named(root: Path, found: Ledger, left: set[str]) -> None:
    """Everything that remains in layerdb belongs to a layer's directory that was named, or is named itself."""
    temporary = {one.path for one in found.entries if one.category is Category.TEMPORARY}
    for chain in sorted((root / RECORDS / "sha256").iterdir()):
        if chain.name.endswith("-removing"):
            assert f"{RECORDS}/sha256/{chain.name}" in temporary, chain
        else:
            assert (chain / "cache-id").read_text() in left, chain
    for mount in sorted((root / RECORDS / "mounts").iterdir()):
        assert (mount / "mount-id").read_text() in left, mount
    for write in sorted((root / RECORDS / "tmp").iterdir()):
        assert f"{RECORDS}/tmp/{write.name}" in temporary, write


def rounds(hits: int, seed: int) -> list[object]:
    full = [pytest.mark.full] if hits > 6 else []
    return [pytest.param(hits, seed, marks=full, id=f"{hits} hits")]


@pytest.mark.parametrize(("hits", "seed"), [*rounds(6, 11), *rounds(33, 12)])
def test_what_kills_leave_is_named(engine: Engine, hits: int, seed: int) -> None:
    killer = Killer(engine, random.Random(seed))
    engine.start()
    operations.populate(engine)
    known = operations.operations()
    order = list(known)
    while killer.hits.total() < hits or (hits > len(known) and len(killer.hits) < len(known)):
        assert killer.turn < 4 * hits, f"too few kills hit: {killer.hits}"
        if not order:  # those that were missed, or hit least, come first
            killer.rng.shuffle(known)
            order = sorted(known, key=lambda one: -killer.hits[one.name])
        elif killer.turn == 0:
            killer.rng.shuffle(order)
        killer.hit(order.pop())
        killer.clear(boot=killer.rng.random() < 0.5)
        named = lost(counted(engine))
        engine.start()
        assert not named & listed(engine)
    told = ", ".join(f"{name} {count}" for name, count in sorted(killer.hits.items()))
    print(f"\n{killer.turn} kills, {killer.hits.total()} in the middle: {told}")

    engine.stop()  # ends removals that were begun, and empties no more than docker empties by itself
    before = counted(engine)
    engine.start()
    engine.shell(BASE, "true")  # it still works
    cached = remove_everything(engine)
    engine.stop()
    left = {name for name in os.listdir(engine.root / "overlay2") if name not in ("l", "backingFsBlockDev")}
    after = counted(engine)
    print(
        f"{len(left)} directories of nobody remain, {len(lost(before, (Category.ORPHAN,)))} orphans were named before"
    )
    stuck = lost(after, (Category.BUILD_CACHE,)) if cached else set()
    assert lost(after) | stuck == left
    wrong = lost(before, (Category.ORPHAN,)) - left
    assert [one for one in before.entries if one.path.rpartition("/")[2] in wrong] == []
    assert left <= lost(before) | stuck
    assert_records_are_named(engine.root, after, left)
    with open_root(engine.root) as session:
        kinds = {owner.kind for name in left for owner in session.owners(f"overlay2/{name}")}
    assert kinds <= {"orphan", "record", "temporary", *(["build-cache"] if stuck else ())}
