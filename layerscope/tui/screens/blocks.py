"""The block map of a subject's thin device: a cell a block, and how the chosen one is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from layerscope.errors import LayerscopeError
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.services.blocks import device_blocks, read_block
from layerscope.tui.keys import picked
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.prompt import Prompt
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading
from layerscope.tui.widgets.thin.facts import BlockFacts
from layerscope.tui.widgets.thin.grid import BlockGrid

_MOST_DIGITS = 20


class BlocksScreen(OverScreen[None]):
    """Shows the device of ``subject``'s top level, at its cut."""

    DEFAULT_CSS = """
    BlocksScreen {
        BlockGrid { width: 1fr; }
        BlockFacts { width: 44; border-left: solid $frame; }
        &.-narrow Horizontal { layout: vertical; }
        &.-narrow BlockGrid { width: 1fr; height: 1fr; }
        &.-narrow BlockFacts { width: 1fr; height: 1fr; border-left: none; border-top: solid $frame; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*picked(("file.goto", "Go to block", "ask_place"), ("screen.reload", ""))]

    def __init__(self, session: Session, subject: Subject) -> None:
        super().__init__()
        self.session = session
        self.subject = subject

    def content(self) -> Iterable[Widget]:
        """The grid, and the facts beside it."""
        return (Horizontal(BlockGrid(), BlockFacts()),)

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        return self.query_one(BlockGrid)

    @property
    def facts(self) -> BlockFacts:
        """What is known of them."""
        return self.query_one(BlockFacts)

    def on_mount(self) -> None:
        """Read the map."""
        self.pane.set_title(f"Blocks of {self.subject.name}")
        self.pane.set_legend("solid: written by this level   hatched: inherited   dot: not mapped")
        self.read()

    @work(exclusive=True, group="map")
    async def read(self) -> None:
        """Read the map, and show it."""
        self.pane.state = Loading("reading the block map", hints=())
        try:
            device, _ = await asyncio.to_thread(device_blocks, self.session, self.subject)
        except LayerscopeError as error:
            self.pane.state = Failure(str(error), hints=(("r", "read again"), ("esc", "back")))
            return
        if not device.runs:
            self.pane.state = Empty("the device maps no block", "nothing was ever written to it")
            return
        self.pane.state = None
        levels = max(level.level for level in device.levels)
        self.facts.show_device(device, levels)
        self.grid.show(device.runs, levels)
        self.grid.focus()

    @on(BlockGrid.BlockHighlighted)
    def follow(self, event: BlockGrid.BlockHighlighted) -> None:
        """Show how the block under the cursor is read."""
        event.stop()
        self.read_one(event.virtual)

    @work(exclusive=True, group="block")
    async def read_one(self, virtual: int) -> None:
        """Follow one block down the levels."""
        try:
            found, _ = await asyncio.to_thread(read_block, self.session, self.subject, virtual)
        except LayerscopeError as error:
            self.facts.tell(str(error))
            return
        self.facts.show_block(found)

    def action_reload(self) -> None:
        """Read the map again."""
        self.read()

    # ------------------------------------------------------------------ a block by its number
    async def action_ask_place(self) -> None:
        """Ask for a block's number."""
        await self.open_prompt(Prompt(":", "block: 1103 or 0x44f"))

    @on(FilterBar.Changed)
    def go_there(self, event: FilterBar.Changed) -> None:
        """Go to the block while its number is typed."""
        number = _number(event.text)
        if number is None:
            return
        if not self.grid.go_to(number):
            for prompt in self.query(Prompt):
                prompt.tell("not mapped")
            self.read_one(number)

    @on(FilterBar.Done)
    @on(FilterBar.Closed)
    def stop_asking(self) -> None:
        """Back to the blocks."""
        self.close_prompt()

    def focus_content(self) -> None:
        """The grid."""
        self.grid.focus()


def _number(text: str) -> int | None:
    digits = text.strip().lower()
    try:
        return int(digits, 16 if digits.startswith("0x") else 10) if 0 < len(digits) <= _MOST_DIGITS else None
    except ValueError:
        return None
