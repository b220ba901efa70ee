"""How the Explore screen looks, kept as pictures; ``pytest --snapshot-update`` on this file renews them."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from one_screen import NO_SETTINGS, press, settled, shown
from textual.pilot import Pilot
from textual.widgets import Input

from layerscope.services.demo import demo_root
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.sources import search
from layerscope.tui.widgets.details import pane as details
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.frame.filter_bar import FilterBar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without root the demo's files belong to another user")

SIZES = ((80, 24), (120, 40), (200, 55))
THEMES = ("layerscope-dark", "layerscope-light")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield demo_root()


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One time zone; inodes are what the file system happened to give."""
    made = details.facts_of

    def without_inodes(*args: Any) -> list[Any]:
        return [
            tuple(re.sub(r"inode \d+", "inode 4711", part) if isinstance(part, str) else part for part in fact)
            for fact in made(*args)
        ]

    monkeypatch.setattr(details, "facts_of", without_inodes)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def app_on(root: Path, **options: Any) -> LayerscopeApp:
    return LayerscopeApp(
        root, settings=NO_SETTINGS, live=False, read_only=True, shown_path="/var/lib/docker", **options
    )


def after(*keys: str, on: str = "etc/nginx/nginx.conf") -> Callable[[Pilot[Any]], Any]:
    """With the cursor on a file of web-1, and then ``keys`` pressed."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        entities = pilot.app.screen.query_one(EntityList)
        entities.cursor = next(index for index, row in enumerate(entities.rows) if row.name == "web-1")
        await settled(pilot)
        await press(pilot, "3")
        tree = pilot.app.screen.query_one(MergedTree)
        for folder in ("etc", "etc/nginx"):
            tree.go_to(folder)
            await press(pilot, *[] if tree.rows[tree.cursor].open else ["l"])
        tree.go_to(on)
        await press(pilot, *keys)
        for _ in range(3):  # the details follow in several steps
            await settled(pilot)

    return prepare


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_explore(snap_compare: Any, root: Path, size: tuple[int, int], theme: str):
    assert snap_compare(app_on(root, theme=theme), terminal_size=size, run_before=after())


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_cut_stack(snap_compare: Any, root: Path, size: tuple[int, int], theme: str):
    cut = after("2", "j", "j", "j", "j")
    assert snap_compare(app_on(root, theme=theme), terminal_size=size, run_before=cut)


def test_one_layer_alone(snap_compare: Any, root: Path):
    assert snap_compare(app_on(root), terminal_size=(120, 40), run_before=after("m"))


def test_a_filter(snap_compare: Any, root: Path, monkeypatch: pytest.MonkeyPatch):
    # How far the tree is scrolled in the end hangs on what was found first: everything in one go, for the whole word.
    monkeypatch.setattr(search, "_BATCH", math.inf)

    async def prepare(pilot: Pilot[Any]) -> None:
        await after("slash")(pilot)
        bar = pilot.app.screen.query_one(FilterBar)
        bar.query_one(Input).value = "nginx"
        end = time.monotonic() + 30
        while not re.search(r"\d found", shown(bar)):
            assert time.monotonic() < end, "the search doesn't end"
            await pilot.pause(0.02)
        await press(pilot, "enter", "n")
        await settled(pilot)

    assert snap_compare(app_on(root), terminal_size=(120, 40), run_before=prepare)


def test_plain_ascii(snap_compare: Any, root: Path):
    assert snap_compare(app_on(root, ascii_only=True), terminal_size=(120, 40), run_before=after())


def test_high_contrast(snap_compare: Any, root: Path):
    app = app_on(root, theme="layerscope-high-contrast")
    assert snap_compare(app, terminal_size=(120, 40), run_before=after())
