"""The lines below the stack: docker's size and virtual size, what the cut leaves, and the chosen level in words."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from layerscope.tui.glyphs import MARK_LOOKS
from layerscope.tui.look import look_of
from layerscope.tui.sources.blocks import Block
from layerscope.tui.sources.totals import StackTotals
from layerscope.tui.text import crop
from layerscope.tui.units import size_text


class TotalsLine(Widget):
    """Shows :class:`StackTotals`."""

    DEFAULT_CSS = """
    TotalsLine { height: 1; padding: 0 1; color: $muted; }
    """

    totals: reactive[StackTotals | None] = reactive(None)

    def render(self) -> Content:
        """The sums as words."""
        totals = self.totals
        if totals is None or not totals.levels:
            return Content("")
        dot = f" {look_of(self).glyphs.separator} "
        parts: list[tuple[str, str] | str] = []
        if totals.cut < totals.levels:
            parts += [(size_text(totals.below_cut), "bold $primary"), f" up to layer {totals.cut}", dot]
        elif totals.has_writable:
            parts += [(size_text(totals.writable), "bold $foreground"), " size", dot]
        parts += [(size_text(totals.virtual), "bold $foreground"), " virtual" if totals.has_writable else " size"]
        return Content.assemble(*parts)


class LevelCaption(Widget):
    """Says in words what has no room in the one line of a level: its command and its counts."""

    DEFAULT_CSS = """
    LevelCaption { height: 4; padding: 0 1; color: $muted; border-top: solid $frame; }
    """

    block: reactive[Block | None] = reactive(None)

    def render(self) -> Content:
        """Two lines of the command, one of counts."""
        block, look = self.block, look_of(self)
        if block is None:
            return Content("")
        width = max(1, self.content_size.width)
        text = look.text(block.title)
        first = text[:width]
        second = crop(text[width:].lstrip(), width, ellipsis=look.glyphs.ellipsis)
        counts = [(f"{look.glyphs.marks[mark]}{count:,} ", f"${MARK_LOOKS[mark].color}") for mark, count in block.marks]
        return Content("\n").join([Content.styled(first, "$foreground"), Content(second), Content.assemble(*counts)])
