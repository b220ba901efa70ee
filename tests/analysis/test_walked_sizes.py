"""Sizes of trees that several processes walk, against what find(1) tells of the same inodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerscope.analysis.measuring.sizes import walked_sizes
from layerscope.hostfs import Directory

NOBODY = 65534
FOLDERS, FILES = 80, 60
"""So many that they are dealt out in several parts."""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Directory]:
    """Two trees; in ``linked`` inodes have names in folders far apart, and one has a name in ``other``, too."""
    for tree in ("linked", "other"):
        for number in range(FOLDERS):
            folder = tmp_path / tree / f"{number % 7}" / f"{number}"
            folder.mkdir(parents=True)
            for name in range(FILES):
                (folder / f"{name}").write_bytes(b"x" * (number + name))
            (folder / "symlink").symlink_to("x" * (number + 1))
            os.truncate(folder / "0", 1 << 30)
    for number in range(FOLDERS):
        os.link(tmp_path / f"linked/{number % 7}/{number}/1", tmp_path / f"linked/{(number + 3) % 7}/again-{number}")
    os.link(tmp_path / "linked/0/0/2", tmp_path / "other/outside")
    directory = Directory.open_root(tmp_path)
    yield directory
    directory.close()


def found_bytes(tree: Path) -> int:
    """The sizes of all inodes below that are no directories, each once."""
    told = subprocess.run(["find", tree, "!", "-type", "d", "-printf", "%i %s\\n"], capture_output=True, check=True)
    return sum(int(size) for _inode, size in {tuple(line.split()) for line in told.stdout.splitlines()})


def test_each_inode_counts_once_in_each_tree(root: Directory, tmp_path: Path) -> None:
    sizes = walked_sizes([root.enter("linked"), root.enter("other"), root.descend("other/3")])
    assert sizes == [
        found_bytes(tmp_path / "linked"),
        found_bytes(tmp_path / "other"),
        found_bytes(tmp_path / "other/3"),
    ]


def test_what_is_no_directory_has_no_size(root: Directory, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("linked")
    (tmp_path / "empty").mkdir()
    tops = [root.enter("gone"), None, root.enter("link"), root.descend("other/outside"), root.enter("empty")]
    assert walked_sizes(tops) == [None, None, None, None, 0]


def test_a_directory_that_cannot_be_read_leaves_its_tree_without_a_size(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for tree in ("open", "closed"):
        (tmp_path / tree / "below").mkdir(parents=True)
        (tmp_path / tree / "below/file").write_bytes(b"1234")
    (tmp_path / "closed/below").chmod(0)
    root = Directory.open_root(tmp_path)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(NOBODY)
        assert walked_sizes([root.enter("open"), root.enter("closed")]) == [4, None]
    finally:
        os.seteuid(user)
        root.close()


def test_a_walk_that_is_given_up_ends(root: Directory) -> None:
    asked = []

    def cancelled() -> bool:
        asked.append(None)
        return True

    walked_sizes([root.enter("linked")], cancelled)
    assert len(asked) == 1
