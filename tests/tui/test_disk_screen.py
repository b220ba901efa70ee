"""Disk: the ledger on the screen against du, ticking against what really comes back, cancelling, keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ledger_facts import du
from one_screen import NO_SETTINGS, press, settled, shown
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from layerscope.services import ledger as ledger_service
from layerscope.services.lab.lab import new_lab
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens import disk
from layerscope.tui.screens.disk import DiskScreen
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.screens.problems import ProblemsScreen
from layerscope.tui.widgets.disk.ledger_tree import LedgerTree
from layerscope.tui.widgets.disk.removal_list import RemovalList
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

SIZE = (120, 40)
_LAYERSCOPE = (sys.executable, "-m", "layerscope")


@asynccontextmanager
async def disk_of(root: Path, size: tuple[int, int] = SIZE, **options: Any) -> Any:
    """The screen of a root, counted."""
    app = LayerscopeApp(root, settings=NO_SETTINGS, live=False, **options)
    async with app.run_test(size=size) as pilot:
        await explored(pilot)
        await press(pilot, "f3")
        await settled(pilot)
        assert isinstance(app.screen, DiskScreen)
        yield pilot


async def explored(pilot: Pilot[Any]) -> None:
    """Until the root is open, on a busy machine too."""
    end = time.monotonic() + 30
    while not isinstance(pilot.app.screen, ExploreScreen):
        assert time.monotonic() < end, "the root isn't opened"
        await pilot.pause(0.02)
    await settled(pilot)


def tree_of(pilot: Pilot[Any]) -> LedgerTree:
    return pilot.app.screen.query_one(LedgerTree)


def things_of(pilot: Pilot[Any]) -> RemovalList:
    return pilot.app.screen.query_one(RemovalList)


def pane(pilot: Pilot[Any], name: str) -> Pane:
    return pilot.app.screen.query_one(f"#{name}", Pane)


def facts(pilot: Pilot[Any]) -> str:
    return shown(pane(pilot, "about"))


async def tick(pilot: Pilot[Any], *names: str) -> None:
    """Tick the rows of these names."""
    things = things_of(pilot)
    things.focus()
    for name in names:
        things.cursor = next(index for index, row in enumerate(things.rows) if row.name == name)
        await press(pilot, "space")


def names_below(root: Path) -> set[str]:
    return {str(Path(folder, name)) for folder, dirs, files in os.walk(root) for name in (*dirs, *files)}


# ---------------------------------------------------------------------- the ledger
async def test_the_classes_add_up_to_what_du_says(overlay2_root: Path):
    async with disk_of(overlay2_root) as pilot:
        classes = tree_of(pilot).rows
        assert sum(row.value.disk for row in classes) == du(overlay2_root)
        disks = [row.value.disk for row in classes]
        assert disks == sorted(disks, reverse=True)
        await press(pilot, "Z")
        entries = [row.value for row in tree_of(pilot).rows if row.value.entry is not None]
        assert sum(value.disk for value in entries) == du(overlay2_root)
        for row in tree_of(pilot).rows:
            if row.depth == 0:
                assert row.value.disk == sum(one.disk for one in entries if one.category is row.value.category)


async def test_an_entry_tells_its_owner_and_why(overlay2_root: Path, sample_truth: Any):
    volumes = {one["Name"] for one in sample_truth("overlay2", "api-system-df")["Volumes"]}
    async with disk_of(overlay2_root) as pilot:
        tree = tree_of(pilot)
        tree.go_to("volume")
        await press(pilot, "l", "l")
        told, owners = facts(pilot), set()
        for row in tree.rows:
            if row.value.entry is not None:
                owners.add(row.value.label)
        assert owners == volumes
        assert any(f"owner    {name}" in told and f"path     volumes/{name}" in told for name in volumes)
        assert "on disk" in told and "because" in told


async def test_sorting_and_filtering(overlay2_root: Path):
    async with disk_of(overlay2_root) as pilot:
        await press(pilot, "s")
        labels = [row.value.label for row in tree_of(pilot).rows]
        assert labels == sorted(labels)
        await press(pilot, "S")
        assert [row.value.label for row in tree_of(pilot).rows] == sorted(labels, reverse=True)
        await press(pilot, "s")
        counts = [row.value.count for row in tree_of(pilot).rows]
        assert counts == sorted(counts, reverse=True)
        await press(pilot, "slash")
        pilot.app.screen.query_one(Input).value = "volumes/"
        await settled(pilot)
        found = [row.value.entry.path for row in tree_of(pilot).rows if row.value.entry is not None]
        assert found and all("volumes/" in path for path in found)
        await press(pilot, "enter")
        assert pilot.app.focused is tree_of(pilot)
        await press(pilot, "escape")
        assert len([row for row in tree_of(pilot).rows if row.depth == 0]) == len(labels)


# ---------------------------------------------------------------------- what comes back
async def test_an_unused_volume_gives_back_what_du_finds(overlay2_root: Path, tmp_path: Path):
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    volume = root / "volumes" / "spare"
    (volume / "_data").mkdir(parents=True)
    (volume / "_data" / "file").write_bytes(b"x" * 123_456)
    async with disk_of(root) as pilot:
        await tick(pilot, "spare")
        screen = pilot.app.screen
        assert isinstance(screen, DiskScreen) and screen.answer is not None
        before = du(root)
        shutil.rmtree(volume)  # as docker volume rm does; its database's size doesn't change with that
        assert screen.answer.frees_disk == before - du(root)
        assert f"{before - du(root):,} bytes" in facts(pilot)
        assert "docker volume rm spare" in facts(pilot)


async def test_what_is_kept_is_told_with_what_keeps_it(overlay2_root: Path):
    async with disk_of(overlay2_root) as pilot:
        things = things_of(pilot)
        image = next(row.name for row in things.rows if row.kind == "thing" and row.dot == "image")
        await tick(pilot, image)
        assert "stays" in facts(pilot) and "because of" in facts(pilot) and "container" in facts(pilot)


async def test_ticking_changes_nothing_on_disk(overlay2_root: Path):
    before = names_below(overlay2_root), du(overlay2_root)
    async with disk_of(overlay2_root) as pilot:
        await press(pilot, "2", "Z")
        things = things_of(pilot)
        assert things.ticked == {row.word for row in things.rows if row.word}
        await press(pilot, "Z")
        assert not things.ticked
    assert (names_below(overlay2_root), du(overlay2_root)) == before


async def test_a_heading_ticks_all_below_it(overlay2_root: Path):
    async with disk_of(overlay2_root) as pilot:
        things = things_of(pilot)
        await tick(pilot, "CONTAINERS")
        containers = {path.name for path in (overlay2_root / "containers").iterdir()}
        assert things.ticked == containers
        await press(pilot, "space")
        assert not things.ticked


async def test_the_commands_can_be_copied(overlay2_root: Path, monkeypatch: pytest.MonkeyPatch):
    async with disk_of(overlay2_root) as pilot:
        copied: list[str] = []
        monkeypatch.setattr(pilot.app, "copy_to_clipboard", copied.append)
        await tick(pilot, "CONTAINERS")
        await press(pilot, "y")
        commands = copied[0].splitlines()
        assert len(commands) == len(things_of(pilot).ticked)
        assert all(command.startswith("docker rm ") for command in commands)


# ---------------------------------------------------------------------- modes and panes
async def test_modes_come_and_go_and_keep_what_was_counted(overlay2_root: Path, monkeypatch: pytest.MonkeyPatch):
    async with disk_of(overlay2_root) as pilot:
        screen = pilot.app.screen
        await tick(pilot, "CONTAINERS")
        await press(pilot, "f2")
        assert isinstance(pilot.app.screen, ExploreScreen)

        def counted_again(*args: Any, **options: Any) -> Any:
            raise AssertionError

        monkeypatch.setattr(disk, "ledger", counted_again)
        await press(pilot, "f3")
        assert pilot.app.screen is screen and things_of(pilot).ticked
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, ExploreScreen)


async def test_the_palette_goes_there_and_back(overlay2_root: Path):
    app = LayerscopeApp(overlay2_root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=SIZE) as pilot:
        await explored(pilot)
        for words, screen in (("see where every byte", DiskScreen), ("explore images", ExploreScreen)):
            await pilot.press("ctrl+p")
            await pilot.pause()
            app.screen.query_one(Input).value = words
            end = time.monotonic() + 20
            while not isinstance(app.screen, screen):
                assert time.monotonic() < end, f"{words} isn't found"
                await pilot.press("enter")
                await pilot.pause(0.1)
            await settled(pilot)


async def test_it_counts_again_what_has_changed(overlay2_root: Path, tmp_path: Path):
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    async with disk_of(root) as pilot:
        (root / "overlay2" / "nobodys").write_bytes(b"x" * 50_000)
        await press(pilot, "r")
        await settled(pilot)
        assert sum(row.value.disk for row in tree_of(pilot).rows) == du(root)
        assert any(row.value.label == "unknown" for row in tree_of(pilot).rows)


async def test_narrow_screens_show_one_of_the_upper_panes(overlay2_root: Path):
    async with disk_of(overlay2_root, (80, 24)) as pilot:
        assert pane(pilot, "ledger").display and not pane(pilot, "removal").display
        await press(pilot, "2")
        assert not pane(pilot, "ledger").display and pilot.app.focused is things_of(pilot)
        await press(pilot, "tab", "tab")
        assert pane(pilot, "ledger").display and pilot.app.focused is tree_of(pilot)
        await press(pilot, "shift+tab", "plus")
        assert pane(pilot, "about").size.height > 15
        await press(pilot, "underscore")
        assert pane(pilot, "about").size.height < 10


async def test_any_width_is_drawn(overlay2_root: Path):
    async with disk_of(overlay2_root) as pilot:
        for width in (60, 30, 20, 8, 1, 120):
            await pilot.resize_terminal(width, 12)
            await settled(pilot)
        assert "image layers" in shown(tree_of(pilot))


async def test_a_filter_that_fits_nothing_says_so(overlay2_root: Path):
    async with disk_of(overlay2_root) as pilot:
        await press(pilot, "slash", *"nosuchname")
        await settled(pilot)
        assert "nothing fits; esc shows everything again" in shown(tree_of(pilot))
        await press(pilot, "escape")
        assert "nothing fits" not in shown(tree_of(pilot)) and "image layers" in shown(tree_of(pilot))


async def test_the_footer_offers_what_can_be_done(overlay2_root: Path):
    async with disk_of(overlay2_root, (200, 55)) as pilot:
        bar = pilot.app.screen.query_one(KeyBar)
        assert "space Unfold" in shown(bar) and "esc Explore" in shown(bar) and "f3" not in shown(bar)
        await press(pilot, "2")
        assert "space Tick" in shown(bar) and "y Copy commands" in shown(bar) and "/ Filter" not in shown(bar)
        await press(pilot, "slash")
        assert "esc Clear" in shown(bar)
        await press(pilot, "escape", "P")
        assert isinstance(pilot.app.screen, ProblemsScreen)
        assert "f2" not in shown(pilot.app.screen.query_one(KeyBar))


# ---------------------------------------------------------------------- other ends
@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A root that takes forever to count; set once its thread has ended."""
    ended = threading.Event()

    def count(session: Any, *, counted: Any, **options: Any) -> Any:
        try:
            for number in range(1, 3000):
                time.sleep(0.01)
                counted(number * 1000)
        finally:
            ended.set()
        raise AssertionError("nobody has stopped it")

    monkeypatch.setattr(disk, "ledger", count)
    yield ended


