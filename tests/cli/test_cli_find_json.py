"""``find --json``: links of one inode by the file system's own word, and the quick text beside the plain shapes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from layerscope.cli.reference import find_subject
from layerscope.cli.render.document import element_text
from layerscope.cli.verbs.find import _shape
from layerscope.model.found import FoundRun, Wanted
from layerscope.services.find import Search, names_like
from layerscope.services.opening.root import open_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="marks of the samples are lost when unpacked without root"),
]


@pytest.fixture
def linked(tmp_path: Path) -> str:
    """Two layers: names of one inode in several directories, a whiteout of the first of them, strange names."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "a-b").mkdir(parents=True)
    upper.mkdir()
    (lower / "z").write_text("one inode")
    for name in ("a", "a-b/c", "same\nline", "\udcff"):
        os.link(lower / "z", lower / name)
    (lower / "alone").write_text("x")
    os.symlink("a", lower / "link")
    os.link(lower / "link", lower / "link-again", follow_symlinks=False)
    (upper / "new").write_text("y")
    os.link(upper / "new", upper / "newer")
    os.mknod(upper / "a", 0o600 | 0o020000, os.makedev(0, 0))
    return f"overlay:lowerdir={upper}:{lower}"


def test_the_first_name_of_an_inode_in_the_view(ask: Any, linked: str) -> None:
    """By the bytes of the path, of those that are seen: the whiteout took ``a``."""
    found = {
        (entry["path"], entry["level"]): entry["link_to"] for entry in ask("find", "*", "--json", root=linked).json
    }
    assert found == {
        ("/a", 2): None,  # the whiteout
        ("/a", 1): None,  # hidden
        ("/a-b", 1): None,
        ("/a-b/c", 1): None,  # the first itself
        ("/alone", 1): None,
        ("/link", 1): None,
        ("/link-again", 1): "/link",
        ("/new", 2): None,
        ("/newer", 2): "/new",
        ("/same\nline", 1): "/a-b/c",
        ("/z", 1): "/a-b/c",
        ("/\ufffd", 1): "/a-b/c",
    }


def test_links_are_told_as_ls_tells_them(ask: Any, overlay2_root: Path) -> None:
    listed = {entry["path"]: entry["link_to"] for entry in ask("ls", "editor", "-R", "--json", root=overlay2_root).json}
    found = ask("find", "*", "editor", "--visible", "--json", root=overlay2_root).json
    assert {entry["path"]: entry["link_to"] for entry in found} == listed
    assert any(entry["link_to"] not in (None, entry["path"]) for entry in found)


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit", "vfs", "btrfs", "overlay", "aufs"])
@pytest.mark.parametrize("words", [{}, {"deleted": True}, {"visible": True}, {"types": frozenset({"symlink", "char"})}])
def test_the_quick_text_is_that_of_the_shapes(ask: Any, unpacked: Any, sample: str, words: dict[str, Any]) -> None:
    root = unpacked(sample)
    with open_root(root) as session:
        search = Search(session, None, Wanted(names_like("*"), **words), details=True)
        shapes = [element_text(_shape(found)) for found in search.hits()]
    options = ["--type", "l,c"] if "types" in words else [f"--{word}" for word in words]
    lines = ask("find", "*", *options, "--json", root=root).out.decode().splitlines()
    assert [line.removesuffix(",") for line in lines[1:-1]] == shapes
    assert bool(shapes) or words


def test_runs_and_single_entries_agree(unpacked: Any) -> None:
    """The same entries when each is looked at by itself: a pattern that fits one name only."""
    root = unpacked("overlay2")
    with open_root(root) as session:
        subject = find_subject(session, "editor")
        search = Search(session, subject, Wanted(names_like("*")), details=True)
        runs = [found for found in search.runs() if isinstance(found, FoundRun)]
        together = {(one.entry.path, one.entry.level): _shape(one) for run in runs for one in run.entries()}
        assert max(len(run.copies.rows) for run in runs) > 1
        for path, level in list(together)[::7]:
            alone = Search(session, subject, Wanted(names_like(f"^/{re.escape(path)}$", regex=True)), details=True)
            shapes = {one.entry.level: _shape(one) for one in alone.hits()}
            assert json.dumps(shapes[level]) == json.dumps(together[path, level])
