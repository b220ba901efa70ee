"""``commit`` of a lab beside ``docker commit``, by ``python -m pytest -m bench -s`` and this file.

The same 20,000 small files in a container's upper directory, on one disk, turn by turn, and the best of each. docker's
daemon is already running and doesn't wait for the disk; a lab's commit does, and here it is a whole process, its start
included.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerscope.services.lab.lab import new_lab, open_lab

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "live"))
from bench_lab import many
from engine import Engine, minimal_tar, missing

pytestmark = [pytest.mark.bench, pytest.mark.docker, pytest.mark.root]
ROUNDS = 3
MOST_RATIO = 2.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A daemon."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    made = Engine()
    try:
        made.start()
        made.import_image(minimal_tar().bytes(), "bench/base:1")
        yield made
    finally:
        made.remove()


def seconds(action: Callable[[], object]) -> float:
    subprocess.run(["sync"], check=True)
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def one_turn(engine: Engine, root: Path, name: str) -> tuple[float, float]:
    """The seconds of docker's commit, and of ours."""
    engine.create("bench/base:1", ["/bin/busybox", "true"], name)
    many(Path(engine.get(f"/containers/{name}/json")["GraphDriver"]["Data"]["UpperDir"]))
    new_lab(root)
    with open_lab(root) as lab:
        lab.create("base:1.0", name)
        many(root / "overlay2" / str(lab.container(name).mount_id) / "diff")
    command = [sys.executable, "-m", "layerscope", "--root", str(root), "commit", name, "made:1"]
    docker = seconds(lambda: engine.commit(name, f"bench/{name}:1"))
    return docker, seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def test_commit_beside_dockers(engine: Engine, tmp_path: Path) -> None:
    turns = [one_turn(engine, tmp_path / str(number), f"many{number}") for number in range(ROUNDS)]
    docker, ours = (min(turn[which] for turn in turns) for which in range(2))
    print(
        f"\n20,000 small files, best of {ROUNDS}: docker commit {docker:.2f} s, layerscope commit {ours:.2f} s "
        f"({ours / docker:.2f} times, at most {MOST_RATIO})"
    )
    assert ours <= MOST_RATIO * docker