async def test_counting_tells_how_far_it_is_and_can_be_cancelled(overlay2_root: Path, endless: threading.Event):
    app = LayerscopeApp(overlay2_root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=SIZE) as pilot:
        await explored(pilot)
        await pilot.press("f3")
        end = time.monotonic() + 10
        while "000 entries" not in shown(app.screen):
            assert time.monotonic() < end, "no count is shown"
            await pilot.pause(0.02)
        assert isinstance(pane(pilot, "ledger").state, Loading)
        await pilot.press("escape")
        assert endless.wait(0.5)
        await pilot.pause()
        assert isinstance(app.screen, DiskScreen)
        state = pane(pilot, "ledger").state
        assert isinstance(state, Empty) and state.why == "not counted"
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, ExploreScreen)


async def test_a_root_that_goes_away_is_told_and_can_be_tried_again(tmp_path: Path):
    root = tmp_path / "lab"
    new_lab(root)
    async with disk_of(root) as pilot:
        assert things_of(pilot).rows
        root.rename(tmp_path / "elsewhere")
        await press(pilot, "r")
        await settled(pilot)
        states = [pane(pilot, name).state for name in ("ledger", "removal")]
        (tmp_path / "elsewhere").rename(root)
        await press(pilot, "r")
        await settled(pilot)
        assert pane(pilot, "ledger").state is None
        assert sum(row.value.disk for row in tree_of(pilot).rows) == du(root)
        assert all(not isinstance(state, Loading) for state in states)


