"""Keys that come together, as from a fast typist, a slow line or a paste: each finds what the one before has left."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lab_roots import make_lab, upper_of
from many_roots import make_root
from one_screen import NO_SETTINGS, settled
from textual.app import ComposeResult
from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, Static

from layerscope.tui import key_order
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.look import LookApp
from layerscope.tui.opening import open_aside, opener
from layerscope.tui.screens import disk, explore_writing
from layerscope.tui.screens.dialogs import dialog
from layerscope.tui.screens.disk import DiskScreen
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.sources.records import Records, read_records
from layerscope.tui.widgets.entities import pane as entities_pane
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.rows.line_view import LineView
from layerscope.tui.widgets.stack.blocks import LayerStack

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root the sample's layers can't be read")
COUNT = 320


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys wait for what comes next, however busy this machine is."""
    monkeypatch.setattr(key_order, "NEW_SCREEN_SECONDS", 60.0)
    monkeypatch.setattr(key_order, "_LOST_SECONDS", 60.0)
    monkeypatch.setattr(explore_writing, "NEW_SCREEN_SECONDS", 60.0)
    monkeypatch.setattr(explore_writing, "_DIALOG_SECONDS", 60.0)
    monkeypatch.setattr(dialog, "_JOB_SECONDS", 60.0)


def events(keys: str) -> list[Key]:
    """The events of keys with blanks between them."""
    found = []
    for key in keys.split():
        name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
        found.append(Key(name, key if len(key) == 1 else None))
    return found


async def at_once(pilot: Pilot[Any], keys: str) -> None:
    """Press keys as a terminal sends them that has several at once."""
    for event in events(keys):
        pilot.app.post_message(event)
    await all_done(pilot)


async def all_done(pilot: Pilot[Any]) -> None:
    app, end = pilot.app, time.monotonic() + 60
    assert isinstance(app, LookApp)
    await pilot.pause()
    while not app._exit and (app._acting or app._keys_to_come):
        assert time.monotonic() < end, "keys are left over"
        await asyncio.sleep(0.01)
    if app.is_running:
        await settled(pilot)


async def one_by_one(pilot: Pilot[Any], keys: str) -> None:
    """Press each key when all that came of the one before is done."""
    for event in events(keys):
        pilot.app.post_message(event)
        await all_done(pilot)


@asynccontextmanager
async def exploring(root: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[Any]]:
    app = LayerscopeApp(root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=size) as pilot:
        end = time.monotonic() + 30
        while not isinstance(app.screen, ExploreScreen):
            assert time.monotonic() < end, "the root isn't opened"
            await pilot.pause(0.02)
        await settled(pilot)
        yield pilot


def standing(pilot: Pilot[Any]) -> list[object]:
    """Which screens there are, what has the focus, where every cursor is, what was typed."""
    found: list[object] = [pilot.app.is_running]
    for screen in pilot.app.screen_stack if pilot.app.is_running else ():
        focused = screen.focused
        found += [type(screen).__name__, type(focused).__name__, focused.id if focused is not None else None]
        for view in screen.query(LineView):
            row = view.rows[view.cursor] if view.rows else None
            found.append((view.id, getattr(row, "path", getattr(row, "name", view.cursor))))
        found += [stack.cursor for stack in screen.query(LayerStack)]
        found += [field.value for field in screen.query(Input)]
    return found


