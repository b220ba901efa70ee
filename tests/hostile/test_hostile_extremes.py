"""Trees too deep for a path, directories too wide for a list."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

from spoiled import CONTAINER, IMAGE, Ask, Root

from layerscope import open_root

DEPTH, WIDTH = 3_000, 200_000


def _make_deep(top: Path, depth: int) -> None:
    """Directories in one another, too deep for any path; a file in the last."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("dd", dir_fd=here)
        below = os.open("dd", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_directories_3000_deep(root: Root, ask: Ask) -> None:
    _make_deep(root.upper, DEPTH)
    deepest = "/" + "/".join(["dd"] * DEPTH) + "/bottom"
    lines = os.fsdecode(ask("diff", CONTAINER).out).splitlines()
    assert f"A {deepest}" in lines
    assert sum(line.startswith("A /dd") for line in lines) == DEPTH + 1
    assert ask("ls", "-R", CONTAINER).out.count(b"/dd") >= DEPTH
    assert f"A {deepest}" in os.fsdecode(ask("diff", IMAGE, CONTAINER).out)
    assert json.loads(ask("stack", CONTAINER, "--json").out)[0]["added"] >= DEPTH + 1
    assert ask("cat", f"{CONTAINER}:{deepest}").code == 0
    assert ask("blame", f"{CONTAINER}:{deepest}").code == 0
    assert json.loads(ask("ps", "--json").out)
    with tarfile.open(fileobj=io.BytesIO(ask("export", CONTAINER).out)) as tar:
        assert deepest[1:] in tar.getnames()


def test_depth_needs_few_descriptors(root: Root) -> None:
    _make_deep(root.upper, DEPTH)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
from layerscope import open_root
with open_root({str(root.path)!r}) as session:
    subject = session.find({CONTAINER!r})
    assert sum(change.path.startswith("dd") for change in session.changes(subject)) == {DEPTH} + 1
    assert sum(entry.path.startswith("dd") for entry in session.entries(subject, recursive=True)) == {DEPTH} + 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert soft > 64


def test_extract_of_a_deep_tree(root: Root, ask: Ask, tmp_path: Path) -> None:
    _make_deep(root.upper, 1_200)
    destination = tmp_path / "extracted"
    assert ask("extract", f"{CONTAINER}:/dd", str(destination)).code == 0
    found = subprocess.run(["find", str(destination), "-name", "bottom"], capture_output=True, check=True)
    assert found.stdout.count(b"\n") == 1
    # Deeper than the interpreter's own removal can go.
    subprocess.run(["rm", "-rf", str(destination), str(root.upper / "dd")], check=True)


def test_a_directory_of_200000_entries(root: Root, ask: Ask) -> None:
    wide = root.upper / "wide"
    wide.mkdir()
    here = os.open(wide, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(WIDTH):
        os.symlink("x", f"{number:06}", dir_fd=here)
    os.close(here)
    assert ask("diff", CONTAINER).out.count(b"A /wide/") == WIDTH
    with open_root(root.path) as session:
        subject = session.find(CONTAINER)
        names = [entry.name for entry in session.entries(subject, "/wide", detail=False)]
        assert names == [f"{number:06}" for number in range(WIDTH)]
        assert session.stack(subject)[0].counts is not None
