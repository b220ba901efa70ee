"""Layers that are subvolumes: file systems of their own that belong to the root all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_facts import assert_closed, du

from layerscope.model.claim import Category
from layerscope.services.ledger import ledger
from layerscope.services.opening.root import open_root

pytestmark = [
    pytest.mark.btrfs,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(shutil.which("mkfs.btrfs") is None, reason="mkfs.btrfs is not installed"),
]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    image, point = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    point.mkdir()
    done = subprocess.run(["mount", "-o", "loop", str(image), str(point)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"btrfs can't be mounted here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_subvolumes_are_counted_and_mounts_are_not(mounted: Path, unpacked: Callable[[str], Path]) -> None:
    sample, root = unpacked("btrfs"), mounted / "root"
    shutil.copytree(sample, root, symlinks=True, ignore=shutil.ignore_patterns("subvolumes"))
    home = root / "btrfs/subvolumes"
    home.mkdir()
    for layer in (sample / "btrfs/subvolumes").iterdir():
        subprocess.run(["btrfs", "-q", "subvolume", "create", str(home / layer.name)], check=True, capture_output=True)
        subprocess.run(["cp", "-a", f"{layer}/.", str(home / layer.name)], check=True)
    os.sync()
    told = subprocess.run(["du", "-s", "--block-size=1", str(root)], capture_output=True, text=True, check=True)
    whole = int(told.stdout.split()[0])
    assert whole > du(root), "subvolumes are not file systems of their own here"
    over = home / next(iter(sorted(os.listdir(home)))) / "over"
    over.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(over)], check=True)
    try:
        (over / "file").write_bytes(b"x" * 100_000)
        with open_root(root) as session:
            found = ledger(session)
    finally:
        subprocess.run(["umount", str(over)], check=True)
    assert_closed(found, whole)
    assert found.unaccounted_disk == 0
    assert found.shares_extents
    assert not {one.category for one in found.classes} & {Category.ORPHAN, Category.FOREIGN_MOUNT}