async def test_an_archive_has_no_ledger_and_says_so(tmp_path: Path):
    archive = tmp_path / "image.tar"
    root = tmp_path / "lab"
    new_lab(root)
    words = ["save", "--root", str(root), "base:1.0", "-o", str(archive)]
    subprocess.run([*_LAYERSCOPE, *words], check=True, capture_output=True)
    async with disk_of(archive) as pilot:
        state = pane(pilot, "ledger").state
        assert isinstance(state, Empty) and "no data root" in state.do
        assert "layerscope waste IMAGE" in state.do  # there is no such screen
        told = shown(pilot.app.screen)
        assert all(word not in told for word in ("Filter", "Sort", "tick to see"))


async def test_a_store_whose_rules_are_not_known_still_shows_its_ledger(
    overlay2_root: Path, monkeypatch: pytest.MonkeyPatch
):
    def unknown(*args: Any, **options: Any) -> Any:
        raise disk.UnsupportedError("what this store would give back can't be told yet")

    monkeypatch.setattr(disk, "removal_rows", unknown)
    async with disk_of(overlay2_root) as pilot:
        assert tree_of(pilot).rows and pane(pilot, "ledger").state is None
        assert isinstance(pane(pilot, "removal").state, Empty)


async def test_a_broken_ledger_is_a_failure_with_a_key_to_try_again(
    overlay2_root: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = ledger_service.ledger

    def broken(*args: Any, **options: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "ledger", broken)
    async with disk_of(overlay2_root) as pilot:
        state = pane(pilot, "ledger").state
        assert isinstance(state, Failure) and "Input/output error" in state.message
        monkeypatch.setattr(disk, "ledger", whole)
        await press(pilot, "r")
        await settled(pilot)
        assert pane(pilot, "ledger").state is None


async def test_names_from_the_root_cannot_reach_the_terminal(overlay2_root: Path, tmp_path: Path):
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    (root / "volumes" / "\x1b[31mred\n[bold]").mkdir()
    (root / "overlay2" / "\u202eevil\x07").mkdir()
    async with disk_of(root) as pilot:
        await press(pilot, "Z")
        everything = shown(pilot.app.screen)
        assert "\x1b" not in everything and "\x07" not in everything and "\u202e" not in everything
        tree = tree_of(pilot)
        for index in range(len(tree.rows)):
            tree.cursor = index
            await pilot.pause()
        assert "\x1b" not in facts(pilot)


@pytest.mark.parametrize("size", [(80, 24), SIZE])
async def test_keys_right_behind_a_panes_number_are_meant_for_it(overlay2_root: Path, size: tuple[int, int]) -> None:
    """As a terminal sends them that has several at once: no key waits until the one before it has been acted on."""
    async with disk_of(overlay2_root, size) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, DiskScreen)
        ledger, things = screen.classes_tree, screen.things
        for keys, moved, other, pane in (
            (("2", "down", "down"), things, ledger, 2),
            (("1", "down", "down"), ledger, things, 1),
            (("2", "1", "down"), ledger, things, 1),
            (("down", "2", "down"), things, None, 2),
        ):
            before, kept = moved.cursor, other.cursor if other else 0
            for key in keys:
                pilot.app.post_message(Key(key, key if len(key) == 1 else None))
            await settled(pilot)
            assert moved.cursor > before, keys
            assert other is None or other.cursor == kept, keys
            assert screen.here == pane
            assert moved.has_focus


async def test_digits_in_the_filter_are_text(overlay2_root: Path) -> None:
    async with disk_of(overlay2_root, (80, 24)) as pilot:
        await press(pilot, "slash")
        for key in "2l1":
            await pilot.press(key)
        await settled(pilot)
        assert pilot.app.screen.query_one(Input).value == "2l1"
        assert isinstance(pilot.app.screen, DiskScreen)
        assert pilot.app.screen.here == 1
