"""What an added tree holds is listed in the order of the paths' bytes, and read when its turn comes."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from layerscope.analysis.changes.views import stream_exact_changes
from layerscope.hostfs import Directory
from layerscope.overlay import MergedDirectory, MergedView, ViewLevel

FOLDERS = 40


@pytest.fixture
def views(tmp_path: Path) -> tuple[MergedView, MergedView]:
    """A stack without and with a second level, in which names before and behind a slash follow each other."""
    (tmp_path / "base" / "both").mkdir(parents=True)
    for number in range(FOLDERS):
        for folder in (f"new/d{number:02}", f"new/d{number:02}-x", f"new/d{number:02}é", f"both/{number}"):
            (tmp_path / "own" / folder / "inside").mkdir(parents=True)
            (tmp_path / "own" / folder / "inside" / "file").touch()
    with closing(Directory.open_root(tmp_path)) as root:
        levels = [ViewLevel(1, root.enter("base"), "base"), ViewLevel(2, root.enter("own"), "own")]
        yield MergedView(levels[:1]), MergedView(levels)


def test_paths_come_in_the_order_of_their_bytes(views: tuple[MergedView, MergedView], tmp_path: Path) -> None:
    top = tmp_path / "own"
    everything = [
        os.path.relpath(os.path.join(folder, name), top)
        for folder, folders, files in os.walk(top)
        for name in (*folders, *files)
    ]
    assert [change.path for change in stream_exact_changes(*views)] == sorted(everything, key=os.fsencode)


def test_nothing_is_read_before_its_turn(views: tuple[MergedView, MergedView], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    visible = MergedDirectory.visible

    def counted(self: MergedDirectory) -> object:
        read.append(self.path)
        return visible(self)

    monkeypatch.setattr(MergedDirectory, "visible", counted)
    ahead = 0
    for change in stream_exact_changes(*views):
        # Beside the directories above a path only those that may have entries before and behind it are read.
        ahead = max(ahead, sum(path > change.path for path in read))
    assert len(read) == 2 * 4 * FOLDERS + 1
    assert ahead <= 3
