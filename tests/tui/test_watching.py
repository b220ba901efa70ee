"""What changes on disk while it is looked at appears, where it happened."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from one_screen import NO_SETTINGS, settled
from textual.pilot import Pilot

from layerscope import open_root
from layerscope.model.level import Level
from layerscope.services import Session
from layerscope.services import watch as watching
from layerscope.services.watch import Moved, watch
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.glyphs import Mark
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.stack.blocks import LayerStack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the copy of the sample keeps its marks only as root")


@pytest.fixture
def root(overlay2_root: Path, tmp_path: Path) -> Path:
    """A copy of the sample to change."""
    copy = tmp_path / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(copy)], check=True)
    return copy


def upper_of(root: Path, name: str) -> Path:
    with open_root(root) as session:
        return root / (session.levels(session.find(name))[-1].path or "")


async def until(pilot: Pilot[Any], happened: Callable[[], bool]) -> None:
    """Wait until it did: a second on a machine with nothing else to do, longer on a busy one."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, "nothing happened"
        await pilot.pause(0.02)


async def watched(pilot: Pilot[Any], upper: Path) -> None:
    """Wait until the kernel watches: what is made and removed again leaves no trace but is told."""
    end = time.monotonic() + 20
    probe = upper / ".probe"
    tree = pilot.app.screen.query_one(MergedTree)
    while ".probe" not in tree.fresh and ".probe" not in {row.path for row in tree.rows}:
        assert time.monotonic() < end, "it isn't watched"
        probe.touch()
        await pilot.pause(0.1)
    probe.unlink()
    while ".probe" in {row.path for row in tree.rows}:
        assert time.monotonic() < end
        await pilot.pause(0.02)


@needs_root
async def test_a_change_in_the_upper_directory_appears_where_it_happened(root: Path):
    upper = upper_of(root, "editor")
    app = LayerscopeApp(root, settings=NO_SETTINGS)
    async with app.run_test(size=(120, 60)) as pilot:
        await settled(pilot)
        entities = app.screen.query_one(EntityList)
        entities.cursor = next(index for index, row in enumerate(entities.rows) if row.name == "editor")
        await settled(pilot)
        tree, stack = app.screen.query_one(MergedTree), app.screen.query_one(LayerStack)
        await watched(pilot, upper)
        await until(pilot, lambda: stack.blocks[0].size is not None)
        before = stack.blocks[0].size or 0

        def row(path: str) -> Any:
            return tree.model.row_at(path)

        (upper / "etc/fresh.conf").write_text("x" * 1000)
        await until(pilot, lambda: row("etc/fresh.conf") is not None)
        assert row("etc/fresh.conf").value.mark is Mark.ADDED
        await until(pilot, lambda: "etc/fresh.conf" in tree.fresh)
        await until(pilot, lambda: stack.blocks[0].size == before + 1000)
        (upper / "etc/fresh.conf").unlink()
        await until(pilot, lambda: row("etc/fresh.conf") is None)
        assert row("etc/passwd").value.mark is Mark.SAME
        os.mknod(upper / "etc/passwd", stat.S_IFCHR, os.makedev(0, 0))
        await until(pilot, lambda: row("etc/passwd").value.mark is Mark.WHITEOUT)
        (upper / "made").mkdir()
        (upper / "made/inside").write_text("y")
        await until(pilot, lambda: row("made") is not None)


def test_only_records_and_the_one_upper_directory_are_watched(root: Path):
    upper, other = upper_of(root, "editor"), upper_of(root, "writer")
    container = next((root / "containers").iterdir())
    told: list[Moved] = []
    stop, new = threading.Event(), threading.Condition()

    def follow() -> None:
        with open_root(root) as session:
            for moved in watch(session, session.levels(session.find("editor")), stop):
                with new:
                    told.append(moved)
                    new.notify()

    thread = threading.Thread(target=follow)
    thread.start()

    def next_told(change: Callable[[], object], wanted: Callable[[Moved], bool] = lambda moved: True) -> Moved:
        end = time.monotonic() + 20
        with new:
            told.clear()
            while not any(map(wanted, told)):
                assert time.monotonic() < end, "it was not told"
                change()
                new.wait(0.3)
            return next(filter(wanted, told))

    try:
        assert next_told((upper / "a").touch) == Moved(False, frozenset({"a"}), frozenset({""}))
        # Neither another container's files nor a log are of interest.
        (other / "b").touch()
        (container / f"{container.name}-json.log").write_text("a line\n")
        moved = next_told(lambda: (upper / "etc/c").touch())
        assert moved == Moved(False, frozenset({"etc/c"}), frozenset({"etc"}))
        assert next_told(lambda: os.utime(container / "config.v2.json")).records
        assert next_told(lambda: shutil.copytree(container, root / "containers" / "new", dirs_exist_ok=True)).records
        (upper / "deep/er").mkdir(parents=True)
        next_told((upper / "deep/er/d").touch, lambda moved: "deep/er" in moved.folders)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def test_what_is_made_before_the_kernel_watches_is_watched_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upper, real = upper_of(root, "editor"), watching._find_folders

    def late(session: Session, levels: tuple[Level, ...]) -> Any:
        found = real(session, levels)
        (upper / "deep/er").mkdir(parents=True, exist_ok=True)
        return found

    monkeypatch.setattr(watching, "_find_folders", late)
    stop, told = threading.Event(), threading.Event()

    def follow() -> None:
        with open_root(root) as session:
            for moved in watch(session, session.levels(session.find("editor")), stop):
                if "deep/er/d" in moved.paths:
                    told.set()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        end = time.monotonic() + 20
        while not told.is_set():
            assert time.monotonic() < end, "it was not told"
            if (upper / "deep/er").is_dir():
                (upper / "deep/er/d").touch()
            told.wait(0.3)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def test_watching_changes_no_access_time(root: Path):
    def times() -> dict[str, int]:
        return {top: os.stat(top).st_atime_ns for top, _, _ in os.walk(root)}

    times()  # walking itself may set them once
    before = times()
    stop = threading.Event()
    with open_root(root) as session:
        levels = session.levels(session.find("editor"))
        threading.Timer(1.0, stop.set).start()
        assert list(watch(session, levels, stop)) == []
    assert times() == before
