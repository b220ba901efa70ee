"""The facts of one copy, a label before each; long values go on in the next line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.segment import Segment

from layerscope.tui.sources.facts import Fact
from layerscope.tui.sources.wrapping import wrapped
from layerscope.tui.widgets.rows.scroll import ScrollRows

_LABEL = 9
_MOST_LINES = 6


class _Line(NamedTuple):
    label: str
    text: str


class FactsView(ScrollRows[_Line]):
    """Shows facts, wrapped to its width."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts: Sequence[Fact] = ()

    def show(self, facts: Sequence[Fact]) -> None:
        """Show other facts."""
        self._facts = facts
        self._wrap()

    def show_if_new(self, facts: Sequence[Fact]) -> None:
        """Show other facts; the same ones stay where they were scrolled to."""
        if list(facts) != list(self._facts):
            self.show(facts)

    def on_resize(self) -> None:
        """Break the lines anew."""
        self._wrap()

    def _wrap(self) -> None:
        room = max(8, self.row_width - _LABEL)
        lines: list[_Line] = []
        for label, value in self._facts:
            text = self.look.text(value)
            pieces = wrapped(text, room, _MOST_LINES, self.look.glyphs.ellipsis)
            lines.extend(_Line("" if number else label, piece) for number, piece in enumerate(pieces))
        self.set_rows(lines)

    def draw_row(self, index: int, row: _Line, width: int) -> Iterable[Segment]:
        """Label and value."""
        yield Segment(f"{row.label:<{_LABEL}}", self.look.style("muted"))
        yield Segment(row.text, self.look.style("foreground"))
