"""Spoiled records of containers/storage: only our own errors, a bounded time, and the same answer twice."""

from __future__ import annotations

import gzip
import random
import time
from pathlib import Path

import podman_roots
import pytest
from spoiled_records import everything, spoil

from layerscope import open_root
from layerscope.errors import LayerscopeError

ROUNDS = 300
LONG_ROUNDS = 10_000
SECONDS = 20.0
"""Far more than any round takes, on any machine."""
FILES = {
    "overlay": (
        *("overlay-layers/layers.json", "overlay-images/images.json", "overlay-containers/containers.json", "db.sql"),
        *("overlay-layers/volatile-layers.json", "overlay-containers/volatile-containers.json"),
    ),
    "bolt": ("libpod/bolt_state.db", "overlay-containers/containers.json"),
}


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path, podman_samples: dict[str, Path]) -> Path:
    """The records of a sample, its layers as empty directories."""
    place = tmp_path / "storage"
    place.mkdir()
    source = podman_samples["overlay"]
    for folder in ("overlay-layers", "overlay-images", "overlay-containers"):
        podman_roots.copy(source / folder, place / folder)
    for layer in (source / "overlay").iterdir():
        if layer.is_dir():
            (place / "overlay" / layer.name / "diff").mkdir(parents=True)
    if request.param == "bolt":
        (place / "libpod").mkdir()
        data = (podman_roots.DATA / "bolt/bolt_state.db.gz").read_bytes()
        (place / "libpod/bolt_state.db").write_bytes(gzip.decompress(data))
        (place / "overlay-containers/containers.json").write_bytes(
            (podman_roots.DATA / "bolt/containers.json").read_bytes()
        )
    else:
        (place / "db.sql").write_bytes((source / "db.sql").read_bytes())
    return place


def fuzz(root: Path, files: tuple[str, ...], rounds: int, seed: int) -> int:
    """How many of ``rounds`` roots could still be opened."""
    choose = random.Random(seed)
    sound = {name: (root / name).read_bytes() for name in files if (root / name).exists()}
    configs = {
        os_path.relative_to(root).as_posix(): os_path.read_bytes()
        for os_path in sorted((root / "overlay-images").glob("*/*"))
    }
    opened = 0
    for number in range(rounds):
        pool = configs if configs and number % 7 == 6 else sound
        name = choose.choice(sorted(pool))
        data = spoil(pool[name], choose)
        (root / name).write_bytes(data)
        begun = time.monotonic()
        try:
            with open_root(root) as session:
                first = everything(session)
            if number % 20 == 0:
                with open_root(root) as session:
                    assert everything(session) == first, (number, name)
            opened += 1
        except LayerscopeError:
            pass
        finally:
            (root / name).write_bytes(pool[name])
        assert time.monotonic() - begun < SECONDS, (number, name)
    return opened


@pytest.mark.parametrize("root", ["overlay", "bolt"], indirect=True)
def test_spoiled_records(root: Path, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["root"]
    assert fuzz(root, FILES[kind], ROUNDS // 2, seed=1) > ROUNDS // 4


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("root", ["overlay", "bolt"], indirect=True)
def test_many_spoiled_records(root: Path, request: pytest.FixtureRequest, seed: int) -> None:
    kind = request.node.callspec.params["root"]
    assert fuzz(root, FILES[kind], LONG_ROUNDS // 20, seed=100 + seed) > LONG_ROUNDS // 40
