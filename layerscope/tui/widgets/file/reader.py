"""An open file to read: both its forms, a search through it, and words for where one is."""

from __future__ import annotations

from textual import on, work

from layerscope.errors import LayerscopeError
from layerscope.services.file.opened import OpenedFile
from layerscope.services.file.search import Needle, find_bytes
from layerscope.tui.sources.goto import Destination
from layerscope.tui.units import size_text
from layerscope.tui.widgets.file.forms import FileForms
from layerscope.tui.widgets.file.hex import HexView
from layerscope.tui.widgets.file.paged_rows import PagedRows
from layerscope.tui.widgets.frame.reading import asking, read_on_thread
from layerscope.tui.widgets.rows.line_view import LineView


class FileReader(FileForms):
    """Shows an :class:`OpenedFile`, which it closes when it shows another one or goes."""

    def __init__(self) -> None:
        super().__init__()
        self._needle: Needle | None = None
        self._hit: int | None = None
        self._looked_at: int | None = None
        self._searches = 0

    def show(self, opened: OpenedFile) -> None:
        """Show another file, from its beginning."""
        self.give_up()
        self._hit = None
        super().show(opened)

    # ------------------------------------------------------------------ search
    def look_for(self, needle: Needle) -> None:
        """Go to the first hit from here on, and mark all."""
        self._needle, self._hit = needle, None
        for rows in self.query(PagedRows):
            rows.mark(needle)
        self._search(needle, self.byte_offset, 1)

    def next_hit(self, direction: int) -> None:
        """Go to the next hit, or (-1) the previous one."""
        if self._needle is None:
            self.notify("nothing is looked for: press / first")
        else:
            here = self.byte_offset if self._hit is None else self._hit
            self._search(self._needle, here + (direction > 0), direction)

    @work(exclusive=True, group="search")
    async def _search(self, needle: Needle, start: int, direction: int) -> None:
        opened = self.opened
        if opened is None:
            return
        backwards = direction < 0
        self._looked_at = start
        ends = (opened.pages.size, "end") if backwards else (0, "beginning")
        try:
            hit = await self._find(opened, needle, start, backwards)
            if hit is None and start != ends[0]:
                hit = await self._find(opened, needle, ends[0], backwards)
                if hit is not None:
                    self.notify(f"went on from the {ends[1]}", timeout=2)
        except LayerscopeError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        finally:
            self._looked_at = None
            self.post_message(self.Changed())
        if hit is None:
            self.notify(f"not found: {needle.text}", severity="warning", markup=False)
            return
        self._hit = hit
        self.go_to(Destination(offset=hit))

    async def _find(self, opened: OpenedFile, needle: Needle, start: int, backwards: bool) -> int | None:
        search = self._searches = self._searches + 1

        def progress(place: int) -> None:
            if search == self._searches:  # not one that was given up
                self._looked_at = place

        return await read_on_thread(
            lambda tick: find_bytes(
                opened.pages, needle, start, backwards=backwards, stopped=asking(tick), progress=progress
            ),
            self._tell_search,
        )

    def _tell_search(self, count: int) -> None:
        self.post_message(self.Changed())

    def give_up(self) -> bool:
        """Give up a search or a far place, else the marks of what was found; False if there is nothing."""
        if self._looked_at is not None or self.wanted is not None:
            self.workers.cancel_group(self, "search")
            self._searches += 1
            self.wanted = self._looked_at = None
            self.post_message(self.Changed())
            return True
        if self._needle is not None:
            self._needle = None
            for rows in self.query(PagedRows):
                rows.mark(None)
            return True
        return False

    # ------------------------------------------------------------------ what is told
    @on(LineView.Highlighted)
    def follow_cursor(self, event: LineView.Highlighted) -> None:
        """The place is another one."""
        event.stop()
        self._hit = None if self.wanted is None and not self._at_hit() else self._hit
        self.post_message(self.Changed())

    def _at_hit(self) -> bool:
        """Whether the last hit is in the row under the cursor."""
        if self._hit is None or self.opened is None:
            return False
        if self.as_bytes:
            return self._hit // self.query_one(HexView).per_row == self.rows.cursor
        row = self.opened.index.kept_row(self.rows.cursor)
        return row is not None and row.start <= self._hit < row.end

    def status(self) -> list[str]:
        """What the file is, where one is in it, what is going on."""
        opened = self.opened
        if opened is None or not opened.pages.size:
            return []
        size, index = opened.pages.size, opened.index
        parts = ["bytes" if self.as_bytes else "text", size_text(size)]
        if self.as_bytes:
            parts.append(f"0x{self.byte_offset:x} of 0x{size:x}")
        else:
            row = index.kept_row(self.rows.cursor)
            parts.append(f"line {row.line:,}" if row else "line ?")
            if not index.complete:
                parts.append(f"lines counted: {index.scanned / size:.0%}")
        parts.append(f"{min(1.0, self.byte_offset / max(1, size)):.0%}")
        if self._looked_at is not None:
            parts.append(f"looking: {self._looked_at / size:.0%}")
        elif self.wanted is not None:
            parts.append("going there")
        return parts
