"""The base of every list that grows with the data: a flat list of rows, one cursor.

A subclass says how one row looks (``draw_row``); nothing else of the list is ever touched, so a key costs the same
with ten rows and with a million. Rows that come and go in the middle are spliced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.reactive import reactive

from layerscope.tui.keys import bindings
from layerscope.tui.widgets.rows.canvas import RowCanvas, RowState, RowT
from layerscope.tui.widgets.rows.cursor import after_splice, clamp, moved, nearest, top_showing


class _RowMessage(Message):
    """Something about row ``index`` of ``line_view``."""

    def __init__(self, line_view: LineView[Any], index: int) -> None:
        super().__init__()
        self.line_view = line_view
        self.index = index

    @property
    def control(self) -> LineView[Any]:
        """The list it happened in."""
        return self.line_view


class LineView(RowCanvas[RowT], Generic[RowT], can_focus=True, inherit_bindings=False):
    """A list of rows with a cursor. ``rows`` is the list as it was given, never a copy."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list")]
    DEFAULT_CSS = """
    LineView {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        background: $background;
        color: $foreground;
    }
    """

    cursor: reactive[int] = reactive(0, repaint=False, init=False)
    """The index of the row under the cursor; 0 when there are no rows."""

    class Highlighted(_RowMessage):
        """The cursor is on another row, or the row under it is another one. Only the newest of several is handled."""

        def can_replace(self, message: Message) -> bool:
            """A later highlight of the same list makes this one pointless."""
            return isinstance(message, LineView.Highlighted) and message.line_view is self.line_view

    class Chosen(_RowMessage):
        """The row under the cursor was opened: Enter, or a double click."""

    def __init__(
        self,
        rows: list[RowT] | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__([] if rows is None else rows, name=name, id=id, classes=classes)

    # What a subclass may say.

    def selectable(self, index: int) -> bool:
        """Whether the cursor may rest on that row (headings and gaps say no)."""
        return True

    def row_clicked(self, index: int, x: int) -> bool:
        """Handle a click on cell ``x`` of a row; True if that was all that the click meant."""
        return False

    def header_clicked(self, x: int) -> None:
        """Handle a click on cell ``x`` of the header."""

    # The rows.

    def set_rows(self, rows: list[RowT], cursor: int = 0) -> None:
        """Show other rows from their beginning, with the cursor on row ``cursor`` or the nearest that may have it."""
        self.rows = rows
        self.refresh_rows()
        self.set_reactive(LineView.cursor, self._nearest(cursor))
        self._scroll_rows(0)
        self._reveal()
        self._tell()

    def splice(self, index: int, remove: int, rows: Sequence[RowT]) -> None:
        """Put ``rows`` in the place of the ``remove`` rows from ``index`` on."""
        self.rows[index : index + remove] = rows
        self.spliced(index, remove, len(rows))

    def spliced(self, index: int, removed: int, added: int) -> None:
        """Follow a change that was made to ``rows`` already.

        The cursor stays on its row; if that one was removed, it goes to the row that took its place, or above the gap.
        What is on the screen stays where it is when rows above it come or go.
        """
        old, top = self.cursor, self.scroll_offset.y
        lost = index <= old < index + removed
        self.refresh_rows()
        self.set_reactive(LineView.cursor, self._nearest(after_splice(old, index, removed, added)))
        self._scroll_rows(top + added - removed if index + removed <= top else top)
        if lost:
            self._reveal()
        if lost or self.cursor != old:
            self._tell()

    def _tell(self) -> None:
        if self.rows and self.is_attached:
            self.post_message(self.Highlighted(self, self.cursor))

    # The cursor.

    def row_state(self, index: int) -> RowState:
        """How the row stands to the cursor."""
        if index != self.cursor:
            return RowState.PLAIN
        return RowState.CURSOR_FOCUSED if self.has_focus else RowState.CURSOR_BLURRED

    def validate_cursor(self, cursor: int) -> int:
        """Keep it within the rows."""
        return clamp(cursor, len(self.rows))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint two lines, not the list."""
        self._repaint_row(old)
        self._repaint_row(new)
        self._reveal()
        self._tell()

    def _reveal(self) -> None:
        if not self.size.height:  # not laid out yet; the first resize comes back here
            return
        self._scroll_rows(top_showing(self.cursor, self.scroll_offset.y, self.page_rows))

    def _nearest(self, index: int) -> int:
        return nearest(index, len(self.rows), 1, self.selectable)

    def _move(self, step: int) -> None:
        target = moved(self.cursor, step, len(self.rows), self.selectable)
        if target == self.cursor and step < 0:
            # No selectable row above: at least show the headings that are there.
            self._scroll_rows(min(self.scroll_offset.y, self.cursor + step))
        self.cursor = target

    def action_move_rows(self, step: int) -> None:
        """Move ``step`` rows down (negative: up)."""
        self._move(step)

    def action_move_pages(self, step: int) -> None:
        """Move ``step`` pages down (negative: up); a row of the last page stays in sight."""
        self._move(step * max(1, self.page_rows - 1))

    def action_move_half_pages(self, step: int) -> None:
        """Move ``step`` half pages down (negative: up)."""
        self._move(step * max(1, self.page_rows // 2))

    def action_move_to_end(self, direction: int) -> None:
        """Go to the last row (-1: to the first)."""
        self._move(direction * len(self.rows))

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        if self.rows:
            self.post_message(self.Chosen(self, self.cursor))

    # Events.

    def on_mount(self) -> None:
        """Rows may have been given before there was a screen."""
        self.refresh_rows()
        self.set_reactive(LineView.cursor, self._nearest(self.cursor))
        self._tell()

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._reveal()

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the row, open it at a double click."""
        place = event.get_content_offset(self)
        if place is None or event.button != 1:
            return
        event.stop()
        if place.y < self.HEADER:
            self.header_clicked(place.x)
            return
        index = place.y - self.HEADER + self.scroll_offset.y
        if index >= len(self.rows) or not self.selectable(index) or self.row_clicked(index, place.x):
            return
        self.cursor = index
        if event.chain % 2 == 0:
            self.action_choose()
