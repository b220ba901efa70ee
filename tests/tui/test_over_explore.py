"""What lies over Explore, reached by its keys in the whole app, and the way back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_roots import app_on, choose, make_lab, messages, stand_on
from one_screen import NO_SETTINGS, press, settled, shown
from textual.pilot import Pilot

from layerscope.services.lab.lab import open_lab
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens.changes import ChangesScreen
from layerscope.tui.screens.compare_view import CompareView
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.screens.file_view import FileView
from layerscope.tui.screens.help import HelpScreen
from layerscope.tui.screens.inspect import InspectScreen
from layerscope.tui.screens.problems import ProblemsScreen
from layerscope.tui.widgets.details.pane import Details
from layerscope.tui.widgets.files.tree_pane import TreePane

needs_marks = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")


@pytest.fixture
def app(overlay2_root: Path) -> Iterator[LayerscopeApp]:
    yield LayerscopeApp(overlay2_root, settings=NO_SETTINGS, live=False)


async def look_at(pilot: Pilot[int], path: str) -> None:
    """Put the cursor on a path of the container ``editor``."""
    await settled(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, ExploreScreen)
    while screen.stack is None or screen.stack.subject.name != "editor":
        await press(pilot, "1", "down")
    await press(pilot, "3")
    screen.query_one(TreePane).reveal(path)
    await settled(pilot)


async def test_details_follow_the_cursor(app: LayerscopeApp):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc/motd")
        details = app.screen.query_one(Details)
        assert "/etc/motd" in shown(details)
        assert "+ third line" in shown(details)
        await press(pilot, "up")
        assert "/etc/motd" not in shown(details)


async def test_a_file_its_copies_and_back(app: LayerscopeApp):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc/motd")
        await press(pilot, "enter")
        assert isinstance(app.screen, FileView)
        await press(pilot, "d")
        assert isinstance(app.screen, CompareView)
        await press(pilot, "q", "escape")
        assert isinstance(app.screen, ExploreScreen)
        await press(pilot, "d")
        assert isinstance(app.screen, CompareView)


async def test_a_symlink_to_a_directory_leads_there_and_a_dangling_one_says_so(tmp_path: Path):
    root = make_lab(tmp_path / "lab")
    with open_lab(root) as lab, lab.overlay("web") as overlay:
        overlay.mkdir("/srv/far")
        overlay.mkdir("/srv/far/off")
        overlay.symlink("/srv/far", "/srv/way")
        overlay.symlink("off/nowhere", "/srv/lost")
        overlay.symlink("../etc/motd", "/srv/word")
    app = app_on(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        await stand_on(pilot, "srv/way")
        await press(pilot, "enter")
        assert isinstance(app.screen, ExploreScreen)
        current = app.screen.query_one(TreePane).files.current
        assert current is not None and current.path == "srv/far"
        assert messages(pilot) == ["/srv/way leads to /srv/far"]
        await stand_on(pilot, "srv/lost")
        await press(pilot, "m", "enter", "m", "enter")
        told = "cannot open /srv/lost, which leads to off/nowhere: no such entry in the view"
        assert isinstance(app.screen, ExploreScreen)
        assert messages(pilot) == [told]  # once, though it was told twice
        await stand_on(pilot, "srv/word")
        await press(pilot, "enter")
        assert isinstance(app.screen, FileView)


@needs_marks
async def test_from_a_change_to_its_place_in_the_tree(app: LayerscopeApp):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc")
        await press(pilot, "1", "d")
        assert isinstance(app.screen, ChangesScreen)
        await press(pilot, "slash", *"app.conf", "enter", "enter")
        assert isinstance(app.screen, ExploreScreen)
        row = app.screen.query_one(TreePane).files.current
        assert row is not None
        assert row.path == "etc/app.conf"


@needs_marks
async def test_a_filter_does_not_hide_where_one_is_led(app: LayerscopeApp, tmp_path: Path):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc")
        await press(pilot, "slash", *"motd", "enter", "1", "d", "slash", *"app.conf", "enter", "enter")
        assert isinstance(app.screen, ExploreScreen)
        row = app.screen.query_one(TreePane).files.current
        assert row is not None and row.path == "etc/app.conf"
    root = make_lab(tmp_path / "lab")
    with open_lab(root) as lab, lab.overlay("web") as overlay:
        overlay.mkdir("/srv/far")
        overlay.symlink("/srv/far", "/srv/way")
    other = app_on(root)
    async with other.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        await press(pilot, "slash", *"way", "enter", "enter")
        row = other.screen.query_one(TreePane).files.current
        assert row is not None and row.path == "srv/far"


async def test_records_problems_and_help(app: LayerscopeApp):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc")
        for key, screen in (("i", InspectScreen), ("P", ProblemsScreen), ("question_mark", HelpScreen)):
            await press(pilot, key)
            assert isinstance(app.screen, screen)
            await press(pilot, "escape")
            assert isinstance(app.screen, ExploreScreen)


async def test_help_over_a_file_does_not_pile_up(app: LayerscopeApp):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc/motd")
        await press(pilot, "enter", "question_mark")
        assert isinstance(app.screen, HelpScreen)
        await press(pilot, "question_mark")
        assert isinstance(app.screen, FileView)


async def test_a_screen_above_outlives_a_new_session(app: LayerscopeApp):
    async with app.run_test(size=(120, 40)) as pilot:
        await look_at(pilot, "etc/motd")
        await press(pilot, "enter")
        explore = next(screen for screen in app.screen_stack if isinstance(screen, ExploreScreen))
        explore.action_reload()
        await settled(pilot)
        await press(pilot, "left_square_bracket")
        view = app.screen
        assert isinstance(view, FileView)
        assert view.pane.state is None
        assert view.level == 2
        await press(pilot, "escape")
        explore.action_reload()
        await settled(pilot)
        assert "/etc/motd" in shown(explore.query_one(Details))
