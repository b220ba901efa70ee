"""The blocks of a thin device as cells, each in the colour of the level that wrote it.

0x00440 ████▒▒▒▒▒▒▒▒▒▒▒▒··················
        written here: solid; inherited: hatched; not mapped: a dot
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.message import Message

from layerscope.model.block_map import BASE_LEVEL, BlockRun
from layerscope.tui.keys import picked
from layerscope.tui.sources.block_grid import BlockGridRows, GridRow
from layerscope.tui.widgets.rows.canvas import RowState
from layerscope.tui.widgets.rows.line_view import LineView

_WIDTHS = (128, 64, 32, 16, 8)


class BlockGrid(LineView[GridRow]):
    """Rows of blocks with a cursor on one of them; ``levels`` is the number of levels, for their colours."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(("tree.fold", "", "move_blocks(-1)"), ("tree.unfold", "", "move_blocks(1)"))
    ]

    class BlockHighlighted(Message):
        """The cursor is on another block."""

        def __init__(self, grid: BlockGrid, virtual: int) -> None:
            super().__init__()
            self.grid = grid
            self.virtual = virtual

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, BlockGrid.BlockHighlighted)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.grid = BlockGridRows((), _WIDTHS[-1])
        self.levels = 1
        self.column = 0
        self._digits = 1

    def show(self, runs: Sequence[BlockRun], levels: int) -> None:
        """Show another device, with the cursor on its first mapped block."""
        self.levels = levels
        self._digits = len(f"{runs[-1].virtual + runs[-1].length:x}") if runs else 1
        self._lay_out(runs, runs[0].virtual if runs else 0)

    def _lay_out(self, runs: Sequence[BlockRun], virtual: int) -> None:
        room = self.row_width - self._margin
        self.grid = BlockGridRows(runs, next((width for width in _WIDTHS if width <= room), _WIDTHS[-1]))
        self.column = virtual % self.grid.width
        self.set_rows(self.grid.rows, self.grid.index_of(virtual))
        self._tell_block()

    @property
    def _margin(self) -> int:
        return self._digits + 4

    @property
    def current(self) -> int | None:
        """The number of the block under the cursor."""
        if not self.rows:
            return None
        return self.rows[self.cursor].first + self.column

    def selectable(self, index: int) -> bool:
        """Not the gaps."""
        return not self.rows[index].gap

    # ------------------------------------------------------------------ the cursor
    def go_to(self, virtual: int) -> bool:
        """Put the cursor on a block; False if its row isn't shown, because nothing there is mapped."""
        index = self.grid.index_of(virtual)
        if not self.rows or self.rows[index].gap or virtual >= self.rows[index].first + self.rows[index].count:
            return False
        self.column = virtual - self.rows[index].first
        self.cursor = index
        self._moved()
        return True

    def action_move_blocks(self, step: int) -> None:
        """Go ``step`` blocks on (negative: back); past the end of a row to the next one."""
        if not self.rows:
            return
        column = self.column + step
        if not 0 <= column < self.grid.width:
            before = self.cursor
            self.action_move_rows(1 if step > 0 else -1)
            if self.cursor == before:
                return
            column %= self.grid.width
        self.column = column
        self._moved()

    def watch_cursor(self, old: int, new: int) -> None:
        """Tell of the other block, too."""
        super().watch_cursor(old, new)
        self._tell_block()

    def _moved(self) -> None:
        self.refresh_row(self.cursor)
        self._tell_block()

    def _tell_block(self) -> None:
        virtual = self.current
        if virtual is not None and self.is_attached:
            self.post_message(self.BlockHighlighted(self, virtual))

    def on_resize(self) -> None:
        """As many blocks in a row as fit."""
        virtual = self.current
        if self.grid.runs and virtual is not None:
            self._lay_out(self.grid.runs, virtual)
        super().on_resize()

    def row_clicked(self, index: int, x: int) -> bool:
        """Choose the block under the pointer."""
        column = x - self._margin
        if 0 <= column < self.grid.width:
            self.column = column
            self.refresh_row(index)
        if index != self.cursor:
            self.cursor = index
        else:
            self._tell_block()
        return True

    # ------------------------------------------------------------------ drawing
    def draw_row(self, index: int, row: GridRow, width: int) -> Iterable[Segment]:
        """The number of the first block, then a cell a block."""
        look = self.look
        muted, faint = look.style("muted"), look.style("faint")
        yield Segment(f" {row.first:#0{self._digits + 2}x} ", muted)
        if row.gap:
            yield Segment(f"{look.glyphs.ellipsis} {row.count:,} not mapped", faint)
            return
        on_it = self.row_state(index) is not RowState.PLAIN
        cells = self.grid.cells(row)
        for column, run in enumerate(cells):
            if on_it and column == self.column:
                yield Segment("@" if look.glyphs.ascii_only else "◆", look.style("accent", bold=True))
            else:
                yield Segment(self.sign_of(run), faint if run is None else self.style_of(run))

    def style_of(self, run: BlockRun) -> Style:
        """The colour of the level that wrote it."""
        if run.owner is None or run.owner == BASE_LEVEL:
            return self.look.style("muted")
        return self.look.layer_style(run.owner, self.levels)

    def sign_of(self, run: BlockRun | None) -> str:
        """Not mapped, inherited, written by the device itself."""
        ascii_only = self.look.glyphs.ascii_only
        if run is None:
            return "." if ascii_only else "·"
        if run.inherited:
            return "-" if ascii_only else "▒"
        return "#" if ascii_only else "█"
