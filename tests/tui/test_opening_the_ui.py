"""What the terminal UI does before there is a root on the screen."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from one_screen import NO_SETTINGS, press, settled, shown

from layerscope.drivers.tar_layer import TarLayers
from layerscope.errors import PermissionDenied, RootError
from layerscope.formats.tar.tree import TarDirectory
from layerscope.model.digest import CacheID
from layerscope.services import Session
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.opening import open_aside, opener
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.screens.unopened import UnopenedScreen
from layerscope.tui.settings import chosen_theme
from layerscope.tui.theme import DEFAULT_THEME
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.frame.key_bar import KeyBar


async def test_a_path_that_is_no_root_is_told_and_tried_again(overlay2_root: Path, tmp_path: Path):
    root = tmp_path / "root"
    app = LayerscopeApp(root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(200, 40)) as pilot:
        await settled(pilot)
        assert isinstance(app.screen, UnopenedScreen)
        text = shown(app.screen)
        assert f"cannot open “{root}”: there is no such directory" in text
        assert "layerscope demo shows a ready root" in text
        assert "read-only" not in text
        await press(pilot, "r")
        assert isinstance(app.screen, UnopenedScreen)
        shutil.copytree(overlay2_root / "image", root / "image")
        (root / "overlay2").mkdir()
        await press(pilot, "r")
        assert isinstance(app.screen, ExploreScreen)
        assert app.screen.query_one(EntityList).rows
        await press(pilot, "q")
    assert app.return_code == 0


@pytest.mark.parametrize(("error", "advice"), [(RootError, "layerscope demo"), (PermissionDenied, "sudo shows it")])
async def test_quitting_without_a_root_ends_with_its_exit_code(error: type[RootError], advice: str):
    def refuse() -> None:
        raise error("cannot open it: so it is")

    app = LayerscopeApp(Path("/x"), refuse, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "cannot open it: so it is" in shown(app.screen)
        assert advice in shown(app.screen)
        await press(pilot, "q")
    assert app.return_code == error.exit_code == 3


async def test_a_root_that_is_open_just_after_the_first_frame_is_shown(overlay2_root: Path):
    ready = open_aside(opener(overlay2_root))
    ready.result(30)

    class TooLate(type(ready)):  # type: ignore[misc]
        """Not done yet when it is asked first, done before anybody could wait for it."""

        def result(self, timeout: float | None = None) -> object:
            if timeout is not None:
                raise TimeoutError
            return super().result()

    opened = TooLate()
    opened.set_result(ready.result())
    app = LayerscopeApp(overlay2_root, opened=opened, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert isinstance(app.screen, ExploreScreen)


async def test_a_slow_root_does_not_hold_up_the_screen(overlay2_root: Path):
    go_on = threading.Event()
    open_it = opener(overlay2_root)

    def slowly() -> object:
        go_on.wait(20)
        return open_it()

    app = LayerscopeApp(overlay2_root, slowly, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        told = shown(app.screen)
        assert "opening…" in told and "Opening the root" in told and "No root" not in told
        go_on.set()
        await settled(pilot)
        assert isinstance(app.screen, ExploreScreen)


async def test_an_archive_is_listed_before_its_layers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those of a compressed one have to be read through, which may take long."""
    root, archive = tmp_path / "lab", tmp_path / "image.tar"
    for words in (["lab", "new", str(root)], ["save", "--root", str(root), "base:1.0", "-o", str(archive)]):
        subprocess.run([sys.executable, "-m", "layerscope", *words], check=True)
    go_on = threading.Event()
    open_layer = TarLayers.open_layer

    def slowly(self: TarLayers, cache_id: CacheID) -> TarDirectory:
        assert go_on.wait(30)
        return open_layer(self, cache_id)

    monkeypatch.setattr(TarLayers, "open_layer", slowly)
    monkeypatch.setattr("layerscope.tui.opening._PATIENCE", 0.05)
    ready = open_aside(opener(archive))
    assert ready.result(10).first is None
    app = LayerscopeApp(archive, opened=ready, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            if "reading the layers" in shown(app.screen):
                break
        assert "base:1.0" in shown(app.screen)
        assert shown(app.screen).count("reading the layers…") == 2
        go_on.set()
        await settled(pilot)
        assert "reading the layers" not in shown(app.screen)
        assert "os-release" in shown(app.screen) or "etc/" in shown(app.screen)


async def test_records_that_cannot_be_read_are_told_in_words(overlay2_root: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(session: Session) -> list[Any]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), ".")

    monkeypatch.setattr(Session, "images", denied)
    app = LayerscopeApp(overlay2_root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(200, 55)) as pilot:
        await settled(pilot)
        told = " ".join(shown(app.screen).split())
        assert "cannot read the records: Permission denied" in told
        assert "Errno" not in told
        assert "no layers" in told and "no files" in told
        assert app.screen.query("#facts")


async def test_a_root_without_anything_says_so(tmp_path: Path):
    for folder in ("image/overlay2/imagedb/content/sha256", "overlay2/l", "containers"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "image/overlay2/repositories.json").write_text('{"Repositories":{}}')
    app = LayerscopeApp(tmp_path, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        told = shown(app.screen)
        assert "nothing here yet" in told and "f3 what is on disk" in told
        assert "they are those of a container or image" in told
        offered = shown(app.screen.query_one(KeyBar))
        assert "Disk" in offered and "Filter" not in offered and "Diff" not in offered
        for key in ("m", "left_square_bracket", "s", "d", "i", "y", "slash", "escape", "plus", "r", "A"):
            await press(pilot, key)
        assert isinstance(app.screen, ExploreScreen)


def test_what_goes_wrong_while_opening_is_raised_where_it_is_asked_for(tmp_path: Path):
    with pytest.raises(RootError):
        open_aside(opener(tmp_path)).result(10)


def test_without_privilege_it_is_said_that_root_may(
    overlay2_root: Path, nobody: Callable[[], AbstractContextManager[None]], tmp_path: Path
):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (tmp_path).chmod(0o755)
    with nobody():
        opened = open_aside(opener(closed / "root"))
        with pytest.raises(RootError):
            opened.result(10)


# ---------------------------------------------------------------------- the theme
def test_the_theme_comes_from_the_variable_then_from_the_settings(tmp_path: Path):
    assert chosen_theme({}, tmp_path) == DEFAULT_THEME
    (tmp_path / "settings.toml").write_text('theme = "layerscope-light"\n')
    assert chosen_theme({}, tmp_path) == "layerscope-light"
    assert chosen_theme({"LAYERSCOPE_THEME": "mine"}, tmp_path) == "mine"
    assert chosen_theme({"LAYERSCOPE_THEME": ""}, tmp_path) == "layerscope-light"


@pytest.mark.parametrize("text", ["theme = 3", "theme =", "\x00", 'colour = "red"'])
def test_settings_that_cannot_be_used_count_as_none(tmp_path: Path, text: str):
    (tmp_path / "settings.toml").write_text(text)
    assert chosen_theme({}, tmp_path) == DEFAULT_THEME


async def test_settings_that_cannot_be_used_are_told(overlay2_root: Path, tmp_path: Path):
    (tmp_path / "keys.toml").write_text('"app.nothing" = "z"\n')
    app = LayerscopeApp(overlay2_root, settings=tmp_path, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert any("there is no action of that id" in note.message for note in app._notifications)
