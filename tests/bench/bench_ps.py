"""``layerscope ps`` beside ``docker ps -as``, by ``python -m pytest -m bench -s`` and this file.

A real daemon whose containers hold 25,000 changed files; both as whole processes, turn by turn, the page cache warm,
and the best of each. What they print of the sizes must be equal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "live"))
from engine import Engine, Tar, docker_client, minimal_tar, missing

pytestmark = [pytest.mark.bench, pytest.mark.docker, pytest.mark.root]

CONTAINERS, FILES = 25, 1000
RUNS = 9
MOST_RATIO = 1.0
BASE = "bench/base:1"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A daemon with the containers; half of what they changed is in the image, too."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    if docker_client() is None:
        pytest.skip("docker's own client is not installed")
    made = Engine()
    try:
        made.start()
        base = minimal_tar()
        files(base, FILES // 2, b"below")
        made.import_image(base.bytes(), BASE)
        changes = Tar()
        files(changes, FILES, b"changed")
        content = changes.bytes()
        for number in range(CONTAINERS):
            made.put(made.create(BASE, ["/bin/busybox", "true"], f"changed{number}"), content)
        yield made
    finally:
        made.remove()


def files(tar: Tar, count: int, content: bytes) -> None:
    """Small files, fifty to a folder."""
    for number in range(count):
        if number % 50 == 0:
            tar.folder(f"srv/{number // 50}")
        tar.add(f"srv/{number // 50}/{number}", content * 20)


def timed(command: list[str]) -> tuple[float, list[str]]:
    """Seconds of a whole process, and the sizes that it printed, sorted."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    seconds = time.perf_counter() - start
    return seconds, sorted(" ".join(line.split()[-3:]) for line in done.stdout.splitlines()[1:])


def test_ps_beside_dockers(engine: Engine) -> None:
    theirs = [str(docker_client()), "-H", f"unix://{engine.home}/s", "ps", "-as"]
    ours = [sys.executable, "-m", "layerscope", "--root", str(engine.root), "ps"]
    turns = [(timed(theirs), timed(ours)) for _ in range(RUNS + 1)][1:]
    docker, mine = (min(turn[which][0] for turn in turns) for which in range(2))
    ratio = mine / docker
    print(
        f"\n{CONTAINERS} containers with {CONTAINERS * FILES:,} changed files, best of {RUNS}: docker ps -as "
        f"{docker * 1000:.0f} ms, layerscope ps {mine * 1000:.0f} ms ({ratio:.2f} times, at most {MOST_RATIO})"
    )
    assert len(turns[0][0][1]) == CONTAINERS
    assert all(told == found for (_, told), (_, found) in turns)
    assert ratio <= MOST_RATIO
