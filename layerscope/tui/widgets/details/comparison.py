"""Draws a comparison: a unified diff with signs and colours, facts that differ, or the beginning of a file.

─── layer 2   +++ layer 8                +3 -1
 mode  0644 → 0600
@@ -12,6 +12,9 @@
  http {
-     server_tokens on;
+     server_tokens off;
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style

from layerscope.tui.content_text import content_strip
from layerscope.tui.look import Look
from layerscope.tui.sources.comparison import Comparison, ShownKind, ShownLine
from layerscope.tui.text import cell_len, crop
from layerscope.tui.widgets.rows.scroll import ScrollRows

_MEASURED_ROWS = 2_000


class ComparisonView(ScrollRows[ShownLine]):
    """Shows a :class:`Comparison`. ``levels`` is the height of the stack, for the colours of the layers."""

    HEADER: ClassVar[bool] = True

    def __init__(self, *, numbers: bool = False, id: str | None = None, classes: str | None = None) -> None:
        """Args:
        numbers: Also show the line numbers of both copies.
        """
        super().__init__(id=id, classes=classes)
        self.numbers = numbers
        self.comparison: Comparison | None = None
        self.levels = 1
        self._number_cells = 0

    def show(self, comparison: Comparison | None, levels: int = 1) -> None:
        """Show another comparison, from its beginning; None: nothing."""
        self.comparison, self.levels = comparison, levels
        lines = [] if comparison is None else comparison.lines
        if self.numbers:
            most = max((max(line.old or 0, line.new or 0) for line in lines), default=0)
            self._number_cells = len(str(most)) + 1 if most else 0
        self.set_rows(lines)

    def widest(self) -> int:
        """The cells of the widest of the first rows."""
        return self._number_cells * 2 + 4 + max((len(row.text) for row in self.rows[:_MEASURED_ROWS]), default=0)

    def go_to_hunk(self, direction: int) -> None:
        """Scroll to the next (-1: previous) place where lines differ."""
        here = self.scroll_offset.y
        starts = [
            index
            for index, row in enumerate(self.rows)
            if row.kind is ShownKind.HUNK or (_differs(row) and not (index and _differs(self.rows[index - 1])))
        ]
        hunks = [index for index in starts if self.rows[index].kind is ShownKind.HUNK] or starts
        ahead = [index for index in hunks if (index - here) * direction > 0]
        if ahead:
            self._scroll_rows(ahead[0] if direction > 0 else ahead[-1])

    # ------------------------------------------------------------------ drawing
    def draw_header(self, width: int) -> Iterable[Segment]:
        """Which two copies, and how many lines came and went."""
        found = self.comparison
        if found is None:
            return
        look = self.look
        counts = _counts(found, look)
        room = width - sum(cell_len(segment.text) for segment in counts)
        left = list(self._sides(found, look))
        yield from left
        yield Segment(" " * max(1, room - sum(cell_len(segment.text) for segment in left)))
        yield from counts

    def _sides(self, found: Comparison, look: Look) -> Iterable[Segment]:
        rule = look.glyphs.rule * 3
        muted = look.style("muted")
        if found.old is None:
            yield Segment(f"{rule} ", muted)
            yield self._level(found.new.level.number, look)
            yield Segment(f" {look.glyphs.separator} content", muted)
            return
        yield Segment(f"{'-' * 3} ", look.style("whiteout", bold=True))
        yield self._level(found.old.level.number, look)
        yield Segment("   +++ ", look.style("added", bold=True))
        yield self._level(found.new.level.number, look)

    def _level(self, number: int, look: Look) -> Segment:
        return Segment(f"layer {number}", look.layer_style(number, self.levels, bold=True))

    def draw_row(self, index: int, row: ShownLine, width: int) -> Iterable[Segment]:
        """Numbers, sign, text."""
        look = self.look
        style = _style(row.kind, look)
        if row.kind in (ShownKind.HUNK, ShownKind.FACT, ShownKind.NOTE, ShownKind.NO_END):
            text = look.text(row.text)
            if look.glyphs.ascii_only:
                text = look.text(row.text.replace("→", look.glyphs.link))
            label, gap, rest = text.partition("  ") if row.kind is ShownKind.FACT else (text, "", "")
            lead = "  " if row.kind is ShownKind.NO_END else ""
            yield Segment(lead + label, look.style("modified") if row.kind is ShownKind.FACT else style)
            yield Segment(crop(gap + rest, max(0, width - cell_len(label)), ellipsis=look.glyphs.ellipsis), style)
            return
        cells = self._number_cells
        if cells:
            faint = look.style("hidden")
            yield Segment(f"{row.old or '':>{cells}}{row.new or '':>{cells}} ", faint)
        sign = row.kind.value
        yield Segment(f"{sign} ", style + Style(bold=True))
        room = max(0, width - cells * 2 - bool(cells) - 2)
        yield from content_strip([(row.text, style)], look, self.pan, room)


def _differs(row: ShownLine) -> bool:
    return row.kind in (ShownKind.OLD, ShownKind.NEW)


def _style(kind: ShownKind, look: Look) -> Style:
    match kind:
        case ShownKind.OLD:
            return look.style("whiteout")
        case ShownKind.NEW:
            return look.style("added")
        case ShownKind.HUNK:
            return look.style("copied")
        case ShownKind.SAME:
            return look.style("foreground")
        case _:
            return look.style("muted", italic=True)


class BareComparisonView(ComparisonView):
    """Without the line that says which copies they are, where that is told beside it."""

    HEADER: ClassVar[bool] = False


def _counts(found: Comparison, look: Look) -> list[Segment]:
    if not found.added and not found.removed:
        return []
    return [
        Segment(f"+{found.added or 0:,}", look.style("added", bold=True)),
        Segment(f" -{found.removed or 0:,}", look.style("whiteout", bold=True)),
    ]
