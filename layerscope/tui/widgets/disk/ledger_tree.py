"""The ledger as a tree: sign, name, a bar to scale, share, size, names.

◆ ▾ image layers  layers that images are made of   ██████████████  75%   7.8 MB     667
  ├─  shop/web:2.4 and 5 more  overlay2/c0ff7388…  ████▏           22%   2.3 MB     213
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import BindingType

from layerscope.tui.glyphs import bar
from layerscope.tui.keys import picked
from layerscope.tui.sources.ledger_rows import CLASS_LOOKS, DiskRow, LedgerOrder, LedgerRows, Standing, share_text
from layerscope.tui.text import cell_len, crop, fit
from layerscope.tui.units import size_text
from layerscope.tui.widgets.rows.tree_rows import TreeRow, TreeRows
from layerscope.tui.widgets.rows.tree_view import TreeView

STANDING_LOOKS = {
    Standing.USED: ("image", "copied"),
    Standing.OWN: ("unknown", "muted"),
    Standing.SPARE: ("dangling", "modified"),
    Standing.NOBODYS: ("orphan", "whiteout"),
    Standing.UNCLEAR: ("problem", "warning"),
}
"""The sign (a status dot's) and the theme colour of each standing."""

_SIGN = 3
_ARROW = 2
_SHARE = 5
_SIZE = 9
_FILES = 9
_LEAST_NAME = 16
_WITH_FILES = 76
_LEAST_NOTE = 6


class LedgerTree(TreeView[DiskRow]):
    """Draws :class:`LedgerRows`; bars are linear, the largest class has the longest."""

    HEADER: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [*picked(("tree.toggle", "Unfold"))]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(TreeRows(lambda path: []), id=id)
        self.ledger_rows: LedgerRows | None = None

    def show(self, rows: LedgerRows, unfold: bool = False) -> None:
        """Show a ledger, or the same in another arrangement; folds and cursor stay where they can.

        ``unfold``: every class, so that what was found can be seen.
        """
        self.ledger_rows = rows
        self.empty_words = "nothing fits; esc shows everything again" if rows.arrangement.text else ""
        if unfold:
            self.model.opened |= {row.category.value for row in rows.classes}
        self.set_tree(TreeRows(rows.children, self.model.opened))

    @property
    def current(self) -> TreeRow[DiskRow] | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def arrow_cell(self, row: TreeRow[DiskRow]) -> int | None:
        """The cell of the fold arrow."""
        return _SIGN if row.foldable else None

    # ------------------------------------------------------------------ drawing
    def _columns(self, width: int) -> tuple[int, int, int]:
        """Cells for the name, the bar, the count of names; the bar takes a quarter."""
        files = _FILES if width >= _WITH_FILES else 0
        left = width - _SIGN - _ARROW - _SHARE - _SIZE - files - 1
        wide = max(0, min(left // 3, left - _LEAST_NAME))
        return left - wide, wide, files

    def draw_header(self, width: int) -> Iterable[Segment]:
        """The names of the columns; an arrow at the one that sorts."""
        name, wide, files = self._columns(width)
        rows = self.ledger_rows
        order = rows.arrangement.order if rows else LedgerOrder.SIZE
        reverse = rows.arrangement.reverse if rows else False
        up = (order is LedgerOrder.NAME) is not reverse
        sign = f" {self.look.glyphs.up if up else self.look.glyphs.down}"
        titles = {one: one.value + (sign if one is order else "") for one in LedgerOrder}
        muted = self.look.style("muted")
        yield Segment(" " * (_SIGN + _ARROW) + fit(titles[LedgerOrder.NAME], name + wide, ellipsis=""), muted)
        yield Segment(f"{'share':>{_SHARE}}{titles[LedgerOrder.SIZE]:>{_SIZE}}", muted)
        if files:
            yield Segment(f"{titles[LedgerOrder.FILES]:>{files}}", muted)

    def draw_row(self, index: int, row: TreeRow[DiskRow], width: int) -> Iterable[Segment]:
        """Sign, arrow or guides, name and note, bar, share, size, names."""
        look, glyphs, value = self.look, self.look.glyphs, row.value
        total, largest = (self.ledger_rows.ledger.total_disk, self.ledger_rows.largest) if self.ledger_rows else (0, 0)
        name, wide, files = self._columns(width)
        dot, color = STANDING_LOOKS[CLASS_LOOKS[value.category].standing]
        top = value.entry is None
        yield Segment(f" {glyphs.dots[dot]} " if top else " " * _SIGN, look.style(color, bold=True))
        if top:
            yield Segment(f"{glyphs.arrow_open if row.open else glyphs.arrow_closed} ", look.style("muted"))
        else:
            yield Segment(self.lines_before(row, _ARROW), look.style("faint"))
        yield from self._label(value, name)
        drawn = bar(value.disk / largest if largest else 0, max(0, wide - 1), glyphs)
        yield Segment(drawn, look.style(color))
        yield Segment(" " * (wide - cell_len(drawn)))
        muted = look.style("muted")
        yield Segment(f"{share_text(value.disk, total):>{_SHARE}}", muted)
        yield Segment(f"{size_text(value.disk):>{_SIZE}}", look.style("foreground", bold=top))
        if files:
            yield Segment(f"{value.count:>{files},}", muted)

    def _label(self, value: DiskRow, room: int) -> Iterable[Segment]:
        """The name, then as much of the note as fits; of a path without an owner the end tells more."""
        look, top = self.look, value.entry is None
        owned = top or bool(value.entry and value.entry.owner)
        room -= 1 - top
        yield Segment("" if top else " ")
        label = look.text(value.label)
        text = crop(label, room - 2, ellipsis=look.glyphs.ellipsis, keep="start" if owned else "end")
        yield Segment(text, look.style("foreground", bold=top))
        left = room - cell_len(text)
        note = look.text(value.note)
        if left - 4 >= min(_LEAST_NOTE, cell_len(note)) and note:
            note = "  " + crop(note, left - 4, ellipsis=look.glyphs.ellipsis)
            yield Segment(note, look.style("muted", italic=top))
            left -= cell_len(note)
        yield Segment(" " * left)
