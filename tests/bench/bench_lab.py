"""``commit`` and ``load`` of a lab beside the tools over the same bytes (pytest -m bench -s tests/bench/bench_lab.py).

Three yardsticks for a commit. *hashed*: ``tar`` of the upper directory and ``sha256sum`` of it. *floor*: what it has
to do besides, since a container's upper stays writable and its layer doesn't: a copy of its own of all files, on the
disk (``cp -a`` and ``sync -f``). *both*: one after the other. For a load: ``sha256sum`` of the tar, ``tar -x`` and
``sync -f``.

With large files, and with what a distribution's packages leave (this machine's own ``/usr``), a commit is held to the
first. With nothing but small ones, making that many inodes durable takes longer by itself than packing and hashing them
(the floor is printed as a multiple of *hashed*), so it is held to *both*.

Each round has a lab and trees of its own, and none is removed before the end: ext4 takes inodes that were just freed
very slowly into use again. The best of each is compared.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from layerscope.services.lab.lab import new_lab, open_lab, save
from layerscope.services.opening.root import open_root

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


def installed(upper: Path) -> None:
    """Libraries, documents, translations."""
    for source in ("lib/x86_64-linux-gnu", "lib/python3", "share"):
        if (Path("/usr") / source).is_dir():
            (upper / "usr" / source).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"/usr/{source}", str(upper / "usr" / source)], check=True)


def seconds(action: Callable[[], object]) -> float:
    os.sync()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def one_round(folder: Path, fill: Callable[[Path], None]) -> dict[str, float]:
    """The seconds that each thing takes, one after the other."""
    lab_path, other, saved = folder / "lab", folder / "other", folder / "saved.tar"
    (folder / "out").mkdir(parents=True)
    new_lab(lab_path)
    new_lab(other, empty=True)

    def shell(line: str) -> Callable[[], object]:
        return lambda: subprocess.run(line, shell=True, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
        upper = lab_path / "overlay2" / str(lab.container("web").mount_id) / "diff"
        fill(upper)
        took = {
            "hashed": seconds(shell(f"tar -C {upper} -cf tools.tar . && sha256sum tools.tar")),
            "floor": seconds(shell(f"cp -a {upper} copy && sync -f copy")),
            "commit": seconds(lambda: lab.commit("web", "made:1")),
            "unpacked": seconds(shell("sha256sum tools.tar && tar -C out -xf tools.tar && sync -f out")),
        }
    with open_root(lab_path) as session, saved.open("wb") as file:
        save(session, ["made:1"], file)
    with open_lab(other) as lab:
        took["load"] = seconds(lambda: lab.load(saved, "saved.tar"))
    return took


@pytest.mark.parametrize(
    ("fill", "yardstick", "rounds"), [(large, "hashed", 1), (installed, "hashed", 3), (many, "both", 3)]
)
def test_commit_and_load_beside_the_tools(
    tmp_path: Path, fill: Callable[[Path], None], yardstick: str, rounds: int
) -> None:
    found = [one_round(tmp_path / str(number), fill) for number in range(rounds)]
    took = {name: min(one[name] for one in found) for name in found[0]}
    took["both"] = took["hashed"] + took["floor"]
    told = ", ".join(f"{took['commit'] / took[name]:.2f} {name}" for name in ("hashed", "floor", "both"))
    print(f"\n{fill.__name__}: commit {took['commit']:.2f} s = {told}", end="")
    print(f"; floor {took['floor']:.2f} s = {took['floor'] / took['hashed']:.2f} hashed", end="")
    print(f"; load {took['load']:.2f} s = {took['load'] / took['unpacked']:.2f} unpacked")
    assert took["commit"] <= 2 * took[yardstick]
    assert took["load"] <= 2 * took["unpacked"]
