"""``layerscope find`` and ``waste`` on a root of 200,000 files, by ``python -m pytest -m bench -s`` and this file.

``find`` as a whole process beside find(1) over the same directories, turn by turn, with a warm page cache; find(1)
knows nothing of marks and reads names only. The hits must be equal, and the largest process stays below 150 MB.
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

FILES, LAYERS, CHANGES = 200_000, 8, 25_600
RUNS = 5
MOST_JSON_RATIO = 5.0
MOST_BYTES = 150 * 1000 * 1000
_MEASURED = "import os, sys; _, status, use = os.wait4(os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)"
_MEASURED += "; sys.stderr.write(str(use.ru_maxrss)); sys.exit(os.waitstatus_to_exitcode(status))"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root to look through."""
    place = tmp_path_factory.mktemp("bench") / "root"
    make(place, FILES, LAYERS, 0, CHANGES)
    return place


def measured(command: list[str]) -> tuple[float, int, int]:
    """Seconds of a whole process, its peak memory in bytes, and the lines that it wrote."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-S", "-c", _MEASURED, *command], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start, int(done.stderr) * 1024, done.stdout.count(b"\n")


def ours(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "layerscope", "--root", str(root), *words]


@pytest.mark.parametrize(
    ("pattern", "most_ratio"), [("file07", 8.0), ("no such name", 8.0)], ids=["some hits", "no hit"]
)
def test_names_beside_find(root: Path, pattern: str, most_ratio: float) -> None:
    folders = [str(layer / "diff") for layer in (root / "overlay2").iterdir() if layer.name != "l"]
    theirs = ["find", *folders, "-name", pattern]
    turns = [(measured(theirs), measured(ours(root, "find", pattern))) for _ in range(RUNS + 1)][1:]
    find, mine = (statistics.median(turn[which][0] for turn in turns) for which in range(2))
    memory = max(turn[1][1] for turn in turns)
    ratio = statistics.median(turn[1][0] / turn[0][0] for turn in turns)
    hits = turns[0][1][2]
    print(
        f"\n{pattern!r}, {hits:,} hits in {FILES:,} files: find(1) {find * 1000:.0f} ms, "
        f"layerscope {mine * 1000:.0f} ms ({ratio:.1f} times, at most {most_ratio}), {memory / 1e6:.0f} MB"
    )
    assert hits == turns[0][0][2]
    assert memory < MOST_BYTES
    assert ratio <= most_ratio


def test_all_facts_beside_find(root: Path) -> None:
    """Every entry of every layer as JSON, beside all that find(1) can print of them; it reads no attributes."""
    folders = [str(layer / "diff") for layer in (root / "overlay2").iterdir() if layer.name != "l"]
    facts = "%p %f %y %m %U %G %s %T+ %n %l %i\\n"
    theirs = ["find", *folders, "-mindepth", "1", "-printf", facts]
    turns = [(measured(theirs), measured(ours(root, "find", "*", "--json"))) for _ in range(RUNS)]
    find, mine = (min(turn[which][0] for turn in turns) for which in range(2))
    memory = max(turn[1][1] for turn in turns)
    print(
        f"\nfind * --json of {FILES:,} files: find(1) -printf {find * 1000:.0f} ms, layerscope {mine * 1000:.0f} ms "
        f"({mine / find:.1f} times, at most {MOST_JSON_RATIO}), {memory / 1e6:.0f} MB"
    )
    assert turns[0][1][2] - 2 == turns[0][0][2]
    assert memory < MOST_BYTES
    assert mine / find <= MOST_JSON_RATIO


@pytest.mark.parametrize("words", [("find", "*", "--deleted"), ("find", "*"), ("waste", "bench/large:1", "--all")])
def test_memory(root: Path, words: tuple[str, ...]) -> None:
    seconds, memory, lines = measured(ours(root, *words))
    print(f"\n{' '.join(words)}: {lines:,} lines in {seconds:.1f} s, {memory / 1e6:.0f} MB")
    assert lines > 1000
    assert memory < MOST_BYTES
