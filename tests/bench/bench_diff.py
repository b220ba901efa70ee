"""``layerscope diff`` against ``docker diff`` of one container, by ``python -m pytest -m bench -s`` and this file.

Both as whole processes on a live daemon, with a warm page cache. The container changes more than 25,000 paths: a third
is changed, a third removed, a third is new. docker's time grows with the whole image, ours with the changes alone: so
it is measured with an image of 200,000 files, and with one of 30,000, nearly all of which the container touches.
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
from engine import Engine, docker_client, minimal_tar, missing, started

pytestmark = [
    pytest.mark.bench,
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.skipif(docker_client() is None, reason="docker's own client is not installed"),
]

CHANGED_FOLDERS, FILES = 280, 100
LEAST_CHANGES = 25_000
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
    """An engine of our own."""
    with started() as made:
        yield made


def make_image(engine: Engine, folders: int) -> str:
    """An image with 100 files in each of its folders; gives its name."""
    tar = minimal_tar()
    tar.folder("tree")
    for folder in range(folders):
        tar.folder(f"tree/folder{folder:04}")
        for number in range(FILES):
            tar.add(f"tree/folder{folder:04}/{number:02}", b"%d\n" % (folder * number))
    engine.import_image(tar.bytes(), f"bench/base:{folders}")
    return f"bench/base:{folders}"


def seconds(command: list[str]) -> tuple[float, int]:
    """The time of one run of a command, and the lines that it wrote."""
    # An installed program has its bytecode beside it; the first run writes what a checkout lacks.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    return time.perf_counter() - start, done.stdout.count(b"\n")


@pytest.mark.parametrize(("folders", "least_ratio"), [(2000, 10), (300, 2)])
def test_many_changes(engine: Engine, folders: int, least_ratio: int) -> None:
    container = engine.shell(make_image(engine, folders), CHANGE)
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
        f"\n{lines:,} changes to an image of {folders * FILES:,} files: docker diff {docker * 1000:.0f} ms, layerscope "
        f"diff {ours * 1000:.0f} ms ({least * 1000:.0f} ms to start): {ratio:.1f} times as fast (least {least_ratio})"
    )
    assert lines == turns[0][0][1] >= LEAST_CHANGES
    assert ratio >= least_ratio
