"""A copy-up takes over data, not holes: a large sparse file costs as little time and space as what is in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from layerscope.overlay import Overlay

GIGABYTE = 1 << 30
PIECES = {0: b"first", 300 << 20: b"middle" * 100_000, GIGABYTE - 4: b"last"}
MOST_SECONDS = 1.0


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    with open(tmp_path / "lower/disk.img", "wb") as file:
        file.truncate(GIGABYTE)
        for offset, data in PIECES.items():
            file.seek(offset)
            file.write(data)
    if os.stat(tmp_path / "lower/disk.img").st_blocks * 512 > 8 << 20:
        pytest.skip("this file system keeps no holes")
    return tmp_path


def copied_up(layers: Path) -> tuple[os.stat_result, float]:
    with Overlay([layers / "lower"], layers / "upper", layers / "work") as overlay:
        start = time.monotonic()
        overlay.chmod("disk.img", 0o600)
        taken = time.monotonic() - start
    return os.stat(layers / "upper/disk.img"), taken


def test_holes_of_a_gigabyte_are_not_copied(layers: Path) -> None:
    before = os.stat(layers / "lower/disk.img")
    after, taken = copied_up(layers)
    assert after.st_size == GIGABYTE
    assert after.st_blocks <= before.st_blocks + 64  # a few blocks of the file system's own
    assert taken < MOST_SECONDS
    with open(layers / "upper/disk.img", "rb") as file:
        for offset, data in PIECES.items():
            file.seek(offset)
            assert file.read(len(data)) == data
        file.seek(GIGABYTE // 2)
        assert not file.read(1 << 20).strip(b"\0")


def test_data_that_ends_before_the_file_does_keeps_its_length(layers: Path) -> None:
    with open(layers / "lower/disk.img", "wb") as file:
        file.write(b"only this")
        file.truncate(GIGABYTE)
    after, _ = copied_up(layers)
    assert (after.st_size, after.st_blocks * 512 <= 64 << 10) == (GIGABYTE, True)


def test_nothing_but_a_hole(layers: Path) -> None:
    with open(layers / "lower/disk.img", "wb") as file:
        file.truncate(GIGABYTE)
    after, taken = copied_up(layers)
    assert (after.st_size, after.st_blocks, taken < MOST_SECONDS) == (GIGABYTE, 0, True)
