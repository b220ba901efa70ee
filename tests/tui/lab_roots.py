"""A lab to be changed on the screen, made anew for each test, and the disk asked about it by others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from one_screen import NO_SETTINGS, lines, settled
from textual.pilot import Pilot
from textual.widget import Widget

from layerscope import open_root
from layerscope.services.lab.lab import new_lab, open_lab
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens.dialogs.dialog import Dialog
from layerscope.tui.screens.dialogs.field import Field
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.merged_tree import MergedTree

SIZE = (120, 60)


def make_lab(path: Path) -> Path:
    """A lab with the image ``base:1.0`` and the container ``web``, in which nothing was changed."""
    new_lab(path)
    with open_lab(path) as lab:
        lab.create("base:1.0", "web")
    return path


def upper_of(root: Path, name: str) -> Path:
    """The writable layer of a container on the host."""
    with open_root(root) as session:
        return root / (session.levels(session.find(name))[-1].path or "")


def app_on(root: Path, **options: Any) -> LayerscopeApp:
    return LayerscopeApp(root, settings=NO_SETTINGS, live=False, **options)


async def choose(pilot: Pilot[Any], name: str) -> None:
    """Put the cursor of the list on a container or image."""
    entities = pilot.app.screen.query_one(EntityList)
    entities.cursor = next(index for index, row in enumerate(entities.rows) if row.name == name)
    await settled(pilot)


async def stand_on(pilot: Pilot[Any], path: str) -> None:
    """Put the cursor of the tree on a path, unfolding what leads there."""
    tree = pilot.app.screen.query_one(MergedTree)
    tree.focus()
    names = path.split("/")
    for count in range(1, len(names)):
        tree.go_to("/".join(names[:count]))
        await settled(pilot)
        if not tree.rows[tree.cursor].open:
            tree.action_unfold()
            await settled(pilot)
    tree.go_to(path)
    await settled(pilot)
    assert tree.current is not None and tree.current.path == path


def messages(pilot: Pilot[Any]) -> list[str]:
    """What was told in toasts."""
    return [note.message for note in pilot.app._notifications]


def marks(upper: Path) -> dict[str, os.stat_result]:
    """Everything in a directory of the host by its path, with ``lstat``."""
    found = {}
    for folder, folders, files in os.walk(upper):
        for name in [*folders, *files]:
            path = Path(folder, name)
            found[str(path.relative_to(upper))] = path.lstat()
    return found


async def until(pilot: Pilot[Any], happened: Callable[[], bool], what: str = "it") -> None:
    """Wait for a condition, however long a busy machine takes."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, f"{what} didn't happen"
        await pilot.pause(0.02)


async def ask(pilot: Pilot[Any], key: str) -> Dialog[Any]:
    """Press a key that opens a dialog, and wait until that can be used."""
    await pilot.press(key)
    await until(
        pilot, lambda: isinstance(pilot.app.screen, Dialog) and bool(pilot.app.screen.query("#said")), "a dialog"
    )
    await pilot.pause()
    dialog = pilot.app.screen
    assert isinstance(dialog, Dialog)
    return dialog


async def fill(pilot: Pilot[Any], **values: str) -> None:
    """Give fields of the dialog other texts."""
    for name, text in values.items():
        pilot.app.screen.query_one(f"#{name}", Field).input.value = text
    await pilot.pause()


async def accept(pilot: Pilot[Any], key: str = "enter") -> None:
    """Press Enter and wait until the dialog is gone and everything is shown."""
    dialog = pilot.app.screen
    await pilot.press(key)
    await until(pilot, lambda: pilot.app.screen is not dialog, "the end of the dialog")
    await settled(pilot)


async def refused(pilot: Pilot[Any], key: str = "enter") -> str:
    """Press Enter and wait until the dialog tells an error; gives its line."""
    dialog = pilot.app.screen
    await pilot.press(key)
    await until(pilot, lambda: dialog.query_one("#said").has_class("-error"), "an error")
    assert pilot.app.screen is dialog
    return line(dialog)


def line(dialog: Widget) -> str:
    """What a dialog tells, on one line."""
    return " ".join(lines(dialog.query_one("#said"))).strip()
