"""Changes as a list: docker's letter, sign, path, reason, sizes, levels.

A + /etc/nginx/ssl/server.key   added       348 B                8
C ~ /etc/nginx/nginx.conf       content     709 B  was  626 B    8 over 2
D ✗ /etc/motd                   whiteout           was   20 B    8 over 1
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import BindingType

from layerscope.model.change import Change
from layerscope.tui.keys import picked
from layerscope.tui.sources.change_rows import mark_of_change, reason_word
from layerscope.tui.text import cell_len, crop, fit
from layerscope.tui.units import size_text
from layerscope.tui.widgets.rows.line_view import LineView

_REASON = 14
_SIZE = 9
_WAS = 12
_LEVELS = 12
_WITH_LEVELS = 90
_WITH_REASON = 70
_WITH_WAS = 52


class ChangeList(LineView[Change]):
    """Draws changes of a stack of ``levels``."""

    HEADER: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [*picked(("list.choose", "Go to it"))]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.levels = 1

    def _tail(self, width: int) -> int:
        reason = _REASON if width >= _WITH_REASON else 0
        return reason + _SIZE + self._was(width) + (_LEVELS if width >= _WITH_LEVELS else 0)

    @staticmethod
    def _was(width: int) -> int:
        """The cells of the size before, which gives way to the path first."""
        return _WAS if width >= _WITH_WAS else 0

    def draw_header(self, width: int) -> Iterable[Segment]:
        """The names of the columns."""
        muted = self.look.style("muted")
        yield Segment("     " + fit("path", max(0, width - 5 - self._tail(width))), muted)
        if width >= _WITH_REASON:
            yield Segment(fit("why", _REASON), muted)
        yield Segment(f"{'size':>{_SIZE}}" + "before".rjust(_WAS)[: self._was(width)], muted)
        if width >= _WITH_LEVELS:
            yield Segment(fit("  layers", _LEVELS), muted)

    def draw_row(self, index: int, row: Change, width: int) -> Iterable[Segment]:
        """Letter, sign, path, reason, sizes, levels."""
        look = self.look
        mark = mark_of_change(row)
        muted = look.style("muted")
        yield Segment(f" {row.kind.value} ", look.sign_style(mark))
        yield Segment(f"{look.glyphs.marks[mark]} ", look.sign_style(mark))
        room = max(0, width - 5 - self._tail(width))
        path = crop(look.text("/" + row.path), room - 1, ellipsis=look.glyphs.ellipsis, keep="end")
        yield Segment(path, look.name_style(mark))
        yield Segment(" " * (room - cell_len(path)))
        if width >= _WITH_REASON:
            yield Segment(fit(reason_word(row), _REASON, ellipsis=look.glyphs.ellipsis), muted)
        yield Segment(f"{'' if row.size is None else size_text(row.size):>{_SIZE}}")
        if self._was(width):
            yield Segment(f"{'' if row.size_below is None else size_text(row.size_below):>{_WAS}}", muted)
        if width >= _WITH_LEVELS and row.level is not None:
            yield Segment("  ")
            yield Segment(str(row.level), look.layer_style(row.level, self.levels, bold=True))
            if row.level_below is not None:
                yield Segment(" over ", muted)
                yield Segment(str(row.level_below), look.layer_style(row.level_below, self.levels))
