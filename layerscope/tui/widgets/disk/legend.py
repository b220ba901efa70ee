"""The line below the ledger: what its signs mean, as far as they occur."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from layerscope.tui.look import look_of
from layerscope.tui.sources.ledger_rows import CLASS_LOOKS, LedgerRows, Standing
from layerscope.tui.widgets.disk.ledger_tree import STANDING_LOOKS


def standing_legend(widget: Widget, rows: LedgerRows) -> Content:
    """Signs with their words."""
    look = look_of(widget)
    there = {CLASS_LOOKS[row.category].standing for row in rows.classes}
    parts: list[tuple[str, str]] = []
    for standing in Standing:
        if standing in there:
            dot, color = STANDING_LOOKS[standing]
            parts += [
                (f"{'  ' if parts else ''}{look.glyphs.dots[dot]} ", f"bold ${color}"),
                (standing.value, "$muted"),
            ]
    return Content.assemble(*parts)
