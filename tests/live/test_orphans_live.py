"""Daemons killed in the middle of something: what nobody owns is named, and nothing that docker still lists is."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from http.client import HTTPException

import pytest
from engine import ApiError, Engine, minimal_tar
from ledger_facts import assert_closed, du
from world import context

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger
from layerscope.services.ledger import ledger

KILLS = 6
BASE = "world/base:1"
LOST = {Category.ORPHAN, Category.TEMPORARY, Category.UNUSED_LAYER}


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    try:
        yield made
    finally:
        made.remove()


def counted(engine: Engine) -> Ledger:
    with open_root(engine.root) as session:
        found = ledger(session)
    assert_closed(found, du(engine.root))
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


def big_tar() -> bytes:
    tar = minimal_tar()
    for number in range(400):
        tar.add(f"files/{number}", os.urandom(4096))
    return tar.bytes()


def operations(engine: Engine, turn: int) -> list[Callable[[], object]]:
    steps = "".join(f'RUN ["/bin/busybox", "sh", "-c", "echo {turn} > /s{step}"]\n' for step in range(4))
    return [
        lambda: engine.import_image(big_tar(), f"import/t{turn}:1"),
        lambda: engine.build(context(f"FROM {BASE}\nENV T={turn}\n{steps}"), f"built/t{turn}:1"),
        lambda: engine.commit("source", f"commit/t{turn}:1"),
        lambda: [engine.create(BASE, ["/bin/busybox", "true"]) for _ in range(20)],
    ]


def test_what_kills_leave_is_named(engine: Engine) -> None:
    rng = random.Random(11)
    engine.start()
    engine.import_image(minimal_tar().bytes(), BASE)
    engine.shell(BASE, "dd if=/dev/urandom of=/big bs=1k count=3000 2>/dev/null", "source")
    for turn in range(KILLS):
        threads = [threading.Thread(target=_quietly, args=(one,)) for one in rng.sample(operations(engine, turn), 2)]
        for thread in threads:
            thread.start()
        time.sleep(rng.random() * 0.5)
        engine.kill()
        for thread in threads:
            thread.join(60)
        engine.kill_containers()
        engine.unmount()
        shutil.rmtree(engine.home / "x", ignore_errors=True)  # the state of a boot; this is a new one
        named = lost(counted(engine))
        engine.start()
        assert not named & listed(engine)
    for one in engine.get("/containers/json?all=1"):
        engine.call("DELETE", f"/containers/{one['Id']}?force=1&v=1")
    orphans = lost(counted(engine), (Category.ORPHAN,))
    for _ in range(8):
        for one in engine.get("/images/json?all=1"):
            _quietly(lambda one=one: engine.call("DELETE", f"/images/{one['Id']}?force=1"))
    assert engine.get("/images/json?all=1") == []
    engine.stop()
    left = {name for name in os.listdir(engine.root / "overlay2") if name not in ("l", "backingFsBlockDev")}
    found = counted(engine)
    strange = [one for one in found.entries if one.path.partition("/")[2] in left - lost(found)]
    assert strange == []
    assert lost(found) == left
    assert orphans <= left


def _quietly(operation: Callable[[], object]) -> None:
    """What a killed daemon doesn't answer is no failure here."""
    try:
        operation()
    except (ApiError, OSError, HTTPException, StopIteration, ValueError, KeyError):
        pass
