"""An app that shows one screen or one widget, for tests of these alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import WorkerCancelled

from layerscope.tui.keys import bindings
from layerscope.tui.look import LookApp

NO_SETTINGS = Path("/nonexistent")


class OneScreen(LookApp[None]):
    """Pushes the screen at the start and keeps what it ends with."""

    BINDINGS: ClassVar = [*bindings("app")]

    def __init__(self, make: Callable[[], Screen[Any]], **options: Any) -> None:
        super().__init__(settings=NO_SETTINGS, **options)
        self.make = make
        self.results: list[object] = []

    def on_mount(self) -> None:
        self.push_screen(self.make(), self.results.append)

    def action_help(self) -> None:
        """Nothing here."""


class OneWidget(LookApp[None]):
    """Shows the widget alone on the screen."""

    BINDINGS: ClassVar = [*bindings("app")]

    def __init__(self, widget: Widget, **options: Any) -> None:
        super().__init__(settings=NO_SETTINGS, **options)
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


async def settled(pilot: Pilot[Any]) -> None:
    """Until nothing is being read any more and everything is drawn."""
    for _ in range(3):
        await pilot.pause()
        for worker in list(pilot.app.workers):
            # One that was given up for a newer one is no failure.
            with contextlib.suppress(WorkerCancelled):
                await worker.wait()
    await pilot.pause()


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys one by one, each when the last one's work is done (letters of a text at once)."""
    for key in keys:
        await pilot.press(key)
        if len(key) > 1 or not isinstance(pilot.app.focused, Input):
            await settled(pilot)


def lines(widget: Widget) -> list[str]:
    """What a widget shows, line by line, without blanks at the ends."""
    region = Region(0, 0, *widget.outer_size)
    return [strip.text.rstrip() for strip in widget.render_lines(region)]


def shown(widget: Widget) -> str:
    """What a widget and those in it show, one after the other."""
    found = [widget, *widget.walk_children(Widget)]
    return "\n".join("\n".join(lines(part)) for part in found if part.is_on_screen and part.outer_size)
