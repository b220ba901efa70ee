"""The life of a path as a list, top level first: which level did what, how large its copy is, what its content is.

▌8 rw    ~ copied up, changed      812 B  9f0c…41
▌3-7     · not present
▌2       + added                   648 B  1c77…e2
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import BindingType

from layerscope.tui.glyphs import Mark
from layerscope.tui.keys import picked
from layerscope.tui.sources.life import LifeRow
from layerscope.tui.text import fit
from layerscope.tui.widgets.rows.line_view import LineView

_SIZE = 8
_CONTENT = 8
_ROLE = 5
_LEAST_WORDS = 14


class LifeList(LineView[LifeRow]):
    """Rows of a life in a stack of ``levels``; the cursor chooses a copy."""

    HEADER: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [*picked(("list.choose", "View"))]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.levels = 1

    def show(self, rows: list[LifeRow], levels: int, cursor: int) -> None:
        """Show another life, with the cursor on row ``cursor``."""
        self.levels = levels
        self.set_rows(rows, cursor)

    @property
    def current(self) -> LifeRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    # ------------------------------------------------------------------ drawing
    def _columns(self, width: int) -> tuple[int, int, int, int]:
        """Cells for levels, role, words, and size with content; what doesn't fit goes from the right."""
        levels = max(5, max((len(row.levels) for row in self.rows), default=1) + 1)
        left = width - 2 - levels - _ROLE - 2
        tail = 0
        for more in (_SIZE + 1, _CONTENT + 1) if any(row.size for row in self.rows) else ():
            if left - tail - more >= _LEAST_WORDS:
                tail += more
        return levels, _ROLE, max(0, left - tail), tail

    def draw_header(self, width: int) -> Iterable[Segment]:
        """The names of the columns."""
        levels, role, words, tail = self._columns(width)
        muted = self.look.style("muted")
        yield Segment(" " + fit("layer", levels + role), muted)
        yield Segment("  " + fit("what it did", words), muted)
        if tail:
            yield Segment(f" {'size':>{_SIZE}}", muted)
        if tail > _SIZE + 1:
            yield Segment(f"  {'content':<{_CONTENT - 1}}", muted)

    def draw_row(self, index: int, row: LifeRow, width: int) -> Iterable[Segment]:
        """Stripe, level, sign, words, size, content."""
        look, ellipsis = self.look, self.look.glyphs.ellipsis
        levels, role, words, tail = self._columns(width)
        faint = row.above or row.step is None
        color = look.style("muted") if row.above else look.layer_style(row.last, self.levels, bold=row.serves)
        sign = look.style("muted") if faint else look.sign_style(row.mark)
        text = look.style("muted") if faint else look.style("foreground", bold=row.serves)
        yield Segment(look.glyphs.stripe, color)
        yield Segment(fit(row.levels, levels), color)
        yield Segment(fit(row.role, role), look.style("muted", italic=True))
        yield Segment(look.glyphs.marks[row.mark] + " ", sign)
        yield Segment(
            fit(look.text(row.words), words, ellipsis=ellipsis), sign if _telling(row) and not faint else text
        )
        if tail:
            yield Segment(f" {row.size:>{_SIZE}}", text)
        if tail > _SIZE + 1:
            content = row.content.replace("…", ellipsis)
            yield Segment("  " + fit(content, _CONTENT - 1, ellipsis=ellipsis), look.style("muted"))


def _telling(row: LifeRow) -> bool:
    return row.mark not in (Mark.SAME, Mark.WITHIN)
