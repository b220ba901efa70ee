"""All keys, grouped, and what the signs mean; as many columns as fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.widget import Widget

from layerscope.tui.keys import load_keymap, picked
from layerscope.tui.look import LookApp, look_of
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.sources.help_lines import GAP_CELLS, KEY_CELLS, SIGN_CELLS, HelpLine, help_blocks, in_columns
from layerscope.tui.text import crop, fit
from layerscope.tui.widgets.rows.scroll import ScrollRows

_Cells = list[HelpLine | None]


class HelpRows(ScrollRows[_Cells]):
    """Draws columns of help lines side by side."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[list[HelpLine]] = []

    def show(self, blocks: list[list[HelpLine]]) -> None:
        """Show other lines."""
        self._blocks = blocks
        self._lay_out()

    def on_resize(self) -> None:
        """Take as many columns as fit now."""
        self._lay_out()

    def _lay_out(self) -> None:
        if self.row_width:
            self.set_rows(in_columns(self._blocks, self.row_width - 1), self.scroll_offset.y)

    def draw_row(self, index: int, row: _Cells, width: int) -> Iterable[Segment]:
        """One line of each column."""
        look = self.look
        room = max(20, (width - 1 - GAP_CELLS * (len(row) - 1)) // len(row))
        yield Segment(" ")
        for number, cell in enumerate(row):
            if number:
                yield Segment(" " * GAP_CELLS)
            if cell is None:
                yield Segment(" " * room)
            elif not cell.sign:
                title = crop(cell.text, room - 2)
                yield Segment(title + " ", look.style("primary", bold=True))
                yield Segment(look.glyphs.rule * (room - len(title) - 1), look.style("faint"))
            else:
                wide = KEY_CELLS if cell.is_key else SIGN_CELLS
                sign = fit(cell.sign, wide, ellipsis=look.glyphs.ellipsis)
                yield Segment(sign, look.style(cell.color, bold=True))
                yield Segment(" " + fit(cell.text, room - wide - 1, ellipsis=look.glyphs.ellipsis))


class HelpScreen(OverScreen[None]):
    """Lists what the key table has, with the user's own keys."""

    BINDINGS: ClassVar[list[BindingType]] = [*picked(("app.help", "", "leave"))]

    def content(self) -> Iterable[Widget]:
        """The lines."""
        return (HelpRows(),)

    def on_mount(self) -> None:
        """Make the lines."""
        self.pane.set_title("Keys and signs")
        self.pane.set_legend("your own keys: keys.toml in the settings folder")
        keymap = self.app.user_keys if isinstance(self.app, LookApp) else load_keymap()[0]
        self.query_one(HelpRows).show(help_blocks(self._display, keymap, look_of(self).glyphs))
        self.query_one(HelpRows).focus()

    def _display(self, key: str) -> str:
        return self.app.get_key_display(Binding(key, ""))
