"""The search in many stacks that share a base costs what they hold, not stacks times directories."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from layerscope.analysis.find.names import Run, find_runs
from layerscope.analysis.waste.copies import Folder
from layerscope.hostfs import Directory
from layerscope.model.found import Wanted
from layerscope.overlay import MergedView, ViewLevel

STACKS = 60


@pytest.fixture
def views(tmp_path: Path) -> list[MergedView]:
    """Stacks of one base and one layer of their own each, which has a directory and a file of its own."""
    for name in ("bin", "etc"):
        (tmp_path / "base" / name).mkdir(parents=True)
        (tmp_path / "base" / name / "file").touch()
    for number in range(STACKS):
        (tmp_path / str(number) / "app" / f"app{number}").mkdir(parents=True)
        (tmp_path / str(number) / "app" / f"app{number}" / "file").touch()
        (tmp_path / str(number) / f"file{number}").touch()
    with closing(Directory.open_root(tmp_path)) as root:
        yield [
            MergedView(
                [ViewLevel(1, root.enter("base"), "base"), ViewLevel(2, root.enter(str(number)), f"own {number}")]
            )
            for number in range(STACKS)
        ]


def test_copies_are_looked_for_where_they_are(views: list[MergedView], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    call = Folder.copies

    def counted(self: Folder, *arguments: object) -> object:
        nonlocal looks
        looks += 1
        return call(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "copies", counted)
    found = list(find_runs(views, Wanted(lambda _, names: [name for name in names if name.startswith("file")])))
    paths = {entry.entry.path: entry.stacks for run in found if isinstance(run, Run) for entry in run.hits()}
    everyone = tuple(range(STACKS))
    assert paths.pop("bin/file") == paths.pop("etc/file") == everyone
    own = {f"app/app{number}/file": (number,) for number in everyone}
    assert paths == own | {f"file{number}": (number,) for number in everyone}
    # Of each stack: bin, etc and app, of all together, and its own app/appN. STACKS² would be the search in all.
    assert looks <= 6 * STACKS
