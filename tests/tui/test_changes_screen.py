"""What a container changed, on the screen: the engine's own list, sorted, filtered, and left with a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from one_screen import OneScreen, lines, press, settled, shown
from textual.pilot import Pilot

from layerscope import open_root
from layerscope.model.change import Change, ChangeKind, Reason
from layerscope.services import Session
from layerscope.tui.glyphs import Mark
from layerscope.tui.screens.changes import ChangesScreen
from layerscope.tui.sources.arrangement import Category
from layerscope.tui.sources.change_rows import (
    ChangeArrangement,
    ChangeOrder,
    count_changes,
    mark_of_change,
)
from layerscope.tui.widgets.details.change_list import ChangeList
from layerscope.tui.widgets.frame.states import Empty, Failure

needs_marks = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


def changes_of(session: Session, name: str, **options: Any) -> OneScreen:
    return OneScreen(lambda: ChangesScreen(session, session.find(name)), **options)


def listed(pilot: Pilot[None]) -> list[str]:
    """``C /etc`` for each row of the list."""
    return [f"{change.kind.value} /{change.path}" for change in pilot.app.screen.query_one(ChangeList).rows]


@needs_marks
@pytest.mark.parametrize("name", ["editor", "writer"])
async def test_the_lines_of_docker_diff(session: Session, name: str, sample_truth: Callable[..., Any]):
    async with changes_of(session, name).run_test(size=(120, 50)) as pilot:
        await settled(pilot)
        truth = sorted(sample_truth("overlay2", "diff")[name], key=lambda line: line[2:].encode())
        assert listed(pilot) == truth
        drawn = lines(pilot.app.screen.query_one(ChangeList))[1:]
        for line, expected in zip(drawn, truth, strict=False):
            assert line.split()[0] == expected[0]
            assert f" {expected[2:]} " in line


@needs_marks
async def test_reasons_sizes_and_counts(session: Session):
    async with changes_of(session, "editor").run_test(size=(120, 50)) as pilot:
        await settled(pilot)
        text = lines(pilot.app.screen.query_one(ChangeList))
        (motd,) = [line.split() for line in text if "/etc/motd" in line]
        assert motd[:4] == ["C", "~", "/etc/motd", "content"]
        assert motd[4:8] == ["31", "B", "20", "B"]
        assert motd[8:] == ["6", "over", "2"]
        frame = lines(pilot.app.screen.query_one("#over"))
        assert "Changes of editor" in frame[0]
        kinds = [line[0] for line in listed(pilot)]
        assert f"A {kinds.count('A')}  C {kinds.count('C')}  D {kinds.count('D')}" in frame[-1]


@needs_marks
async def test_sort_filter_and_hide(session: Session):
    async with changes_of(session, "editor").run_test(size=(120, 50)) as pilot:
        await settled(pilot)
        everything = listed(pilot)
        await press(pilot, "s")
        assert listed(pilot)[0] == "C /data/sparse"
        await press(pilot, "S")
        assert listed(pilot)[-1] == "C /data/sparse"
        await press(pilot, "s", "s")
        assert listed(pilot) == everything
        await press(pilot, "U", "A")
        assert {line[0] for line in listed(pilot)} == {"C", "D"}
        assert "C /etc" not in listed(pilot)
        await press(pilot, "M", "D")
        state = pilot.app.screen.query_one("#over").state  # type: ignore[attr-defined]
        assert isinstance(state, Empty)
        await press(pilot, "U", "A", "M", "D")
        assert listed(pilot) == everything
        await press(pilot, "slash", *"motd is not in it")
        await settled(pilot)
        state = pilot.app.screen.query_one("#over").state  # type: ignore[attr-defined]
        assert state == Empty("nothing fits", "no path holds what is typed", (("esc", "show all again"),))
        await press(pilot, "escape", "slash", *"motd")
        await settled(pilot)
        assert listed(pilot) == ["C /etc/motd"]
        await press(pilot, "escape")
        assert listed(pilot) == everything


@needs_marks
async def test_enter_ends_with_the_path(session: Session):
    app = changes_of(session, "editor")
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "slash", *"app.conf", "enter", "enter")
        assert app.results == ["etc/app.conf"]


@needs_marks
async def test_every_difference_there_is(session: Session):
    async with changes_of(session, "editor").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "t")
        assert "every difference" in lines(pilot.app.screen.query_one("#over"))[0]
        exact = session.changes(session.find("editor"), corrected=True)
        assert listed(pilot) == [f"{change.kind.value} /{change.path}" for change in exact]


async def test_of_an_image_what_its_top_layer_changed(session: Session, sample_truth: Callable[..., Any]):
    async with changes_of(session, "layerscope/app:1.0@2").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        assert "Changes of layer 2 of layerscope/app:1.0" in lines(pilot.app.screen.query_one("#over"))[0]
        assert "C /etc/motd" in listed(pilot)


async def test_nothing_changed(session: Session):
    async with changes_of(session, "idle").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        state = pilot.app.screen.query_one("#over").state  # type: ignore[attr-defined]
        assert isinstance(state, Empty)
        assert state.why == "nothing was changed"
        await press(pilot, "enter", "s", "A", "escape")
        assert not isinstance(pilot.app.screen, ChangesScreen)


async def test_a_container_without_its_layer(records_copy: Path):
    mounts = records_copy / "image" / "overlay2" / "layerdb" / "mounts"
    with open_root(records_copy) as opened:
        subject = opened.find("editor")
        assert subject.container is not None
        (mounts / subject.container.id / "mount-id").unlink()
    with open_root(records_copy) as opened:
        app = OneScreen(lambda: ChangesScreen(opened, opened.find("editor")))
        async with app.run_test(size=(100, 30)) as pilot:
            await settled(pilot)
            state = pilot.app.screen.query_one("#over").state  # type: ignore[attr-defined]
            assert state is None or isinstance(state, Failure | Empty)


async def test_ascii_alone(session: Session):
    async with changes_of(session, "writer", ascii_only=True).run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        assert shown(pilot.app.screen).isascii()


# ---------------------------------------------------------------------- rows
def change(path: str, kind: ChangeKind, reason: Reason, size: int | None = None) -> Change:
    return Change(path, kind, reason, size)


CHANGES = [
    change("a", ChangeKind.CHANGED, Reason.ANCESTOR),
    change("a/b", ChangeKind.ADDED, Reason.ADDED, 10),
    change("a/c", ChangeKind.CHANGED, Reason.CONTENT, 30),
    change("a/d", ChangeKind.DELETED, Reason.WHITEOUT),
    change("a-z", ChangeKind.CHANGED, Reason.OPAQUE),
    change("a-z/x", ChangeKind.DELETED, Reason.OPAQUE),
]


def test_marks_of_changes():
    assert [mark_of_change(one) for one in CHANGES] == [
        Mark.WITHIN,
        Mark.ADDED,
        Mark.MODIFIED,
        Mark.WHITEOUT,
        Mark.OPAQUE,
        Mark.WHITEOUT,
    ]
    assert all(mark_of_change(change("x", ChangeKind.CHANGED, reason)) for reason in Reason)


def test_arrangement():
    arrangement = ChangeArrangement()
    assert [one.path for one in arrangement.arranged(CHANGES)] == ["a", "a-z", "a-z/x", "a/b", "a/c", "a/d"]
    by_size = replace(arrangement, order=ChangeOrder.SIZE)
    assert [one.path for one in by_size.arranged(CHANGES)][:2] == ["a/c", "a/b"]
    hidden = arrangement.toggled(Category.UNMODIFIED).toggled(Category.DELETED)
    assert [one.path for one in hidden.arranged(CHANGES)] == ["a-z", "a/b", "a/c"]
    assert hidden.toggled(Category.UNMODIFIED).toggled(Category.DELETED) == arrangement
    assert [one.path for one in replace(arrangement, text="a/*").arranged(CHANGES)] == ["a/b", "a/c", "a/d"]
    assert arrangement.next_order().next_order().next_order() == arrangement


def test_counts():
    counts = count_changes(CHANGES)
    assert (counts.added, counts.changed, counts.deleted, counts.stored) == (1, 3, 2, 40)
