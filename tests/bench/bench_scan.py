"""``layerscope scan`` and ``diff-scan`` on large roots, by ``python -m pytest -m bench -s`` and this file.

Whole processes, with a warm page cache, turn by turn with find(1) writing the same facts: the largest process stays
below 150 MB whatever the root, and five times the files need about five times the time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from make_root import make

pytestmark = pytest.mark.bench

SMALL, LARGE, LAYERS, CHANGES = 200_000, 1_000_000, 8, 25_600
WIDE = {SMALL: 0, LARGE: 300_000}
"""Entries of one directory, beside the others."""
RUNS = 3
MOST_BYTES = 150 * 1000 * 1000
MOST_GROWTH = 1.5
_MEASURED = "import os, sys; _, status, use = os.wait4(os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)"
_MEASURED += "; sys.stderr.write(str(use.ru_maxrss)); sys.exit(os.waitstatus_to_exitcode(status))"
_FACTS = "%P\\0%m\\0%U\\0%G\\0%s\\0%b\\0%T@\\0%n\\0"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A root with each number of files."""
    place = tmp_path_factory.mktemp("bench")
    for files in (SMALL, LARGE):
        make(place / str(files), files, LAYERS, WIDE[files], CHANGES)
    return {files: place / str(files) for files in (SMALL, LARGE)}


def measured(command: list[str]) -> tuple[float, int]:
    """Seconds of a whole process, and its peak memory in bytes."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-S", "-c", _MEASURED, *command], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start, int(done.stderr.splitlines()[-1]) * 1024


def ours(*words: str) -> list[str]:
    return [sys.executable, "-m", "layerscope", *words]


def test_time_and_memory(roots: dict[int, Path], tmp_path: Path) -> None:
    ratios, files = {}, {}
    for count, root in roots.items():
        files[count] = str(tmp_path / str(count))
        mine = ours("scan", "-o", files[count], "--root", str(root))
        turns = [(measured(["find", str(root), "-printf", _FACTS]), measured(mine)) for _ in range(RUNS + 1)][1:]
        find, scan = (statistics.median(turn[which][0] for turn in turns) for which in range(2))
        memory = max(turn[1][1] for turn in turns)
        ratios[count] = scan / find
        written = os.path.getsize(files[count])
        print(
            f"\n{count:,} files: find(1) {find:.2f} s, scan {scan:.2f} s ({ratios[count]:.1f} times), "
            f"{memory / 1e6:.0f} MB, {written / 1e6:.2f} MB written"
        )
        assert memory < MOST_BYTES
    assert ratios[LARGE] / ratios[SMALL] < MOST_GROWTH
    for words in ((), ("--json", "--limit", "0")):
        seconds, memory = measured(ours("diff-scan", files[SMALL], files[LARGE], *words))
        print(f"diff-scan {' '.join(words)}: {seconds:.2f} s, {memory / 1e6:.0f} MB")
        assert memory < MOST_BYTES