# ---------------------------------------------------------------------- every screen
_SEQUENCES = (
    "1 down down 3 down",
    "1 down 2 down 3 down",
    "2 down enter down",
    "1 down enter down l down",
    "tab down tab down shift+tab down",
    "3 plus 2 down underscore 1 down",
    "4 plus down escape 1 down",
    "f3 down 2 down",
    "f3 2 down 1 down down 3 down",
    "f3 escape 1 down",
    "f3 f2 3 down",
    "f3 escape f3 down",
    "f3 / v o l",
    "f3 plus tab down escape 1 down",
    "f3 ? down escape 2 down",
    "? down q 1 down",
    "i down down escape 1 down",
    "i / l a y e r",
    "P down escape 3 down",
    "1 d down escape 1 down",
    "3 down d down escape down",
    "/ e t c",
    "/ 2 l 1 q",
    "f3 escape / e t c",
    "ctrl+p d i s k",
    "r 1 down",
)
_ALWAYS = {
    ((120, 40), "1 down 2 down 3 down"),
    ((120, 40), "1 down enter down l down"),
    ((120, 40), "3 plus 2 down underscore 1 down"),
    ((120, 40), "f3 2 down 1 down down 3 down"),
    ((120, 40), "f3 escape f3 down"),
    ((120, 40), "f3 / v o l"),
    ((120, 40), "f3 ? down escape 2 down"),
    ((120, 40), "i / l a y e r"),
    ((120, 40), "f3 escape / e t c"),
    ((80, 24), "1 down 2 down 3 down"),
    ((80, 24), "f3 2 down 1 down down 3 down"),
}
"""Those that differ most; the others are pressed in the full run."""
_CASES = [
    pytest.param(
        size, keys, id=f"{size[0]}x{size[1]} {keys}", marks=[] if (size, keys) in _ALWAYS else [pytest.mark.full]
    )
    for size in ((120, 40), (80, 24))
    for keys in _SEQUENCES
]


@as_root
@pytest.mark.parametrize(("size", "keys"), _CASES)
async def test_keys_at_once_do_what_they_do_one_by_one(
    overlay2_root: Path, patient: None, keys: str, size: tuple[int, int]
) -> None:
    async with exploring(overlay2_root, size) as pilot:
        await one_by_one(pilot, keys)
        expected = standing(pilot)
    async with exploring(overlay2_root, size) as pilot:
        await at_once(pilot, keys)
        assert standing(pilot) == expected


@as_root
async def test_a_text_right_behind_its_key_is_no_command(overlay2_root: Path) -> None:
    async with exploring(overlay2_root) as pilot:
        await at_once(pilot, "/ 1 q r x")
        assert pilot.app.screen.query_one(Input).value == "1qrx"
        await at_once(pilot, "escape f3 / 2 q f 1")
        assert isinstance(pilot.app.screen, DiskScreen)
        assert pilot.app.screen.query_one(Input).value == "2qf1"


