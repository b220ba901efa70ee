"""What could go, to be ticked: box, sign, name, and what comes back if it goes alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import BindingType
from textual.message import Message

from layerscope.tui.glyphs import DOT_COLORS
from layerscope.tui.keys import picked
from layerscope.tui.sources.removal_rows import RemovalRow, words_below
from layerscope.tui.text import cell_len, crop, crop_image
from layerscope.tui.units import size_text
from layerscope.tui.widgets.rows.line_view import LineView

_BOX = 3
_SIGN = 2
_SIZE = 9
_LEAST_NOTE = 6


class RemovalList(LineView[RemovalRow]):
    """A list with ticks; a heading stands for all below it. Nothing is removed."""

    HEADER: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(
            ("tree.toggle", "Tick", "tick"),
            ("tree.toggle-all", "", "tick_all"),
            ("list.choose", "", "tick"),
        )
    ]

    class Ticked(Message):
        """Other rows are ticked."""

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, RemovalList.Ticked)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.ticked: set[str] = set()

    def show(self, rows: list[RemovalRow]) -> None:
        """Show other rows; what is still there stays ticked."""
        self.ticked &= {row.word for row in rows}
        cursor = self.cursor
        self.set_rows(rows, cursor or 1)

    @property
    def current(self) -> RemovalRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    @property
    def ticked_rows(self) -> list[RemovalRow]:
        """The rows that are ticked, in the order of the list."""
        return [row for row in self.rows if row.word in self.ticked]

    def selectable(self, index: int) -> bool:
        """Gaps are passed over."""
        return self.rows[index].kind != "gap"

    def row_clicked(self, index: int, x: int) -> bool:
        """Tick at a click on the box."""
        if x >= _BOX:
            return False
        self.cursor = index
        self.action_tick()
        return True

    def action_tick(self) -> None:
        """Tick the row, or take the tick away; at a heading all below it."""
        if self.rows:
            words = set(words_below(self.rows, self.cursor))
            self.ticked = self.ticked - words if words <= self.ticked else self.ticked | words
            self.refresh_rows()
            self.post_message(self.Ticked())

    def action_tick_all(self) -> None:
        """Take all ticks away; if there are none, tick everything."""
        self.ticked = set() if self.ticked else {row.word for row in self.rows if row.word}
        self.refresh_rows()
        self.post_message(self.Ticked())

    # ------------------------------------------------------------------ drawing
    def draw_header(self, width: int) -> Iterable[Segment]:
        """The names of the columns."""
        yield Segment(f"{'frees alone ':>{width}}", self.look.style("muted"))

    def draw_row(self, index: int, row: RemovalRow, width: int) -> Iterable[Segment]:
        """Box, sign, name, note, size; a heading with its rule and count."""
        look, glyphs = self.look, self.look.glyphs
        if row.kind == "gap":
            return
        words = words_below(self.rows, index)
        ticked = bool(words) and self.ticked.issuperset(words)
        box = glyphs.checked if ticked else glyphs.unchecked
        yield Segment(f" {box} ", look.style("accent" if ticked else "muted", bold=ticked))
        if row.kind == "heading":
            used = _BOX + cell_len(row.name) + 1 + len(row.note) + 2
            yield Segment(f"{row.name} ", look.style("secondary", bold=True))
            yield Segment(glyphs.rule * max(0, width - used), look.style("faint"))
            yield Segment(f" {row.note} ", look.style("muted"))
            return
        yield Segment(f"{glyphs.dots[row.dot]} ", look.style(DOT_COLORS.get(row.dot, "muted")))
        room = max(4, width - _BOX - _SIGN - _SIZE - 1)
        shorten = crop_image if row.dot in ("image", "dangling") else crop
        name = shorten(look.text(row.name), room - 1, ellipsis=glyphs.ellipsis)
        yield Segment(name, look.style("foreground", bold=ticked))
        left, note = room - cell_len(name), look.text(row.note)
        if note and left - 3 >= min(_LEAST_NOTE, cell_len(note)):
            note = "  " + crop(note, left - 3, ellipsis=glyphs.ellipsis)
            yield Segment(note, look.style("muted"))
            left -= cell_len(note)
        yield Segment(" " * left)
        yield Segment(f"{size_text(row.alone):>{_SIZE}} ", look.style("foreground" if row.alone else "muted"))
