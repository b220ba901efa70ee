"""The Explore screen as it is used: with keys, with the mouse, at every size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from one_screen import NO_SETTINGS, lines, press, settled, shown
from sample_roots import copied
from textual.pilot import Pilot
from textual.widgets import Input

from layerscope import open_root
from layerscope.model.problem import Severity
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.glyphs import Mark
from layerscope.tui.screens.changes import ChangesScreen
from layerscope.tui.screens.compare_view import CompareView
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.screens.file_view import FileView
from layerscope.tui.screens.help import HelpScreen
from layerscope.tui.screens.inspect import InspectScreen
from layerscope.tui.screens.problems import ProblemList, ProblemsScreen
from layerscope.tui.sources.arrangement import SortOrder
from layerscope.tui.widgets.details.pane import Details
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.files.tree_pane import TreePane
from layerscope.tui.widgets.frame.header import HeaderBar
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.stack.blocks import LayerStack
from layerscope.tui.widgets.stack.totals import TotalsLine

needs_marks = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")

SIZE = (120, 40)


def app_on(root: Path, **options: Any) -> LayerscopeApp:
    return LayerscopeApp(root, settings=NO_SETTINGS, live=False, **options)


def tree(pilot: Pilot[Any]) -> MergedTree:
    return pilot.app.screen.query_one(MergedTree)


def paths(pilot: Pilot[Any]) -> list[str]:
    """The paths that the tree shows, in order."""
    return [row.path for row in tree(pilot).rows]


def explore(pilot: Pilot[Any]) -> ExploreScreen:
    screen = pilot.app.screen
    assert isinstance(screen, ExploreScreen)
    return screen


def messages(pilot: Pilot[Any]) -> list[str]:
    """What was told in toasts."""
    return [note.message for note in pilot.app._notifications]


async def choose(pilot: Pilot[Any], name: str) -> None:
    """Put the cursor of the list on a container or image."""
    entities = pilot.app.screen.query_one(EntityList)
    entities.cursor = next(index for index, row in enumerate(entities.rows) if row.name == name)
    await settled(pilot)


# ---------------------------------------------------------------------- the first look
async def test_it_opens_on_the_newest_container(overlay2_root: Path, sample_truth: Callable[..., Any]):
    newest = max(sample_truth("overlay2", "api-containers"), key=lambda each: each["Created"])
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert explore(pilot).stack is not None
        assert explore(pilot).stack.subject.name == newest["Names"][0].removeprefix("/")
        assert "etc" in paths(pilot)


async def test_the_list_shows_all_containers_and_images_with_their_sizes(
    overlay2_root: Path, sample_truth: Callable[..., Any]
):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        rows = {row.name: row for row in pilot.app.screen.query_one(EntityList).rows}
        for each in sample_truth("overlay2", "api-containers"):
            assert (rows[each["Names"][0].removeprefix("/")].size or 0) == each.get("SizeRw", 0)
        tags = [tag for each in sample_truth("overlay2", "api-images") for tag in (each["RepoTags"] or [])[:1]]
        assert {tag for tag in tags if tag != "<none>:<none>"} <= set(rows)


async def test_the_header_tells_what_is_open(overlay2_root: Path):
    async with app_on(overlay2_root, shown_path="/var/lib/docker").run_test(size=SIZE) as pilot:
        await settled(pilot)
        (line,) = lines(pilot.app.screen.query_one(HeaderBar))
        assert "/var/lib/docker  overlay2" in line
        assert "3 containers · 3 images" in line
        assert line.endswith("● read-only")


# ---------------------------------------------------------------------- the cut
@needs_marks
async def test_every_cut_shows_the_file_system_as_of_that_level(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        top = set(paths(pilot))
        assert "new" in top  # made in the writable layer
        await press(pilot, "left_square_bracket")
        assert pilot.app.screen.query_one(LayerStack).number == 5
        assert "new" not in paths(pilot)
        assert "up to layer 5" in shown(pilot.app.screen.query_one(TotalsLine))
        await press(pilot, *["left_square_bracket"] * 4)
        assert pilot.app.screen.query_one(LayerStack).number == 1
        assert ".dockerenv" not in paths(pilot)
        assert {row.value.level for row in tree(pilot).rows} == {1}
        await press(pilot, "left_square_bracket", *["right_square_bracket"] * 9)
        assert set(paths(pilot)) == top


@needs_marks
async def test_moving_in_the_stack_moves_the_cut(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "2", "j", "j")
        assert tree(pilot).source is not None
        assert tree(pilot).source.number == 4
        await press(pilot, "G")
        assert tree(pilot).source.number == 1
        await press(pilot, "g")
        assert tree(pilot).source.number == 6


async def test_a_subject_keeps_its_cut_and_its_folds(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "left_square_bracket", "3")
        tree(pilot).go_to("bin")
        await press(pilot, "l")
        assert "bin/tl" in paths(pilot)
        await choose(pilot, "writer")
        await choose(pilot, "editor")
        assert pilot.app.screen.query_one(LayerStack).number == 5
        assert "bin/tl" in paths(pilot)


@needs_marks
async def test_one_layer_alone(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "m")
        assert {row.value.level for row in tree(pilot).rows} == {6}
        assert "sys" not in paths(pilot)
        assert "Layer 6 only" in str(pilot.app.screen.query_one("#tree", Pane).border_title)
        await press(pilot, "ctrl+a")
        assert "sys" in paths(pilot)
        await press(pilot, "ctrl+l", "left_square_bracket")
        assert {row.value.level for row in tree(pilot).rows} == {5}


async def test_a_layer_that_changes_nothing_says_so(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "idle")
        await press(pilot, "m")
        assert "this layer changes no files" in shown(pilot.app.screen.query_one("#tree"))


# ---------------------------------------------------------------------- what is shown
@needs_marks
async def test_what_was_changed_is_unfolded_at_first(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(120, 60)) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        rows = {row.path: row for row in tree(pilot).rows}
        assert rows["data/a.txt"].value.mark is Mark.WHITEOUT
        assert rows["etc/motd"].value.mark is Mark.MODIFIED
        line = next(line for line in lines(tree(pilot)) if " a.txt" in line)
        assert "✗" in line
        assert "deleted in L6, was" in line


@needs_marks
async def test_kinds_can_be_hidden_and_shown_again(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(120, 60)) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        before = paths(pilot)
        await press(pilot, "D")
        assert "data/a.txt" not in paths(pilot)
        await press(pilot, "U")
        assert "bin" not in paths(pilot)
        assert "etc/motd" in paths(pilot)
        await press(pilot, "D", "U")
        assert paths(pilot) == before


@needs_marks
async def test_directories_get_the_bytes_below_them(overlay2_root: Path, sample_truth: Callable[..., Any]):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        source = tree(pilot).source
        assert source is not None
        sizes: dict[str, int] = {}
        for each in sample_truth("overlay2", "export")["editor"]:
            if each["type"] == "0":
                folder = os.path.dirname(each["name"])
                while folder:
                    sizes[folder] = sizes.get(folder, 0) + each["size"]
                    folder = os.path.dirname(folder)
        # The tar gives no size for symlinks, and a file with several names to the first of them.
        for folder in ("bin", "new", "opt", "opt/old"):
            assert source.totals[folder] == sizes.get(folder, 0), folder


@needs_marks
async def test_a_layer_alone_is_unfolded_where_it_changed_something(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        before = paths(pilot)
        await press(pilot, "left_square_bracket", "left_square_bracket", "m")
        # The last RUN of its Dockerfile: removes /opt/old/fresh, writes /opt/old/later, makes /srv/app.
        assert {"opt/old/fresh", "opt/old/later", "srv/app"} <= set(paths(pilot))
        await press(pilot, "m", "right_square_bracket", "right_square_bracket")
        assert paths(pilot) == before  # its folds are its own


async def test_sorting_by_keys_and_by_the_headings(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "layerscope/base:1.0")
        await press(pilot, "s")
        pane = pilot.app.screen.query_one(TreePane)
        assert pane.arrangement.order is SortOrder.SIZE
        top = [row for row in tree(pilot).rows if row.depth == 0]
        source = tree(pilot).source
        assert source is not None
        sizes = [source.size_of(row.path, row.value) or 0 for row in top]
        assert sizes == sorted(sizes, reverse=True)
        assert "size ▼" in lines(tree(pilot))[0]
        await press(pilot, "S")
        assert "size ▲" in lines(tree(pilot))[0]
        await pilot.click(MergedTree, offset=(9, 0))
        await settled(pilot)
        assert pane.arrangement.order is SortOrder.NAME
        names = [row.name for row in tree(pilot).rows if row.depth == 0]
        assert names == sorted(names, key=os.fsencode)


# ---------------------------------------------------------------------- the filter
@needs_marks
async def test_a_filter_shows_hits_and_what_leads_to_them(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        before = paths(pilot)
        await pilot.press("slash")
        await settled(pilot)
        assert isinstance(pilot.app.focused, Input)
        await press(pilot, *"mode", "enter")
        assert paths(pilot) == ["data", "data/perm", "data/perm/mode"]
        assert tree(pilot).current is not None
        assert tree(pilot).current.path == "data/perm/mode"
        assert "1 found" in shown(pilot.app.screen.query_one(TreePane))
        await press(pilot, "escape")
        assert set(before) <= set(paths(pilot))
        assert tree(pilot).current.path == "data/perm/mode"


async def test_the_hits_come_round(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "n")
        await press(pilot, "n")
        assert messages(pilot) == ["nothing is filtered: press / first"]
        await press(pilot, "slash", *"host", "enter")
        first = tree(pilot).current
        await press(pilot, "n")
        second = tree(pilot).current
        assert first is not None and second is not None
        assert {first.path, second.path} == {"etc/hostname", "etc/hosts"}
        await press(pilot, "n")
        assert tree(pilot).current is first
        await press(pilot, "N")
        assert tree(pilot).current is second


async def test_a_filter_without_a_hit_says_so_and_goes_on_at_another_cut(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "slash", *"dockerenv", "enter")
        assert paths(pilot) == [".dockerenv"]
        await press(pilot, "1", "left_square_bracket", "left_square_bracket")
        assert paths(pilot) == []
        assert "0 found" in shown(pilot.app.screen.query_one(TreePane))
        await press(pilot, "right_square_bracket")
        assert paths(pilot) == [".dockerenv"]


# ---------------------------------------------------------------------- panes
async def test_a_filter_that_fits_nothing_says_what_to_do(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "3", "slash", *"nosuchname")
        await settled(pilot)
        tree = pilot.app.screen.query_one(MergedTree)
        assert "no name fits; esc shows everything again" in shown(tree)
        await press(pilot, "escape")
        assert "no name fits" not in shown(tree) and "etc/" in shown(tree)


async def test_keys_go_from_pane_to_pane(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        seen = []
        for key in ("1", "2", "3", "4", "1", "tab", "tab", "tab", "tab", "shift+tab"):
            await press(pilot, key)
            focused = pilot.app.focused
            assert focused is not None
            seen.append(next(pane.number for pane in focused.ancestors if isinstance(pane, Pane)))
        assert seen == [1, 2, 3, 4, 1, 2, 3, 4, 1, 4]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(50, 16), (80, 24), (120, 40), (200, 55)])
async def test_a_pane_takes_all_the_room(overlay2_root: Path, number: int, size: tuple[int, int]):
    async with app_on(overlay2_root).run_test(size=size) as pilot:
        await settled(pilot)
        await press(pilot, str(number), "plus")
        pane = next(pane for pane in pilot.app.screen.query(Pane) if pane.number == number)
        assert pane.outer_size == (size[0], size[1] - 2)
        await press(pilot, "underscore")
        assert pane.outer_size.height < size[1] - 2


async def test_a_narrow_screen_shows_the_list_on_request(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        entities, layers = pilot.app.screen.query_one("#entities"), pilot.app.screen.query_one("#layers")
        assert (entities.display, layers.display) == (False, True)
        await press(pilot, "1")
        assert (entities.display, layers.display) == (True, False)
        assert pilot.app.focused is pilot.app.screen.query_one(EntityList)
        await press(pilot, "j", "enter")
        assert pilot.app.focused is tree(pilot)
        await press(pilot, "2")
        assert pilot.app.focused is pilot.app.screen.query_one(LayerStack)
        assert (entities.display, layers.display) == (False, True)


@pytest.mark.parametrize("size", [(80, 24), (99, 31), (100, 32), (140, 50), (160, 55), (240, 80), (40, 10)])
async def test_it_fits_any_size(overlay2_root: Path, size: tuple[int, int]):
    async with app_on(overlay2_root).run_test(size=size) as pilot:
        await settled(pilot)
        header = lines(tree(pilot))[0]
        assert ("owner" in header) == (size[0] >= 160)
        assert pilot.app.screen.query_one("#details").outer_size.height == (
            5 if size[1] < 32 else 12 if size[0] >= 160 else 10
        )
        assert lines(pilot.app.screen.query_one(KeyBar))[0].strip()


# ---------------------------------------------------------------------- a closer look
async def test_details_follow_the_cursor(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "3")
        tree(pilot).go_to("etc")
        await settled(pilot)
        details = pilot.app.screen.query_one(Details)
        assert details.looked is not None
        assert details.looked.path == "etc"
        await press(pilot, "left_square_bracket")
        assert details.looked.cut == 5


@needs_marks
async def test_enter_opens_files_and_unfolds_directories(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(120, 60)) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "3")
        tree(pilot).go_to("bin")
        await press(pilot, "enter")
        assert "bin/tl" in paths(pilot)
        await press(pilot, "enter")
        assert "bin/tl" not in paths(pilot)
        tree(pilot).go_to("etc/motd")
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, FileView)
        await press(pilot, "escape")
        tree(pilot).go_to("data/a.txt")
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, FileView)
        assert pilot.app.screen.level == 1
        await press(pilot, "escape")
        tree(pilot).go_to("srv/fifo")
        await press(pilot, "enter")
        assert messages(pilot)[-1] == "/srv/fifo: there are no bytes to show of this fifo"


@needs_marks
async def test_d_compares_copies_among_files_and_lists_changes_elsewhere(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=(120, 60)) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "3")
        tree(pilot).go_to("etc/motd")
        await press(pilot, "d")
        assert isinstance(pilot.app.screen, CompareView)
        await press(pilot, "escape", "1", "d")
        assert isinstance(pilot.app.screen, ChangesScreen)
        changes = [change.path for change in pilot.app.screen.changes]
        await press(pilot, *["j"] * changes.index("opt/old/later"), "enter")
        assert isinstance(pilot.app.screen, ExploreScreen)
        assert tree(pilot).current is not None
        assert tree(pilot).current.path == "opt/old/later"
        assert pilot.app.focused is tree(pilot)


@needs_marks
async def test_the_header_counts_what_is_found_later_too(overlay2_root: Path, tmp_path: Path):
    root = copied(overlay2_root, tmp_path / "root")
    with open_root(root) as session:
        shutil.rmtree(root / (session.levels(session.find("writer"))[-1].path or ""))
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "writer")
        header = pilot.app.screen.query_one(HeaderBar).line
        await press(pilot, "P")
        kinds = [problem.severity for problem in pilot.app.screen.query_one(ProblemList).rows]
    notes = kinds.count(Severity.NOTE)
    assert (header.problems, header.notes) == (len(kinds) - notes, notes)
    assert header.problems


@pytest.mark.parametrize(
    ("key", "screen"), [("question_mark", HelpScreen), ("i", InspectScreen), ("P", ProblemsScreen)]
)
async def test_keys_open_the_other_screens(overlay2_root: Path, key: str, screen: type):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, key)
        assert isinstance(pilot.app.screen, screen)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, ExploreScreen)


@pytest.mark.parametrize("key", ["w", "c", "a", "e", "x", "R", "o", "p"])
async def test_keys_that_write_are_off(overlay2_root: Path, key: str):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "3", key)
        assert messages(pilot) == ["off: it is no lab root, so it is only read (layerscope lab new makes one)"]
        assert "Commit" not in shown(pilot.app.screen.query_one(KeyBar))


async def test_the_path_is_copied(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "3")
        tree(pilot).go_to("etc")
        await press(pilot, "y")
        assert pilot.app.clipboard == "/etc"


# ---------------------------------------------------------------------- the mouse and the palette
async def test_the_mouse_chooses_layers_rows_and_keys(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.click(LayerStack, offset=(10, 20))
        await settled(pilot)
        assert pilot.app.screen.query_one(LayerStack).number == 1
        await pilot.click(MergedTree, offset=(12, 2))
        await settled(pilot)
        assert tree(pilot).cursor == 1
        bar = pilot.app.screen.query_one(KeyBar)
        await pilot.click(KeyBar, offset=(lines(bar)[0].index("Help"), 0))
        await settled(pilot)
        assert isinstance(pilot.app.screen, HelpScreen)


async def test_every_action_is_in_the_palette(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "ctrl+p", *"this layer only", "enter")
        assert explore(pilot).layer_only


async def test_a_theme_can_be_chosen(overlay2_root: Path):
    async with app_on(overlay2_root, theme="layerscope-light").run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert not pilot.app.current_theme.dark


# ---------------------------------------------------------------------- reading again
async def test_reading_again_keeps_the_place(overlay2_root: Path):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "editor")
        await press(pilot, "left_square_bracket", "3")
        tree(pilot).go_to("etc")
        session = explore(pilot).session
        await press(pilot, "r")
        assert explore(pilot).session is not session
        assert explore(pilot).stack is not None
        assert explore(pilot).stack.subject.name == "editor"
        assert pilot.app.screen.query_one(LayerStack).number == 5
        assert tree(pilot).current is not None
        assert tree(pilot).current.path == "etc"
