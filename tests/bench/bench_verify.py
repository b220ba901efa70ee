"""``verify`` beside coreutils' ``sha256sum`` over the same files (pytest -m bench -s).

A lab root has one layer of many small files and one of few large ones; each is checked by the program itself, its start
included, as ``sha256sum`` is. The best of three counts. Two free processors are assumed.
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
SMALL = 100_000
LARGE_BYTES = 1_200_000_000
FOLDER = 100
MEMORY = 150_000_000


def seconds(action: Callable[[], object], rounds: int = 3) -> float:
    """The best of a few."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def layerscope(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "layerscope", *words], check=True, capture_output=True)


def small_files(path: Path, count: int) -> None:
    noise, chance = os.urandom(1 << 20), random.Random(1)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            member = tarfile.TarInfo(f"d{number // FOLDER // FOLDER}/e{number // FOLDER}/file{number}")
            member.size = chance.randrange(16_384)
            start = chance.randrange(1 << 19)
            tar.addfile(member, io.BytesIO(noise[start : start + member.size]))


def large_files(path: Path) -> None:
    noise = os.urandom(40_000_000)
    with tarfile.open(path, "w") as tar:
        for number in range(LARGE_BYTES // len(noise) // 5):
            member = tarfile.TarInfo(f"large{number}")
            member.size = 5 * len(noise)
            tar.addfile(member, io.BufferedReader(_Repeated(noise)))  # type: ignore[arg-type]


class _Repeated(io.RawIOBase):
    """The same bytes for ever."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = min(len(buffer), len(self._data))
        buffer[:size] = self._data[:size]
        return size


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the images ``small:1`` and ``large:1``, a layer each."""
    folder = tmp_path_factory.mktemp("verify")
    layerscope("lab", "new", str(folder / "lab"), "--empty")
    for name, make in (("small", lambda path: small_files(path, SMALL)), ("large", large_files)):
        tar = folder / "layer.tar"
        make(tar)
        layerscope("import", str(tar), f"{name}:1", "--root", str(folder / "lab"))
        tar.unlink()
    return folder / "lab"


def files_of(root: Path, name: str) -> Path:
    """The directory of an image's only layer: the small one has folders."""
    for layer in (root / "overlay2").iterdir():
        if (layer / "diff").is_dir() and (layer / "diff/large0").exists() == (name == "large"):
            return layer / "diff"
    raise AssertionError(name)


@pytest.mark.parametrize(("name", "wanted"), [("small", 1.0), ("large", 2.0)])
def test_verify_is_as_fast_as_hashing_the_files(root: Path, name: str, wanted: float) -> None:
    files = files_of(root, name)
    words = ["verify", f"{name}:1", "--root", str(root)]
    tool = seconds(
        lambda: subprocess.run(
            "find . -type f -print0 | xargs -0 sha256sum", shell=True, check=True, cwd=files, stdout=subprocess.DEVNULL
        )
    )
    plain = seconds(lambda: layerscope(*words))
    deep = seconds(lambda: layerscope(*words, "--deep"))
    print(f"\n{name}: sha256sum {tool:.2f} s, verify {plain:.2f} s ({tool / plain:.2f} times), ", end="")
    print(f"--deep {deep:.2f} s ({plain / deep:.2f} of verify)", end="")
    assert tool / plain >= wanted
    assert plain / deep >= 0.8


def test_memory_is_bounded(root: Path) -> None:
    script = (
        "import resource, sys; from layerscope.cli.main import run; code = run(sys.argv[1:]);"
        "who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN);"
        "print(max(resource.getrusage(one).ru_maxrss for one in who), file=sys.stderr); sys.exit(code)"
    )
    words = [sys.executable, "-c", script, "verify", "--deep", "--root", str(root)]
    done = subprocess.run(words, check=True, capture_output=True)
    peak = int(done.stderr.split()[-1]) * 1024
    print(f"\nlargest process: {peak / 1e6:.0f} MB", end="")
    assert peak < MEMORY
