"""Rows that don't fit into memory come out sorted, as often as they are asked for."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest

from layerscope.analysis.scan.spill import SortedSpill


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 12_345])
def test_sorted_whatever_the_number_of_runs(count: int) -> None:
    rng = random.Random(count)
    rows = [(rng.randrange(100), rng.randbytes(5), number) for number in range(count)]
    with SortedSpill(rows_a_run=10 if count < 1000 else 1000) as spill:
        for row in rows:
            spill.add(row)
        assert list(spill) == sorted(rows)
        assert list(spill) == sorted(rows)
        spill.add((-1, b"", -1))
        assert list(spill) == [(-1, b"", -1), *sorted(rows)]


def test_two_readers_at_once() -> None:
    with SortedSpill(rows_a_run=3) as spill:
        for number in range(20):
            spill.add((number % 7, number))
        one, other = iter(spill), iter(spill)
        assert [next(one), next(other), next(one), next(other)] == [(0, 0), (0, 0), (0, 7), (0, 7)]


def test_the_file_has_no_name_and_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    with SortedSpill(rows_a_run=2) as spill:
        for number in range(9):
            spill.add((number,))
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(spill) == []
