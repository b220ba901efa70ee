"""The layer stack to scale: one block per level, top first, as tall and with as long a bar as it is large."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from layerscope.tui.keys import bindings
from layerscope.tui.look import look_of
from layerscope.tui.sources.blocks import Block, block_heights
from layerscope.tui.widgets.rows.cursor import clamp, top_showing
from layerscope.tui.widgets.stack.block_lines import BRACKET_CELLS, BlockPainter, BlockPlace, cells_of_bars

_BLOCKS_FROM = 36
_GAPS_FROM = 3


class LayerStack(ScrollView, can_focus=True):
    """Blocks with a cursor. The level under it is the cut: what lies above is dimmed, a bracket holds the rest."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list")]
    DEFAULT_CSS = """
    LayerStack {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        background: $background;
        color: $foreground;
    }
    """

    cursor: reactive[int] = reactive(0, init=False)
    """The index of the chosen block, 0 = the top level."""

    class CutChanged(Message):
        """Another level was chosen; only the newest of several is handled."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def can_replace(self, message: Message) -> bool:
            """A later choice makes this one pointless."""
            return isinstance(message, LayerStack.CutChanged)

    class Chosen(Message):
        """The chosen level was opened: Enter, or a double click."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.blocks: list[Block] = []
        self.alone = False
        self._places: list[BlockPlace] = []
        self._laid_out_for = Size(0, 0)
        self._bar_cells: tuple[int, float] | None = None

    # ------------------------------------------------------------------ content
    def show(self, blocks: list[Block], number: int) -> None:
        """Show other levels (top first), with the cursor on level ``number``; no message tells of it."""
        self.blocks = blocks
        index = next((index for index, block in enumerate(blocks) if block.number == number), 0)
        self.set_reactive(LayerStack.cursor, index)
        self._lay_out()

    def replace(self, block: Block) -> None:
        """Show another block in the place of the one of that level."""
        self.blocks = [block if known.number == block.number else known for known in self.blocks]
        self._lay_out()

    @property
    def number(self) -> int:
        """The chosen level's number (0 without levels)."""
        return self.blocks[self.cursor].number if self.blocks else 0

    def set_alone(self, alone: bool) -> None:
        """Whether only the chosen level is looked at, not those below it."""
        self.alone = alone
        self.refresh()

    def move_to_level(self, number: int) -> None:
        """Choose the level of that number, as far as there is one."""
        self.cursor = next((index for index, block in enumerate(self.blocks) if block.number <= number), 0)

    # ------------------------------------------------------------------ layout
    def _lay_out(self) -> None:
        self._laid_out_for = self.size
        self._bar_cells = None
        most = 1 if self.size.width < _BLOCKS_FROM else _GAPS_FROM
        heights = block_heights([block.size for block in self.blocks], self.size.height, most)
        gaps = min(heights, default=0) >= _GAPS_FROM
        self._places = [
            BlockPlace(index, line, height, gaps) for index, height in enumerate(heights) for line in range(height)
        ]
        self.virtual_size = Size(0, len(self._places))
        self.refresh()
        self._reveal()

    def on_resize(self) -> None:
        """Share the lines out anew."""
        self._lay_out()

    def _reveal(self) -> None:
        """Scroll so that the chosen block is in sight, its top rather than its end."""
        lines = [line for line, place in enumerate(self._places) if place.index == self.cursor]
        if not lines or not self.size.height:
            return
        top = top_showing(lines[-1], self.scroll_offset.y, self.size.height)
        top = max(0, min(top_showing(lines[0], top, self.size.height), self.max_scroll_y))
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, force=True)

    # ------------------------------------------------------------------ drawing
    def render_line(self, y: int) -> Strip:
        """Line ``y`` of what is on the screen."""
        if self._laid_out_for != self.size:  # drawn before it is told of its size
            self._lay_out()
        base = self.visual_style.rich_style
        line = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if line >= len(self._places):
            return Strip.blank(self.size.width, base)
        place = self._places[line]
        block = self.blocks[place.index]
        largest = max((known.size or 0 for known in self.blocks), default=0)
        look, room = look_of(self), width - BRACKET_CELLS
        if self._bar_cells is None or self._bar_cells[0] != room:
            self._bar_cells = room, cells_of_bars(self.blocks, room, look.glyphs)
        ground, focused = self.background_colors[1], self.has_focus
        painter = BlockPainter(look, room, len(self.blocks), largest, ground, focused, self._bar_cells[1])
        outside = place.index != self.cursor if self.alone else place.index < self.cursor
        segments = list(painter.line(block, place, chosen=place.index == self.cursor, outside=outside))
        sign = self._bracket(line, place)
        segments.append(Segment(f" {sign}", look_of(self).style("primary")))
        return Strip(Segment.apply_style(segments, base)).adjust_cell_length(self.size.width, base)

    def _bracket(self, line: int, place: BlockPlace) -> str:
        """What holds the levels together that are shown: from the chosen block down to the base, or it alone."""
        if place.index < self.cursor or (self.alone and place.index > self.cursor):
            return " "
        glyphs = look_of(self).glyphs
        last = self.cursor if self.alone else len(self.blocks) - 1
        first = place.index == self.cursor and place.line == 0
        ends = place.index == last and place.line == place.last_line
        if first and not ends:
            return glyphs.bracket_top
        if ends and not first:
            return glyphs.bracket_bottom
        return " " if place.index == last and place.line > place.last_line else glyphs.bracket_middle

    # ------------------------------------------------------------------ the cursor
    def validate_cursor(self, cursor: int) -> int:
        """Keep it within the blocks."""
        return clamp(cursor, len(self.blocks))

    def watch_cursor(self) -> None:
        """Tell of the cut."""
        self._reveal()
        self.post_message(self.CutChanged(self.number))

    def action_move_rows(self, step: int) -> None:
        """Choose the block ``step`` further down (negative: up)."""
        self.cursor += step

    def action_move_pages(self, step: int) -> None:
        """Move a page: as many blocks as are on the screen."""
        shown = {place.index for place in self._places[self.scroll_offset.y :][: self.size.height]}
        self.cursor += step * max(1, len(shown) - 1)

    def action_move_half_pages(self, step: int) -> None:
        """Move half as far as a page."""
        self.cursor += step * max(1, min(len(self.blocks), self.size.height) // 2)

    def action_move_to_end(self, direction: int) -> None:
        """Go to the base (-1: to the top)."""
        self.cursor = len(self.blocks) - 1 if direction > 0 else 0

    def action_choose(self) -> None:
        """Open the chosen level."""
        if self.blocks:
            self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """Choose the block, open it at a double click."""
        place = event.get_content_offset(self)
        if place is None or event.button != 1:
            return
        event.stop()
        line = place.y + self.scroll_offset.y
        if line < len(self._places):
            self.cursor = self._places[line].index
            if event.chain % 2 == 0:
                self.action_choose()
