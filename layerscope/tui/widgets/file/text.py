"""A file as text: its lines with their numbers, very long ones in several rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.segment import Segment
from textual.message import Message

from layerscope.services.file.lines import LONGEST_ROW, LineIndex, Row
from layerscope.services.file.pages import FilePages
from layerscope.tui.content_text import Run, content_strip
from layerscope.tui.widgets.file.paged_rows import PagedRows

_LEAST_DIGITS = 3
_LONGEST_CHARACTER = 4


class TextView(PagedRows):
    """Draws the rows of a :class:`LineIndex`."""

    class EndWanted(Message):
        """The last row is to be gone to, but it isn't counted yet."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.index: LineIndex | None = None
        self._digits = _LEAST_DIGITS

    def open(self, pages: FilePages, index: LineIndex) -> None:
        """Show a file from its beginning; what of it is indexed may grow, see :meth:`grow`."""
        self.pages, self.index, self.pan = pages, index, 0
        self._digits = _LEAST_DIGITS
        self.set_rows([])
        self.grow()

    def grow(self) -> None:
        """Show what is indexed by now."""
        if self.index is None or self.pages is None:
            return
        digits = max(_LEAST_DIGITS, len(str(self.index.rows)))
        self.count_rows(self.index.rows if self.pages.size else 0)
        if digits != self._digits:
            self._digits = digits
            self.refresh_rows()

    def action_move_to_end(self, direction: int) -> None:
        """Go to the last row, now or when it is counted (-1: to the first)."""
        if direction > 0 and self.index is not None and not self.index.complete:
            self.post_message(self.EndWanted())
        else:
            super().action_move_to_end(direction)

    def row_kept(self, index: int) -> bool:
        """Whether the row and its bytes are in memory."""
        row = self.index.kept_row(index) if self.index else None
        return row is not None and self.pages is not None and self._bytes(row) is not None

    def fetch(self, index: int) -> None:
        """Read where the row lies, and its bytes."""
        row = self.index.row(index) if self.index else None
        if row is not None and self.pages is not None:
            self.pages.read(row.start, row.end - row.start + _LONGEST_CHARACTER)

    def widest(self) -> int:
        """Rows are no longer than this."""
        return LONGEST_ROW

    def _bytes(self, row: Row) -> bytes | None:
        assert self.pages is not None
        return self.pages.kept(row.start, row.end - row.start)

    def draw_kept(self, index: int, width: int) -> Iterable[Segment]:
        """Line number and text."""
        look = self.look
        assert self.index is not None
        row = self.index.kept_row(index)
        if row is None:
            return
        number = "" if row.goes_on else str(row.line)
        yield Segment(f"{number:>{self._digits}} ", look.style("hidden"))
        yield Segment(f"{look.glyphs.rule_vertical} ", look.style("faint"))
        yield from content_strip(self._runs(row), look, self.pan, max(0, width - self._digits - 3))

    def _runs(self, row: Row) -> Iterator[Run]:
        """The row's text, with what is looked for in a style of its own."""
        plain = self.look.style("foreground")
        data = self._whole_characters(row)
        if self.needle is None:
            yield _text(data), plain
            return
        found = self.look.style("background", ground="accent", bold=True, reverse=self.look.no_color)
        place = 0
        while (hit := self.needle.find(data, place)) >= 0:
            end = hit + len(self.needle.wanted)
            yield _text(data[place:hit]), plain
            yield _text(data[hit:end]), found
            place = end
        yield _text(data[place:]), plain

    def _whole_characters(self, row: Row) -> bytes:
        """The bytes of the row; a character that lies across its end belongs to the row in which it begins."""
        data = self._bytes(row) or b""
        if data.endswith(b"\n"):
            data = data[:-1]
        elif self.pages is not None:
            data += _rest_of_character(self.pages.kept(row.end, _LONGEST_CHARACTER - 1) or b"")
        return data[len(_rest_of_character(data[: _LONGEST_CHARACTER - 1])) :] if row.goes_on else data


def _rest_of_character(data: bytes) -> bytes:
    """The bytes at the beginning that can only go on with a character of UTF-8."""
    length = 0
    while length < len(data) and data[length] & 0xC0 == 0x80:
        length += 1
    return data[:length]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
