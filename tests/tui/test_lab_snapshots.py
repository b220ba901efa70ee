"""How the dialogs of a lab look, kept as pictures; ``pytest --snapshot-update`` on this file renews them."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_roots import app_on, ask, choose, fill, make_lab, stand_on, until
from one_screen import settled
from textual.pilot import Pilot
from textual.widgets import TextArea

from layerscope import open_root
from layerscope.model.level import Role
from layerscope.services.lab.lab import commit_options, open_lab
from layerscope.tui.screens.dialogs.commit import CommitDialog
from layerscope.tui.widgets.details import pane as details

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without root owners and whiteouts lie there in another form")

SIZES = ((80, 24), (120, 40), (200, 55))
THEMES = ("layerscope-dark", "layerscope-light")
WHEN = "2026-03-12T10:22:00Z"
WHEN_NS = 1_773_310_920 * 10**9


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One time zone, the same ids each time; inodes are what the file system happened to give."""
    made, numbers = details.facts_of, itertools.count(1)

    def without_inodes(*args: Any) -> list[Any]:
        return [
            tuple(re.sub(r"inode \d+", "inode 4711", part) if isinstance(part, str) else part for part in fact)
            for fact in made(*args)
        ]

    monkeypatch.setattr(details, "facts_of", without_inodes)
    monkeypatch.setattr(secrets, "token_hex", lambda count=32: f"{next(numbers) * 0x9E3779B97F4A7C15:x}".zfill(64)[:64])
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def set_times(root: Path) -> None:
    """Give one time to all that the container's init and writable layers hold."""
    with open_root(root) as session:
        tops = [root / str(level.path) for level in session.levels(session.find("web")) if level.role is not Role.IMAGE]
    for top in tops:
        for folder, _, names in os.walk(top, topdown=False):
            for path in [*(Path(folder, name) for name in names), Path(folder)]:
                os.utime(path, ns=(WHEN_NS, WHEN_NS), follow_symlinks=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lab with an image of three layers, and a container of it with every kind of change."""
    path = make_lab(tmp_path / "lab")
    for name, file, size in (("shop/web:1.0", "/usr/libpage.so", 2_600_000), ("shop/web:1.1", "/srv/app", 700_000)):
        with open_lab(path) as lab, lab.overlay("web") as overlay:
            overlay.write_bytes(file, bytes(size))
        set_times(path)
        with open_lab(path) as lab:
            lab.commit("web", name, options=commit_options(created=WHEN, message=f"add {file}"))
            lab.remove("web")
            lab.create(name, "web")
    with open_lab(path) as lab, lab.overlay("web") as overlay:
        overlay.write_bytes("/srv/index.html", b"<h1>Hello</h1>\n" * 9000)
        overlay.mkdir("/srv/css", 0o755)
        overlay.write_bytes("/srv/css/site.css", b"body {}\n" * 400)
        overlay.write_bytes("/etc/motd", b"Welcome to the shop\n")
        overlay.chmod("/etc/passwd", 0o600)
        overlay.unlink("/etc/os-release")
    set_times(path)
    return path


def asking(key: str, on: str = "etc/motd", **values: str) -> Callable[[Pilot[Any]], Any]:
    """With the cursor on a file of ``web``, and a dialog open."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await choose(pilot, "web")
        await stand_on(pilot, on)
        for _ in range(3):  # the details follow in several steps
            await settled(pilot)
        dialog = await ask(pilot, key)
        if isinstance(dialog, CommitDialog):
            await until(pilot, lambda: dialog.made is not None, "the layer")
            dialog.query_one(TextArea).text = "ENV PORT=8080\nEXPOSE 8080"
        await fill(pilot, **values)
        if values.get("name"):
            await until(pilot, lambda: dialog.query_one("#said").size.height > 0, "a word about the name")
        for _ in range(25):  # the name is looked up when nothing was typed for a while
            await pilot.pause(0.02)
        for widget in dialog.query("Input, TextArea"):
            widget.cursor_blink = False

    return prepare


COMMIT = asking("c", name="base:1.0", author="Ada <ada@example.org>", message="a first page")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_commit(snap_compare: Any, root: Path, size: tuple[int, int], theme: str):
    app = app_on(root, theme=theme, shown_path="/home/ada/lab")
    assert snap_compare(app, terminal_size=size, run_before=COMMIT)


def test_commit_in_ascii(snap_compare: Any, root: Path):
    app = app_on(root, ascii_only=True, shown_path="/home/ada/lab")
    assert snap_compare(app, terminal_size=(120, 40), run_before=COMMIT)


@pytest.mark.parametrize(
    ("key", "values"),
    [("a", {"name": "conf.d/"}), ("x", {}), ("R", {"name": "greeting"}), ("o", {"mode": "u+x", "owner": "ada"})],
    ids=["new", "delete", "rename", "mode"],
)
def test_files(snap_compare: Any, root: Path, key: str, values: dict[str, str]):
    app = app_on(root, shown_path="/home/ada/lab")
    assert snap_compare(app, terminal_size=(120, 40), run_before=asking(key, **values))


def test_a_lab(snap_compare: Any, root: Path):
    async def prepare(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await choose(pilot, "web")
        await stand_on(pilot, "etc/motd")
        for _ in range(3):
            await settled(pilot)

    assert snap_compare(app_on(root, shown_path="/home/ada/lab"), terminal_size=(120, 40), run_before=prepare)
