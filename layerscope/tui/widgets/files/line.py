"""One line of the merged tree: stripe, level, mark, guides, name and note, size, and more where it fits.

▌8 ~ │ ├─  nginx.conf  copied up from L2      812 B  -rw-r--r--      0:0  2026-03-12 10:22
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from rich.segment import Segment
from rich.style import Style

from layerscope.tui.glyphs import Mark
from layerscope.tui.look import Look
from layerscope.tui.sources.arrangement import Arrangement, SortOrder
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.text import cell_len, crop
from layerscope.tui.units import local_time, mode_text, size_text

_MODE_FROM = 64
_ALL_FROM = 82
_SIZE = 8
_MODE = 12
_OWNER = 11
_TIME = 19
_LEAST_NAME = 10
_LEAST_NOTE = 8
_MARK = 2
_ARROW = 2


class FileLine(Struct, frozen=True):
    """The layout of all lines of one tree at ``width`` cells, of a stack of ``levels``."""

    look: Look
    width: int
    levels: int

    @property
    def level_cells(self) -> int:
        """How many digits a level's number has."""
        return len(str(self.levels))

    @property
    def lead(self) -> int:
        """The cells before the guides."""
        return 1 + self.level_cells + 1 + _MARK

    @property
    def guide_room(self) -> int:
        """The most cells that guides may take."""
        return max(4, (self.width - self.lead - _SIZE) // 2)

    @property
    def _has_mode(self) -> bool:
        return self.width >= _MODE_FROM

    @property
    def _has_all(self) -> bool:
        return self.width >= _ALL_FROM

    @property
    def _tail(self) -> int:
        return _SIZE + 1 + (_MODE if self._has_mode else 0) + (_OWNER + _TIME if self._has_all else 0)

    # ------------------------------------------------------------------ the line of headings
    def headings(self, arrangement: Arrangement) -> Iterable[Segment]:
        """The names of the columns, with a sign at the one that sorts."""
        look = self.look

        def heading(order: SortOrder | None, text: str) -> str:
            if order is not arrangement.order:
                return text
            rising = (order is SortOrder.NAME) != arrangement.reverse
            sign = look.glyphs.up if rising else look.glyphs.down
            return sign if len(text) == 1 else f"{text} {sign}"

        change = heading(SortOrder.CHANGE, "C" if look.glyphs.ascii_only else "Δ")
        head = f" {heading(SortOrder.LEVEL, 'L').ljust(self.level_cells)} {change} "
        head += " " * _ARROW + heading(SortOrder.NAME, "name")
        tail = f"{heading(SortOrder.SIZE, 'size'):>{_SIZE}} "
        if self._has_mode:
            tail += "  mode".ljust(_MODE)
        if self._has_all:
            tail += "owner".rjust(_OWNER) + f"  {heading(SortOrder.TIME, 'modified')}".ljust(_TIME)
        yield Segment(head + tail.rjust(max(0, self.width - len(head))), look.style("muted"))

    def order_at(self, x: int) -> SortOrder:
        """What the heading on cell ``x`` sorts by."""
        if x < self.lead - _MARK:
            return SortOrder.LEVEL
        if x < self.lead:
            return SortOrder.CHANGE
        if x < self.width - self._tail:
            return SortOrder.NAME
        return SortOrder.SIZE if x < self.width - self._tail + _SIZE + 1 else SortOrder.TIME

    # ------------------------------------------------------------------ a line
    def draw(
        self, file: FileRow, lines: str, arrow: str, size: int | None, fresh: bool, hit: tuple[int, int] | None
    ) -> Iterable[Segment]:
        """The line of ``file``: ``lines`` are its guides, ``arrow`` its fold sign or "", ``size`` its bytes as far as
        they are known, ``fresh`` whether it has just changed on disk, ``hit`` the part of the name that was searched.
        """
        look = self.look
        level = look.layer_style(file.level, self.levels, bold=fresh)
        yield Segment(look.glyphs.bar_full if fresh else look.glyphs.stripe, level)
        yield Segment(str(file.level).ljust(self.level_cells + 1), level)
        sign = "?" if file.mark is None else look.glyphs.marks[file.mark]
        mark = Mark.WITHIN if file.mark is None else file.mark
        yield Segment(sign.ljust(_MARK), look.mark_style(mark, bold=True) + Style(strike=False))
        yield Segment(lines, look.style("faint"))
        yield Segment(arrow.ljust(_ARROW), look.style("accent" if fresh else "muted"))
        room = max(_LEAST_NAME, self.width - self.lead - cell_len(lines) - _ARROW - self._tail)
        used = 0
        for segment in self._name(file, bool(arrow), room, fresh, hit):
            used += cell_len(segment.text)
            yield segment
        yield Segment(" " * (room - used))
        quiet = file.gone or file.is_dir
        yield Segment(f"{'' if size is None else size_text(size):>{_SIZE}} ", look.style("muted" if quiet else None))
        if self._has_mode:
            yield Segment(self._columns(file), look.style("muted"))

    def _name(
        self, file: FileRow, folder: bool, room: int, fresh: bool, hit: tuple[int, int] | None
    ) -> Iterable[Segment]:
        look = self.look
        name = look.text(file.name)
        shown = crop(name + ("/" if folder else ""), room, ellipsis=look.glyphs.ellipsis)
        bold = fresh or (folder and not file.gone)
        if file.mark is None or file.mark in (Mark.SAME, Mark.WITHIN):
            style = look.style("foreground", bold=bold)
        else:
            style = look.mark_style(file.mark, bold=bold)
        if hit is not None and name == file.name and hit[1] > hit[0]:
            found = style + look.style("accent", bold=True, underline=True)
            yield Segment(shown[: hit[0]], style)
            yield Segment(shown[hit[0] : hit[1]], found)
            yield Segment(shown[hit[1] :], style)
        else:
            yield Segment(shown, style)
        note = self._note(file)
        left = room - cell_len(shown) - 2
        if note and left >= _LEAST_NOTE:
            yield Segment("  ")
            yield Segment(crop(note, left, ellipsis=look.glyphs.ellipsis), look.style("muted", italic=True))

    def _note(self, file: FileRow) -> str:
        look = self.look
        note = look.text(file.note.replace("–", "-") if look.glyphs.ascii_only else file.note)
        if file.target is None:
            return note
        target = f"{look.glyphs.link} {look.text(file.target)}"
        return f"{target}  {note}" if note else target

    def _columns(self, file: FileRow) -> str:
        mode, uid, gid = file.ownership
        text = f"  {mode_text(mode)}"
        if self._has_all:
            owner = crop(f"{uid}:{gid}", _OWNER - 1, ellipsis=self.look.glyphs.ellipsis)
            text += f"{owner:>{_OWNER}}  {local_time(file.mtime)} "
        return text
