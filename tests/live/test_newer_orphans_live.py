"""A newer docker, killed with its containerd in the middle of something: nothing that it still lists is called lost."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import newer_engine
import operations
import pytest
from killer import LOST, Killer, counted
from newer_engine import SNAPSHOTTER, NewerEngine

from layerscope import open_root

_DIRECTORY = re.compile(r"(io\.containerd\.snapshotter\.v1\.\w+/snapshots/\d+)/fs")
_NO_SNAPSHOT = re.compile(r"has no snapshot ([0-9a-f]{64}) ")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root directory of a system with a newer docker that can run containers."""
    yield from newer_engine.usable_system(tmp_path_factory)


def mounted(engine: NewerEngine) -> set[str]:
    """The directories of all containers, and of one of each image, as containerd would mount them."""
    images = engine.get("/images/json?all=1")
    looks = [engine.create(image["Id"], ["/bin/busybox", "true"]) for image in images]
    found: set[str] = set()
    for one in engine.get("/containers/json?all=1"):
        found.update(_DIRECTORY.findall(engine.ctr("moby", "snapshots", "mounts", "/mnt", one["Id"])))
    for look in looks:
        engine.call("DELETE", f"/containers/{look}")
    return found


@pytest.mark.full
@pytest.mark.parametrize("turn", range(3))
def test_kills(system: Path, turn: int) -> None:
    """After each kill the ledger is du's sum and knows everything; the daemon's next start tells what is alive."""
    rng = random.Random(turn)
    engine = NewerEngine(system, SNAPSHOTTER)
    killer = Killer(engine, rng)
    try:
        engine.start()
        operations.populate(engine)
        chosen = operations.operations()
        rng.shuffle(chosen)
        for operation in chosen:
            killer.hit(operation)
            killer.clear(rng.random() < 0.5)
            found = counted(engine)
            lost = {one.path.removeprefix("containerd/daemon/") for one in found.entries if one.category in LOST}
            with open_root(engine.root) as session:
                told = " ".join(one.what for one in session.doctor())
            engine.start()
            assert mounted(engine) & lost == set(), operation.name
            # A container without its writable layer isn't loaded: that is what was said of it.
            listed = {one["Id"] for one in engine.get("/containers/json?all=1")}
            assert listed & set(_NO_SNAPSHOT.findall(told)) == set(), operation.name
        assert killer.hits
    finally:
        engine.remove()
