"""Spoiled records of docker: only our own errors, a bounded time, and the same answer twice."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from spoiled_records import everything, spoil

from layerscope import open_root
from layerscope.errors import LayerscopeError

SECONDS = 20.0
"""Far more than any round takes, on any machine."""
RECORDS = (
    *("image/overlay2/repositories.json", "image/overlay2/imagedb/*/sha256/*", "image/overlay2/imagedb/*/sha256/*/*"),
    *("image/overlay2/layerdb/sha256/*/*", "image/overlay2/layerdb/mounts/*/*"),
    *("image/overlay2/distribution/*/*/*", "containers/*/*.json", "volumes/*/opts.json", "volumes/metadata.db"),
    *("overlay2/*/link", "overlay2/*/lower"),
)


@pytest.fixture
def root(records_copy: Path, overlay2_root: Path) -> Path:
    """The records, those beside the layers among them; what there are no files for stays empty."""
    for record in ("link", "lower"):
        for path in (overlay2_root / "overlay2").glob(f"*/{record}"):
            (records_copy / path.relative_to(overlay2_root)).write_bytes(path.read_bytes())
    return records_copy


def fuzz(root: Path, rounds: int, seed: int) -> int:
    """How many of ``rounds`` roots had a problem, or could not be opened."""
    choose = random.Random(seed)
    kinds = [sorted(path for path in root.glob(pattern) if path.is_file()) for pattern in RECORDS]
    kinds = [files for files in kinds if files]
    assert len(kinds) >= 8
    told = 0
    for number in range(rounds):
        path = choose.choice(choose.choice(kinds))
        sound = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(spoil(sound, choose))
        begun = time.monotonic()
        try:
            with open_root(root) as session:
                first = everything(session)
                told += any(str(path.relative_to(root)) in problem.path for problem in session.problems())
            if number % 20 == 0:
                with open_root(root) as session:
                    assert everything(session) == first, (seed, number, path)
        except LayerscopeError as error:
            told += 1
            assert not re.search(r"[\x00-\x1f]", str(error)), (seed, number, path)
        finally:
            path.write_bytes(sound)
        assert time.monotonic() - begun < SECONDS, (seed, number, path)
    return told


@pytest.mark.parametrize("seed", range(3))
def test_spoiled_records(root: Path, seed: int) -> None:
    assert fuzz(root, 100, seed) > 20


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_spoiled_records(root: Path, seed: int) -> None:
    assert fuzz(root, 1000, seed) > 200
