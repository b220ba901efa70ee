"""``layerscope diff`` against ``docker diff`` of one container, by ``python -m pytest -m bench -s`` and this file.

Both as whole processes on a live daemon, with a warm page cache. The container changes more than 25,000 paths of an
image of 200,000 files: a third is changed, a third removed, a third is new.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "live"))
from engine import Engine, docker_client, minimal_tar, missing

pytestmark = [
    pytest.mark.bench,
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.skipif(docker_client() is None, reason="docker's own client is not installed"),
]

FOLDERS, CHANGED_FOLDERS, FILES = 2000, 280, 100
LEAST_CHANGES, LEAST_RATIO, AIM = 25_000, 10, 20
RUNS = 7
CHANGE = f"""
cd /tree
for d in $(ls | head -n {CHANGED_FOLDERS}); do
  for f in $d/1* $d/2* $d/3*; do echo x >> $f; done
  rm $d/4* $d/5* $d/6*
  for n in 0 1 2 3 4 5 6 7 8 9; do for m in 0 1 2; do echo x > $d/new$n$m; done; done
done
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with an image of many files."""
    tar = minimal_tar()
    tar.folder("tree")
    for folder in range(FOLDERS):
        tar.folder(f"tree/folder{folder:04}")
        for number in range(FILES):
            tar.add(f"tree/folder{folder:04}/{number:02}", b"%d\n" % (folder * number))
    made = Engine()
    try:
        made.start()
        made.import_image(tar.bytes(), "bench/base:1")
        yield made
    finally:
        made.remove()


def seconds(command: list[str]) -> tuple[float, int]:
    """The time of one run of a command, and the lines that it wrote."""
    # An installed program has its bytecode beside it; the first run writes what a checkout lacks.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    return time.perf_counter() - start, done.stdout.count(b"\n")


def test_many_changes(engine: Engine) -> None:
    container = engine.shell("bench/base:1", CHANGE, "changed")
    docker_diff = [str(docker_client()), "-H", f"unix://{engine.home}/s", "diff", container]
    program = Path(sys.executable).with_name("layerscope")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "layerscope"]
    our_diff = [*command, "--root", str(engine.root), "diff", container]
    # Turn by turn, so that both meet the same load of the machine; the first turn only warms.
    turns = [(seconds(docker_diff), seconds(our_diff), seconds([*command, "--version"])) for _ in range(RUNS + 1)][1:]
    docker, ours, least = (statistics.median(turn[which][0] for turn in turns) for which in range(3))
    ratio = statistics.median(turn[0][0] / turn[1][0] for turn in turns)
    lines = turns[0][1][1]
    print(
        f"\n{lines:,} changes: docker diff {docker * 1000:.0f} ms, layerscope diff {ours * 1000:.0f} ms "
        f"(of that {least * 1000:.0f} ms to start): {ratio:.1f} times as fast (wanted {LEAST_RATIO}, aim {AIM})"
    )
    assert lines == turns[0][0][1] >= LEAST_CHANGES
    assert ratio >= LEAST_RATIO
