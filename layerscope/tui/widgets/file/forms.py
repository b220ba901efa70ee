"""An open file in two forms, text and hexadecimal, with a place that both share.

Only what is on the screen is read. The lines of a text are counted while it is looked at, so a far line can be gone to
once that has come to it; offsets and the hexadecimal form don't wait.
"""

from __future__ import annotations

import asyncio
import time

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message

from layerscope.services.file.opened import OpenedFile
from layerscope.tui.sources.goto import Destination
from layerscope.tui.widgets.file.hex import HexView
from layerscope.tui.widgets.file.paged_rows import PagedRows
from layerscope.tui.widgets.file.text import TextView

_CHUNKS_AT_ONCE = 16
_TELL_EVERY = 0.25


class FileForms(Container):
    """Shows an :class:`OpenedFile`, which it closes when it shows another one or goes."""

    DEFAULT_CSS = """
    FileForms { height: 1fr; & > PagedRows { display: none; } & > PagedRows.-shown { display: block; } }
    """

    class Changed(Message):
        """The place, or what is going on, is another one."""

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, FileForms.Changed)

    def __init__(self) -> None:
        super().__init__()
        self.opened: OpenedFile | None = None
        self.as_bytes: bool | None = None
        """Which form is shown; None: by what the file is."""
        self.wanted: Destination | None = None
        """Where to go once it is known where that is."""

    def compose(self) -> ComposeResult:
        """Both forms; one is shown."""
        yield TextView()
        yield HexView()

    def on_unmount(self) -> None:
        """Close the file."""
        if self.opened is not None:
            self.opened.close()

    @property
    def rows(self) -> PagedRows:
        """The form that is shown."""
        return self.query_one(HexView if self.as_bytes else TextView)

    def show(self, opened: OpenedFile) -> None:
        """Show another file, from its beginning."""
        before, self.opened, self.wanted = self.opened, opened, None
        if before is not None:
            before.close()
        if self.as_bytes is None:
            self.as_bytes = opened.binary
        self.query_one(TextView).open(opened.pages, opened.index)
        self.query_one(HexView).open(opened.pages)
        self._show_form()

    def toggle_form(self) -> None:
        """The other form, at the same place."""
        offset = self.byte_offset
        self.as_bytes = not self.as_bytes
        self._show_form()
        self.go_to(Destination(offset=offset))

    def _show_form(self) -> None:
        for rows in self.query(PagedRows):
            rows.set_class(rows is self.rows, "-shown")
        self.rows.focus()
        self.post_message(self.Changed())
        if self.opened is not None and not self.as_bytes:
            self._count_lines(self.opened)

    @work(exclusive=True, group="counting")
    async def _count_lines(self, opened: OpenedFile) -> None:
        told = time.monotonic()
        while opened is self.opened and not self.as_bytes and not opened.index.complete:
            await asyncio.to_thread(opened.index.scan, _CHUNKS_AT_ONCE)
            if time.monotonic() - told > _TELL_EVERY or opened.index.complete:
                told = time.monotonic()
                self.query_one(TextView).grow()
                self._follow_wanted()
                self.post_message(self.Changed())

    # ------------------------------------------------------------------ places
    @property
    def byte_offset(self) -> int:
        """The offset of the row under the cursor, in bytes."""
        if self.opened is None:
            return 0
        if self.as_bytes:
            return self.rows.cursor * self.query_one(HexView).per_row
        row = self.opened.index.kept_row(self.rows.cursor)
        return row.start if row else 0

    def go_to(self, place: Destination) -> None:
        """Go to a line or an offset; to one that isn't counted yet as soon as it is."""
        self.wanted = place
        self._follow_wanted()

    @work(exclusive=True, group="place")
    async def _follow_wanted(self) -> None:
        place, opened = self.wanted, self.opened
        if place is None or opened is None:
            return
        index = await asyncio.to_thread(self._row_of, place, opened)
        if index is not None and place is self.wanted:
            self.wanted = None
            self.rows.centre(index)
        self.post_message(self.Changed())

    @on(TextView.EndWanted)
    def go_to_end(self, event: TextView.EndWanted) -> None:
        """Go to the last byte as soon as it is counted."""
        event.stop()
        if self.opened is not None:
            self.go_to(Destination(offset=self.opened.pages.size - 1))

    def _row_of(self, place: Destination, opened: OpenedFile) -> int | None:
        """The row of a place; None if it isn't counted yet."""
        index = opened.index
        if self.as_bytes:
            return (place.offset or 0) // self.query_one(HexView).per_row
        if place.offset is not None:
            return index.row_at(place.offset) if place.offset < index.scanned or index.complete else None
        row = index.row_of_line(place.line or 1)
        return index.rows - 1 if row is None and index.complete else row