@as_root
async def test_a_filter_typed_while_everything_is_counted_counts(
    overlay2_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, count = threading.Event(), disk.ledger

    def wait(*args: Any, **options: Any) -> Any:
        assert going_on.wait(30)
        return count(*args, **options)

    monkeypatch.setattr(disk, "ledger", wait)
    async with exploring(overlay2_root) as pilot:
        try:
            for event in events("f3 / v o l u m e s"):
                pilot.app.post_message(event)
            end = time.monotonic() + 30
            while not (found := pilot.app.screen.query(Input)) or found.first(Input).value != "volumes":
                assert time.monotonic() < end, "what was typed isn't there"
                await pilot.pause(0.02)
        finally:
            going_on.set()
        await all_done(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, DiskScreen)
        assert isinstance(screen.focused, Input)
        paths = [row.value.entry.path for row in screen.classes_tree.rows if row.value.entry is not None]
        assert paths and all("volumes" in path for path in paths)


async def test_a_name_right_behind_the_key_of_a_dialog_is_its_name(tmp_path: Path, patient: None) -> None:
    root = make_lab(tmp_path / "lab")
    upper = upper_of(root, "web")
    async with exploring(root) as pilot:
        await at_once(pilot, "3 a / x e q enter")
        assert (upper / "xeq").is_file()
        await at_once(pilot, "a / r c p enter x enter")
        assert not (upper / "rcp").exists()
        assert {path.name for path in upper.iterdir() if path.is_file()} == {"xeq"}


# ---------------------------------------------------------------------- a root with many containers
@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "root"
    make_root(path, COUNT)
    return path


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set it, and the records are read."""
    going_on = threading.Event()

    def wait(session: object) -> Records:
        assert going_on.wait(30)
        return read_records(session)  # type: ignore[arg-type]

    monkeypatch.setattr(entities_pane, "read_records", wait)
    yield going_on
    going_on.set()


@asynccontextmanager
async def glimpsed(many: Path, early: str) -> AsyncIterator[Pilot[Any]]:
    """The screen with names only, on which keys were pressed before the first frame."""
    opened = open_aside(opener(many))
    assert opened.result(30).first is not None
    app = LayerscopeApp(many, opener(many), opened, settings=NO_SETTINGS, live=False)
    for event in events(early):
        app.post_message(event)
    async with app.run_test(size=(160, 40)) as pilot:
        await all_pressed(pilot)
        yield pilot


async def all_pressed(pilot: Pilot[Any]) -> None:
    """Until keys have been acted on, though the records are not read."""
    app, end = pilot.app, time.monotonic() + 30
    assert isinstance(app, LookApp)
    await pilot.pause()
    while not app._exit and (app._acting or app._keys_to_come):
        assert time.monotonic() < end, "keys are left over"
        await asyncio.sleep(0.01)
    for _ in range(3):
        await pilot.pause()


def box(screen: Screen[Any]) -> str:
    entities = screen.query_one(EntityList)
    return entities.rows[entities.cursor].name


@pytest.mark.parametrize(
    ("keys", "name"),
    [("j", 318), ("j j j k", 317), ("G", 0), ("j enter", 318), ("j tab tab", 318), ("j j 3 down", 317)],
)
async def test_the_cursor_stays_on_its_container_when_records_come(
    many: Path, records: threading.Event, keys: str, name: int
) -> None:
    async with glimpsed(many, keys) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ExploreScreen)
        assert len(screen.query_one(EntityList).rows) == 1 + COUNT
        assert box(screen) == f"box{name}"
        focused = screen.focused
        records.set()
        await settled(pilot)
        await settled(pilot)
        assert len(screen.query_one(EntityList).rows) == 1 + COUNT + 2 + COUNT
        assert box(screen) == f"box{name}"
        assert screen.stack is not None and screen.stack.subject.name == f"box{name}"
        assert screen.focused is focused
        if keys == "j enter":
            assert isinstance(focused, MergedTree)


async def test_a_filter_is_typed_before_records_come(many: Path, records: threading.Event) -> None:
    async with glimpsed(many, "j / f i q 1") as pilot:
        field = pilot.app.screen.query_one(Input)
        assert (field.value, field.has_focus) == ("fiq1", True)
        records.set()
        await settled(pilot)
        await settled(pilot)
        assert (field.value, field.has_focus) == ("fiq1", True)
        assert box(pilot.app.screen) == "box318"


async def test_it_can_be_left_before_records_come(many: Path, records: threading.Event) -> None:
    async with glimpsed(many, "j q j") as pilot:
        assert pilot.app._exit
        records.set()


# ---------------------------------------------------------------------- reading again
async def test_a_cursor_moved_while_records_are_read_again_stays_there(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with exploring(many) as pilot:
        going_on = threading.Event()

        def wait(session: object) -> Records:
            assert going_on.wait(30)
            return read_records(session)  # type: ignore[arg-type]

        monkeypatch.setattr(entities_pane, "read_records", wait)
        try:
            for event in events("1 r j j"):
                pilot.app.post_message(event)
            await all_pressed(pilot)
            assert box(pilot.app.screen) == f"box{COUNT - 3}"
        finally:
            going_on.set()
        await settled(pilot)
        await settled(pilot)
        assert box(pilot.app.screen) == f"box{COUNT - 3}"


# ---------------------------------------------------------------------- what goes wrong
class Vanishing(LookApp[None]):
    """A key takes away what it was pressed on."""

    BINDINGS = [("f5", "take", "Take"), ("f6", "count", "Count")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(settings=NO_SETTINGS)
        self.counted = 0

    def compose(self) -> ComposeResult:
        yield Input()
        yield Static("no rows")

    def action_take(self) -> None:
        self.query_one(Input).remove()

    def action_count(self) -> None:
        self.counted += 1


async def test_keys_go_on_when_what_had_the_focus_is_gone() -> None:
    app = Vanishing()
    async with app.run_test() as pilot:
        assert isinstance(app.focused, Input)
        await at_once(pilot, "f5 f6 f6 f6")
        assert app.counted == 3


async def test_a_key_that_gets_lost_holds_the_others_up_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_order, "_LOST_SECONDS", 0.05)
    app = Vanishing()
    async with app.run_test() as pilot:
        monkeypatch.setattr(app, "_climb", lambda *_: None)
        await pilot.pause()
        for event in events("f6 f6 f6"):
            app.post_message(event)
        end = time.monotonic() + 20
        while app.counted < 3:
            assert time.monotonic() < end, "keys are lost"
            await pilot.pause(0.02)
