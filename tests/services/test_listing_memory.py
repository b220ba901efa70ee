"""A listing is written as it is read: of a large directory few entries are looked at before the first is there."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.overlay import MergedView, ViewLevel
from layerscope.services.listing import list_entries

COUNT = 20_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    wide = tmp_path / "wide"
    wide.mkdir()
    for number in range(COUNT):
        (wide / f"n{number:05}").touch()
    for name in ("a", "a-b", "a.c", "ü"):
        (wide / name).mkdir()
        (wide / name / "z").touch()
    return tmp_path


@pytest.mark.parametrize("recursive", [False, True])
def test_few_entries_are_looked_at_before_the_first(
    tree: Path, recursive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    call = Directory.stats

    def counted(self: Directory, names: list[str]) -> list[os.stat_result | None]:
        nonlocal looked
        looked += len(names)
        return call(self, names)

    monkeypatch.setattr(Directory, "stats", counted)
    with closing(Directory.open_root(tree)) as root:
        view = MergedView([ViewLevel(1, root, "one")])
        listed = list_entries(view, "/wide", {}, recursive)
        assert len(list(islice(listed, 5))) == 5
        assert looked < COUNT / 4
        assert sum(1 for _ in listed) == COUNT + (3 if recursive else -1)


def test_the_order_is_that_of_the_paths_bytes(tree: Path) -> None:
    walked = [os.fsencode(path.relative_to(tree)) for path in tree.rglob("*")]
    with closing(Directory.open_root(tree)) as root:
        view = MergedView([ViewLevel(1, root, "one")])
        assert [os.fsencode(entry.path) for entry in list_entries(view, "/", {}, recursive=True)] == sorted(walked)
