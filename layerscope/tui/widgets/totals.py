"""The line below the stack: docker's size and virtual size, and what the cut leaves."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from layerscope.tui.look import look_of
from layerscope.tui.sources.totals import StackTotals
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
        dot = f"  {look_of(self).glyphs.separator}  "
        parts: list[tuple[str, str] | str] = []
        if totals.has_writable:
            parts += [(size_text(totals.writable), "bold $foreground"), " size", dot]
        parts += [(size_text(totals.virtual), "bold $foreground"), " virtual" if totals.has_writable else " size"]
        if totals.cut < totals.levels:
            below = size_text(totals.below_cut)
            parts += [dot, (below, "bold $primary"), f" up to {totals.cut}"]
        return Content.assemble(*parts)
