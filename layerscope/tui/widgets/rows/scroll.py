"""A list to read, not to choose from: the keys of a list scroll it, there is no cursor."""

from __future__ import annotations

from typing import ClassVar, Generic

from textual.binding import BindingType

from layerscope.tui.keys import bindings, picked
from layerscope.tui.widgets.rows.canvas import RowCanvas, RowT

PAN_CELLS = 8


class ScrollRows(RowCanvas[RowT], Generic[RowT], can_focus=True, inherit_bindings=False):
    """Rows that scroll; those wider than the screen can be moved sideways (``pan`` cells are left out)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *[binding for binding in bindings("list") if binding.id != "list.choose"],
        *picked(("tree.fold", "", "pan(-1)"), ("tree.unfold", "", "pan(1)"), ("tree.toggle", "", "move_pages(1)")),
    ]
    DEFAULT_CSS = """
    ScrollRows {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        background: $background;
        color: $foreground;
    }
    """

    def __init__(
        self,
        rows: list[RowT] | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__([] if rows is None else rows, name=name, id=id, classes=classes)
        self.pan = 0

    def set_rows(self, rows: list[RowT], top: int = 0) -> None:
        """Show other rows, ``top`` as the first on the screen."""
        self.rows = rows
        self.pan = 0
        self.refresh_rows()
        self._scroll_rows(top)

    def widest(self) -> int:
        """How many cells the widest row takes, as far as it is known; rows aren't moved further than that."""
        return 0

    def on_mount(self) -> None:
        """Rows may have been given before there was a screen."""
        self.refresh_rows()

    def action_move_rows(self, step: int) -> None:
        """Scroll ``step`` rows down (negative: up)."""
        self._scroll_rows(self.scroll_offset.y + step)

    def action_move_pages(self, step: int) -> None:
        """Scroll ``step`` pages down; a row of the last page stays in sight."""
        self.action_move_rows(step * max(1, self.page_rows - 1))

    def action_move_half_pages(self, step: int) -> None:
        """Scroll ``step`` half pages down."""
        self.action_move_rows(step * max(1, self.page_rows // 2))

    def action_move_to_end(self, direction: int) -> None:
        """Go to the end (-1: to the beginning)."""
        self._scroll_rows(direction * len(self.rows))

    def action_pan(self, step: int) -> None:
        """Move the rows sideways, as far as there is something to see."""
        furthest = max(0, self.widest() - self.row_width // 2)
        pan = max(0, min(self.pan + step * PAN_CELLS, furthest))
        if pan != self.pan:
            self.pan = pan
            self.refresh_rows()
