"""Traces of the engine's version, and the algorithm of ``docker diff`` that follows from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.stores.docker.engine import EngineTraces, describe
from layerscope.stores.docker.store import DockerStore

CONTENT = "image/overlay2/imagedb/content/sha256"


def engine_of(root: Path, driver: str = "overlay2") -> EngineTraces:
    return DockerStore(Directory.open_root(root), root, driver).engine


def set_version(root: Path, version: str) -> None:
    for path in (root / CONTENT).iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), "docker_version": version}))


def test_the_sample_was_written_by_20_10(overlay2_root: Path) -> None:
    engine = engine_of(overlay2_root)
    assert engine.traces == ("trust/ (before 26)", "buildkit/ (18.06 or newer)")
    assert engine.version == "20.10.24+dfsg1" and not engine.native_diff
    assert "20.10.24" in describe(engine)


@pytest.mark.parametrize(
    ("version", "native"),
    [
        ("18.05.0-ce", True),
        ("17.03.2-ce", True),
        ("1.13.1", True),
        ("18.06.0-ce", False),
        ("28.0.1", False),
        ("", False),
    ],
)
def test_overlay2_up_to_18_05_compared_upper_directories(records_copy: Path, version: str, native: bool) -> None:
    shutil.rmtree(records_copy / "buildkit")
    set_version(records_copy, version)
    assert engine_of(records_copy).native_diff is native


def test_traces_of_a_newer_engine_outweigh_old_images(records_copy: Path) -> None:
    set_version(records_copy, "17.03.2-ce")
    assert not engine_of(records_copy).native_diff
    shutil.rmtree(records_copy / "buildkit")
    (records_copy / "engine-id").write_text("x")
    assert not engine_of(records_copy).native_diff


def test_images_made_here_count_before_pulled_ones(records_copy: Path) -> None:
    """A pulled image has no parent record: its version is that of somebody else's engine."""
    shutil.rmtree(records_copy / "buildkit")
    set_version(records_copy, "17.03.2-ce")
    pulled = records_copy / CONTENT / ("e" * 64)
    pulled.write_text(json.dumps({"docker_version": "20.10.1", "rootfs": {"diff_ids": []}}))
    engine = engine_of(records_copy)
    assert (engine.version, engine.native_diff) == ("17.03.2-ce", True)


def test_aufs_always_did(records_copy: Path) -> None:
    assert engine_of(records_copy, "aufs").native_diff
    assert not engine_of(records_copy, "vfs").native_diff
