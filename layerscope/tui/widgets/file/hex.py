"""A file as bytes: offset, hexadecimal digits, characters."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style

from layerscope.services.file.pages import FilePages
from layerscope.tui.look import Look
from layerscope.tui.widgets.file.paged_rows import PagedRows

_BYTES = 16
_WIDE_BYTES = 32
_WIDE_FROM = 148
_GROUP = 8


class HexView(PagedRows):
    """Draws 16 bytes in a row, 32 where there is room."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.per_row = _BYTES

    def open(self, pages: FilePages) -> None:
        """Show a file from its beginning."""
        self.pages = pages
        self.set_rows([])
        self.count_rows(-(-pages.size // self.per_row))

    def on_resize(self) -> None:
        """Take as many bytes in a row as fit; the cursor stays on its byte."""
        per_row = _WIDE_BYTES if self.row_width >= _WIDE_FROM else _BYTES
        if per_row != self.per_row:
            offset = self.cursor * self.per_row
            self.per_row = per_row
            if self.pages is not None:
                self.count_rows(-(-self.pages.size // per_row))
                self.refresh_rows()
                self.centre(offset // per_row)
        self._reveal()

    def row_kept(self, index: int) -> bool:
        """Whether the row's bytes are in memory."""
        return self.pages is not None and self.pages.kept(index * self.per_row, self.per_row) is not None

    def fetch(self, index: int) -> None:
        """Read the row's bytes."""
        if self.pages is not None:
            self.pages.read(index * self.per_row, self.per_row)

    def draw_kept(self, index: int, width: int) -> Iterable[Segment]:
        """Offset, digits, characters."""
        look = self.look
        assert self.pages is not None
        start = index * self.per_row
        data = self.pages.kept(start, self.per_row) or b""
        styles = _styles(look)
        marked = self._marked(start, len(data))
        found = look.style("background", ground="accent", bold=True, reverse=look.no_color)
        digits = max(8, len(f"{self.pages.size:x}"))
        yield Segment(f"{start:0{digits}x}  ", look.style("hidden"))
        for place in range(self.per_row):
            gap = "  " if place % _GROUP == _GROUP - 1 and place != self.per_row - 1 else " "
            if place < len(data):
                yield Segment(f"{data[place]:02x}", found if place in marked else styles[_kind(data[place])])
                yield Segment(gap)
            else:
                yield Segment("  " + gap)
        yield Segment(f" {look.glyphs.rule_vertical}", look.style("faint"))
        for place, byte in enumerate(data):
            character = chr(byte) if 0x20 <= byte < 0x7F else "."
            yield Segment(character, found if place in marked else styles[_kind(byte)])
        yield Segment(" " * (self.per_row - len(data)) + look.glyphs.rule_vertical, look.style("faint"))

    def _marked(self, start: int, length: int) -> frozenset[int]:
        """The places in the row that belong to what is looked for."""
        if self.needle is None or self.pages is None:
            return frozenset()
        size = len(self.needle.wanted)
        before = min(start, size - 1)
        data = self.pages.kept(start - before, length + before + size - 1)
        marked: set[int] = set()
        hit = self.needle.find(data) if data else -1
        while data and hit >= 0:
            marked.update(range(hit - before, hit - before + size))
            hit = self.needle.find(data, hit + 1)
        return frozenset(place for place in marked if 0 <= place < length)


def _kind(byte: int) -> str:
    if byte == 0:
        return "zero"
    return "text" if 0x20 <= byte < 0x7F or byte in (0x09, 0x0A, 0x0D) else "other"


def _styles(look: Look) -> dict[str, Style]:
    return {"zero": look.style("hidden"), "text": look.style("foreground"), "other": look.style("copied")}
