"""The base of the views into a file: rows by number alone, whose bytes are read on a thread once they are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar, cast

from rich.segment import Segment
from textual import work
from textual.binding import BindingType
from textual.geometry import Size

from layerscope.errors import LayerscopeError
from layerscope.services.file.pages import FilePages
from layerscope.services.file.search import Needle
from layerscope.tui.keys import picked
from layerscope.tui.widgets.rows.line_view import LineView
from layerscope.tui.widgets.rows.scroll import PAN_CELLS


class PagedRows(LineView[int]):
    """Rows 0 to n of an open file. A row that isn't in memory is drawn as dots until it is read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(("tree.fold", "", "pan(-1)"), ("tree.unfold", "", "pan(1)"), ("tree.toggle", "", "move_pages(1)")),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.pages: FilePages | None = None
        self.needle: Needle | None = None
        """What is marked in the rows."""
        self.pan = 0
        self._asked: tuple[int, int] | None = None
        self._answered: tuple[int, int] | None = None

    # What a subclass says.

    def row_kept(self, index: int) -> bool:
        """Whether a row can be drawn without reading."""
        raise NotImplementedError

    def fetch(self, index: int) -> None:
        """Read a row; runs on a thread."""
        raise NotImplementedError

    def draw_kept(self, index: int, width: int) -> Iterable[Segment]:
        """A row that can be drawn."""
        raise NotImplementedError

    def widest(self) -> int:
        """How many cells a row may take."""
        return 0

    # The rows.

    def count_rows(self, count: int) -> None:
        """There are ``count`` rows now; cursor and scroll stay."""
        old = len(self.rows)
        self._answered = None
        if count == old:
            return
        # A range is all the list that is needed: rows are told by their numbers.
        rows = cast("list[int]", range(count))
        if not old:
            self.set_rows(rows)
            return
        self.rows = rows
        if count > old:
            # Drawn rows stay as they are: this happens four times a second while lines are counted.
            self.virtual_size = Size(0, count + self.HEADER)
            self.refresh()
        else:
            self.spliced(count, old - count, 0)

    def mark(self, needle: Needle | None) -> None:
        """Mark another needle in the rows."""
        self.needle = needle
        self.refresh_rows()

    def centre(self, index: int) -> None:
        """Put the cursor on a row, with some rows above it where it was out of sight."""
        if not self.scroll_offset.y <= index < self.scroll_offset.y + self.page_rows:
            self._scroll_rows(index - self.page_rows // 3)
        self.cursor = index

    def draw_row(self, index: int, row: int, width: int) -> Iterable[Segment]:
        """The row, or dots while it is read."""
        if self.row_kept(index):
            return self.draw_kept(index, width)
        self._ask()
        return [Segment(self.look.glyphs.ellipsis, self.look.style("faint"))]

    def _ask(self) -> None:
        top = self.scroll_offset.y
        wanted = (max(0, top - self.page_rows), min(len(self.rows), top + 2 * self.page_rows))
        if wanted not in (self._asked, self._answered):
            self._asked = wanted
            self._fetch(*wanted)

    @work(exclusive=True, group="rows")
    async def _fetch(self, first: int, last: int) -> None:
        try:
            await asyncio.to_thread(self._fetch_all, first, last)
        except LayerscopeError as error:
            self.notify(str(error), severity="warning", markup=False)
        # What couldn't be read isn't asked for again.
        self._asked, self._answered = None, (first, last)
        self.refresh_rows()
        self._tell()

    def _fetch_all(self, first: int, last: int) -> None:
        for index in range(first, last):
            self.fetch(index)

    def action_pan(self, step: int) -> None:
        """Move the rows sideways."""
        pan = max(0, min(self.pan + step * PAN_CELLS, self.widest() - self.row_width // 2))
        if pan != self.pan:
            self.pan = pan
            self.refresh_rows()
