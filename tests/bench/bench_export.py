"""``export`` and ``extract`` beside ``tar`` and ``cp`` on the kernel's own mount (pytest -m bench -s).

A root of 200,000 small files in ten levels. All are whole processes, turn by turn, the page cache warm, and the best
of each counts. The mount is there before ``tar`` and ``cp`` begin, and has been read: what they get is the easier half.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerscope import open_root

sys.path.insert(0, str(Path(__file__).parent))

pytestmark = [pytest.mark.bench, pytest.mark.root]
FILES, EXPORTS, EXTRACTS = 200_000, 3, 2
MOST_EXPORT, MOST_EXTRACT = 2.5, 2.5
MOST_BYTES = 150_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root."""
    path = tmp_path_factory.mktemp("export") / "root"
    script = Path(__file__).with_name("make_root.py")
    subprocess.run([sys.executable, script, path, "--files", str(FILES)], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="module")
def merged(root: Path) -> Iterator[Path]:
    """The container's file system, mounted by the kernel and read once."""
    with open_root(root) as session:
        levels = session.levels(session.find("changed"))
        lower = ":".join(str(root / level.path) for level in reversed(levels))
    point = root.parent / "merged"
    point.mkdir()
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", point], check=True)
    try:
        subprocess.run(["tar", "-C", point, "-cf", root.parent / "theirs", "."], check=True)
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def seconds(*command: str | Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def layerscope(root: Path, *words: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "layerscope", "--root", root, *words]


def told(what: str, turns: list[tuple[float, float]], theirs: str, most: float) -> float:
    """The ratio of the best of each."""
    other, ours = (min(turn[which] for turn in turns) for which in range(2))
    print(f"\n{what}: {ours:.2f} s, {theirs} {other:.2f} s, {ours / other:.2f} times (at most {most})", end="")
    return ours / other


def test_export_beside_tar(root: Path, merged: Path) -> None:
    there, here = root.parent / "theirs", root.parent / "ours"
    turns = [
        (
            seconds("tar", "-C", merged, "-cf", there, "."),
            seconds(*layerscope(root, "export", "changed", "-o", here)),
        )
        for _ in range(EXPORTS)
    ]
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    ratio = told(f"export of {FILES:,} files", turns, "tar", MOST_EXPORT)
    print(f"; the peak of any process {most / 1e6:.0f} MB", end="")
    assert abs(here.stat().st_size - there.stat().st_size) < 20_000
    assert ratio <= MOST_EXPORT
    assert most < MOST_BYTES


def test_extract_beside_cp(root: Path, merged: Path) -> None:
    there, here = root.parent / "copied", root.parent / "extracted"
    turns = []
    for _ in range(EXTRACTS):
        shutil.rmtree(there, ignore_errors=True)
        shutil.rmtree(here, ignore_errors=True)
        copied = seconds("cp", "-R", "--preserve=mode,timestamps", "--sparse=never", merged, there)
        turns.append((copied, seconds(*layerscope(root, "extract", "changed:/", here))))
    assert told(f"extract of {FILES:,} files", turns, "cp", MOST_EXTRACT) <= MOST_EXTRACT
