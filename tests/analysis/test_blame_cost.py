"""The life of a path in a tall stack costs a few looks a level, not one for every pair of levels."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerscope.analysis.blame import sightings
from layerscope.hostfs import Directory
from layerscope.model.blame import BlameEvent
from layerscope.overlay import MergedView, ViewLevel

LEVELS = 60
PATH = "a/b/c/d/e/file"


def test_looks_grow_with_the_levels_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(LEVELS):
        file = tmp_path / str(number) / PATH
        file.parent.mkdir(parents=True)
        if number % 20 == 0:
            file.write_text(f"level {number}")
    root = Directory.open_root(tmp_path)
    view = MergedView([ViewLevel(number + 1, root.enter(str(number)), str(number)) for number in range(LEVELS)])
    looks = 0
    for name in ("stats", "stat", "xattr", "scan"):
        call = getattr(Directory, name)

        def counted(self: Directory, *arguments: object, _call: object = call) -> object:
            nonlocal looks
            looks += 1
            return _call(self, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(Directory, name, counted)
    found = list(sightings(view, PATH))
    root.close()
    assert [sighting.level for sighting in found] == [1, 21, 41]
    assert [sighting.event for sighting in found] == [BlameEvent.CREATED, BlameEvent.MODIFIED, BlameEvent.MODIFIED]
    # One look for each component and the marks of its directory: not LEVELS² of them.
    assert looks < LEVELS * (PATH.count("/") + 1) * 5
