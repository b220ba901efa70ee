"""``commit`` and ``load`` of a lab beside the tools over the same bytes (pytest -m bench -s tests/bench/bench_lab.py).

Two yardsticks. *hashed*: ``tar`` of the upper directory and ``sha256sum`` of it; of the archive ``sha256sum`` and
``tar -x``. *laid*: what a commit has to do besides: the layer's own copy of the files (``tar -x``), on the disk.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from layerscope.services.lab import new_lab, open_lab, save
from layerscope.services.opening import open_root

pytestmark = [
    pytest.mark.bench,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab as docker's own is made by root"),
]


def large(upper: Path) -> None:
    for number in range(4):
        with (upper / f"large{number}").open("wb") as file:
            for _ in range(25):
                file.write(os.urandom(10_000_000))


def many(upper: Path) -> None:
    for number in range(200):
        folder = upper / f"d{number}"
        folder.mkdir()
        for other in range(100):
            (folder / f"f{other}").write_bytes(os.urandom(16) * (number * other % 300 + 1))


def seconds(action: Callable[[], object]) -> float:
    os.sync()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@pytest.mark.parametrize(("fill", "yardstick"), [(large, "hashed"), (many, "laid")])
def test_commit_and_load_beside_the_tools(tmp_path: Path, fill: Callable[[Path], None], yardstick: str) -> None:
    lab_path, other, out, saved = (tmp_path / name for name in ("lab", "other", "out", "saved.tar"))
    new_lab(lab_path)
    new_lab(other, empty=True)
    out.mkdir()
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
        upper = lab_path / "overlay2" / str(lab.container("web").mount_id) / "diff"
        fill(upper)

        def shell(line: str) -> Callable[[], object]:
            return lambda: subprocess.run(line, shell=True, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)

        packed = seconds(shell(f"tar -C {upper} -cf tools.tar . && sha256sum tools.tar"))
        unpacked = seconds(shell(f"sha256sum tools.tar && tar -C {out} -xf tools.tar && sync -f {out}"))
        committed = seconds(lambda: lab.commit("web", "made:1"))
    with open_root(lab_path) as session, saved.open("wb") as file:
        save(session, ["made:1"], file)
    with open_lab(other) as lab:
        loaded = seconds(lambda: lab.load(saved, "saved.tar"))
    tools = {"hashed": (packed, unpacked), "laid": (packed + unpacked, unpacked)}
    for name, (for_commit, for_load) in tools.items():
        print(f"\n{fill.__name__}, {name}: commit {committed:.2f} s = {committed / for_commit:.2f} times", end="")
        print(f", load {loaded:.2f} s = {loaded / for_load:.2f} times", end="")
    assert committed <= 2 * tools[yardstick][0]
    assert loaded <= 2 * tools[yardstick][1]
