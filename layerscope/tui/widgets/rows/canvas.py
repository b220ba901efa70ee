"""Draws a flat list of rows, one line each, and only those on the screen."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from layerscope.tui.look import Look, look_of
from layerscope.tui.text import crop, escape

RowT = TypeVar("RowT")

_STRIPS = 1024  # a few screens of the tallest terminals


class RowState(IntEnum):
    """How a row stands to the cursor."""

    PLAIN = 0
    CURSOR_BLURRED = 1
    CURSOR_FOCUSED = 2


class RowCanvas(ScrollView, Generic[RowT]):
    """The drawing half of a line view: finished lines are kept until the rows or the way they look change.

    ``empty_words`` says why there are no rows, and what to do; a subclass or pane sets it before it shows them.
    """

    ALLOW_SELECT = False
    HEADER: ClassVar[bool] = False
    """Whether :meth:`draw_header` fills a line above the rows that doesn't scroll."""

    def __init__(
        self, rows: list[RowT], *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.rows = rows
        self.empty_words = ""
        self._generation = 0
        self._strips: LRUCache[tuple[int, int, int, RowState], Strip] = LRUCache(_STRIPS)

    # What a subclass says.

    def draw_row(self, index: int, row: RowT, width: int) -> Iterable[Segment]:
        """The row as segments, at most ``width`` cells; what is missing is filled up, what is too long is cut.

        Styles give the foreground; the row's ground, which shows the cursor, lies under them.
        """
        raise NotImplementedError

    def draw_header(self, width: int) -> Iterable[Segment]:
        """The line above the rows, as segments."""
        return ()

    def row_state(self, index: int) -> RowState:
        """How the row stands to the cursor."""
        return RowState.PLAIN

    # Sizes, in cells.

    @property
    def look(self) -> Look:
        """Theme and signs of this moment."""
        return look_of(self)

    @property
    def row_width(self) -> int:
        """How wide a row is, without the scrollbar."""
        return self.scrollable_content_region.width

    @property
    def page_rows(self) -> int:
        """How many rows fit on the screen, at least 1."""
        return max(1, self.size.height - self.HEADER)

    # Drawing.

    def render_line(self, y: int) -> Strip:
        """Line ``y`` of what is on the screen."""
        width, full_width = self.row_width, self.size.width
        base = self.visual_style.rich_style
        if y < self.HEADER:
            return _finish(self.draw_header(width), width, base).adjust_cell_length(full_width, base)
        index = y - self.HEADER + self.scroll_offset.y
        if index >= len(self.rows):
            words = crop(self.empty_words, width - 2, ellipsis=self.look.glyphs.ellipsis) if not self.rows else ""
            if not words or y != self.HEADER + 1:
                return Strip.blank(full_width, base)
            said = Segment("  " + words, self.look.style("muted", italic=True))
            return _finish([said], width, base).adjust_cell_length(full_width, base)
        state = self.row_state(index)
        key = (self._generation, index, width, state)
        strip = self._strips.get(key)
        if strip is None:
            ground = base + self._ground(state) if state else base
            strip = _finish(self.draw_row(index, self.rows[index], width), width, ground)
            strip = strip.adjust_cell_length(full_width, base)  # the cells below the scrollbar
            self._strips[key] = strip
        return strip

    def _ground(self, state: RowState) -> Style:
        look, focused = self.look, state is RowState.CURSOR_FOCUSED
        if look.no_color:
            return look.style(reverse=focused, underline=not focused)
        return look.style(ground="cursor" if focused else "cursor-blurred")

    def refresh_row(self, index: int) -> None:
        """Draw one row anew, because what it shows has changed."""
        for state in RowState:
            self._strips.discard((self._generation, index, self.row_width, state))
        self._repaint_row(index)

    def refresh_rows(self) -> None:
        """Draw all rows anew, because their number or the way they are drawn has changed."""
        self._generation += 1
        self.virtual_size = Size(0, len(self.rows) + self.HEADER)
        self.refresh()

    def notify_style_update(self) -> None:
        """Forget finished lines: theme or state have changed."""
        super().notify_style_update()
        self._generation += 1

    def _repaint_row(self, index: int) -> None:
        """Send one line to the terminal again, if it is on the screen."""
        if 0 <= index - self.scroll_offset.y < self.page_rows:
            self.refresh_line(index + self.HEADER)

    def _scroll_rows(self, top: int) -> None:
        """Make ``top`` the first row on the screen, as far as there are rows to fill it."""
        top = max(0, min(top, self.max_scroll_y))
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, force=True)


def _finish(segments: Iterable[Segment], width: int, ground: Style) -> Strip:
    # Names are escaped where rows are made; should one get here raw, the terminal must not see it either.
    clean = [
        segment if segment.text.isprintable() else Segment(escape(segment.text), segment.style)
        for segment in segments
        if segment.text
    ]
    return Strip(Segment.apply_style(clean, ground)).adjust_cell_length(width, ground)
