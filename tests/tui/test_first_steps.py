"""What a newcomer meets: keys that work at once at any size, a footer that tells them, a header that is true."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from one_screen import NO_SETTINGS, OneWidget, lines, press, settled, shown
from textual.geometry import Size
from textual.pilot import Pilot
from textual.widget import Widget

from layerscope import open_root
from layerscope.services.lab.lab import new_lab
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.sources.entities import entity_rows
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.frame.header import HeaderBar, RootLine
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.rows.line_view import LineView

_LAYERSCOPE = (sys.executable, "-m", "layerscope")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root the sample's layers can't be read")


def app_on(root: Path) -> LayerscopeApp:
    return LayerscopeApp(root, settings=NO_SETTINGS, live=False)


async def explored(pilot: Pilot[Any]) -> None:
    """Until the root is open, on a busy machine too."""
    end = time.monotonic() + 30
    while not isinstance(pilot.app.screen, ExploreScreen):
        assert time.monotonic() < end, "the root isn't opened"
        await pilot.pause(0.02)
    await settled(pilot)


def footer(pilot: Pilot[Any]) -> str:
    return shown(pilot.app.screen.query_one(KeyBar))


@needs_root
@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 40), (200, 55)])
async def test_the_first_arrow_key_moves_something(overlay2_root: Path, size: tuple[int, int]):
    async with app_on(overlay2_root).run_test(size=size) as pilot:
        await explored(pilot)
        focused: Any = pilot.app.focused
        assert isinstance(focused, Widget)
        before = focused.cursor
        await press(pilot, "down")
        assert focused.cursor > before


@needs_root
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 55)])
async def test_nothing_jumps_after_the_first_frame(
    overlay2_root: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    seen: dict[str | None, list[Size]] = {}
    monkeypatch.setattr(LineView, "on_resize", lambda view: seen.setdefault(view.id, []).append(view.size), False)
    async with app_on(overlay2_root).run_test(size=size) as pilot:
        await explored(pilot)
        await press(pilot, "f3")
        await settled(pilot)
    assert {"files", "classes"} <= seen.keys()
    assert [name for name, sizes in seen.items() if name is not None and len(set(sizes)) > 1] == []


async def test_the_focus_outlives_a_smaller_window(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(120, 40)) as pilot:
        await explored(pilot)
        await press(pilot, "1")
        await pilot.resize_terminal(80, 24)
        await settled(pilot)
        await settled(pilot)
        assert isinstance(pilot.app.focused, MergedTree)


@needs_root
async def test_the_footer_tells_what_enter_does_and_where_the_rest_is(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(120, 40)) as pilot:
        await explored(pilot)
        for pane, word in (("1", "Files"), ("2", "Files"), ("3", "Open"), ("4", "View")):
            await press(pilot, pane)
            assert f"enter {word}" in footer(pilot)
        await press(pilot, "1")
        assert "f3 Disk" in footer(pilot)
        await press(pilot, "slash")
        assert "enter Go to hits" in footer(pilot) and "esc Clear" in footer(pilot)
        await pilot.resize_terminal(80, 24)
        await press(pilot, "escape", "3")
        assert "1 Containers" in footer(pilot)
        await press(pilot, "1")
        assert "1 Containers" not in footer(pilot)


@pytest.mark.parametrize(("width", "driver"), [(80, True), (50, False), (40, False)])
async def test_a_narrow_header_still_tells_whether_it_writes(width: int, driver: bool):
    header = HeaderBar()
    async with OneWidget(header).run_test(size=(width, 3)) as pilot:
        header.line = RootLine("/var/lib/docker", "overlay2", 4, 6, 5_500_000, writable=True)
        await settled(pilot)
        (line,) = lines(header)
        assert line.endswith("lab, writable") and ("overlay2" in line) is driver


@pytest.mark.parametrize("width", range(24, 44))
async def test_the_number_of_layers_is_told_whole_or_not_at_all(overlay2_root: Path, width: int):
    with open_root(overlay2_root) as session:
        rows = entity_rows(session.containers(sizes=False), session.images())
    listing = EntityList()
    async with OneWidget(listing).run_test(size=(width, 20)) as pilot:
        listing.show(rows, "")
        await settled(pilot)
        for row, line in zip(rows, lines(listing), strict=False):
            if row.kind == "image" and not row.subject.image.repo_tags:
                assert row.note in line or "lay" not in line
            if row.name == "layerscope/base:1.0" and width == 43:
                assert row.note == "1 layer, 2 names" and " 1 layer " in line and "names" not in line


async def test_an_archive_records_no_sizes_of_layers(tmp_path: Path):
    root, archive = tmp_path / "lab", tmp_path / "image.tar"
    new_lab(root)
    words = ["save", "--root", str(root), "base:1.0", "-o", str(archive)]
    subprocess.run([*_LAYERSCOPE, *words], check=True, capture_output=True)
    async with app_on(archive).run_test(size=(120, 40)) as pilot:
        await explored(pilot)
        header = shown(pilot.app.screen.query_one(HeaderBar))
        assert "1 image" in header and "in layers" not in header


@pytest.mark.parametrize(
    ("problems", "notes", "said", "unsaid"),
    [(2, 1, "2 problems", "note"), (0, 1, "1 note", "problem"), (0, 0, "read-only", "note")],
)
async def test_notes_are_no_problems(overlay2_root: Path, problems: int, notes: int, said: str, unsaid: str):
    async with app_on(overlay2_root).run_test(size=(120, 40)) as pilot:
        await explored(pilot)
        header = pilot.app.screen.query_one(HeaderBar)
        header.line = RootLine("/root", "overlay2", 1, 1, 1, problems=problems, notes=notes)
        await pilot.pause()
        assert said in shown(header) and unsaid not in shown(header)


@needs_root
async def test_keys_for_problems_are_offered_where_there_are_some(records_copy: Path):
    (records_copy / "image/overlay2/repositories.json").write_text("{bad")
    async with app_on(records_copy).run_test(size=(160, 40)) as pilot:
        await explored(pilot)
        await press(pilot, "1")
        assert "P Problems" in footer(pilot)
