"""The stored copies of a path in a line, oldest first, and the two that are compared.

copies   1   -2   +6
--- 2        20 B  0a22…df  2026-11-21 20:19:26 UTC  RUN echo second line >> /etc/motd
+++ 6 rw     31 B  dd3c…67  2026-11-21 20:19:28 UTC
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from layerscope.model.level import Role
from layerscope.services.file.copies import Copy, Life
from layerscope.tui.look import Look, look_of
from layerscope.tui.sources.facts import utc_time
from layerscope.tui.sources.life import short_digest
from layerscope.tui.text import cell_len, crop, fit
from layerscope.tui.units import size_text

_SECOND = 1_000_000_000


class CopyStrip(Widget):
    """Three lines; :meth:`show` says of what."""

    DEFAULT_CSS = """
    CopyStrip { height: 4; width: 1fr; background: $background; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._life: Life | None = None
        self._old: Copy | None = None
        self._new: Copy | None = None

    def show(self, life: Life, old: Copy | None, new: Copy | None) -> None:
        """Show the copies of ``life``, of which two are chosen."""
        self._life, self._old, self._new = life, old, new
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One of the lines."""
        width = self.size.width
        base = self.visual_style.rich_style
        segments: list[Segment] = []
        if self._life is not None and y < 3:
            look = look_of(self)
            sides = (None, (self._old, "---", "whiteout"), (self._new, "+++", "added"))
            side = sides[y]
            segments = list(self._chips(look, width) if side is None else self._side(look, width, *side))
        elif y == 3:
            look = look_of(self)
            segments = [Segment(look.glyphs.rule * width, look.style("faint"))]
        return Strip(Segment.apply_style(segments, base)).adjust_cell_length(width, base)

    def _chips(self, look: Look, width: int) -> Iterator[Segment]:
        assert self._life is not None
        yield Segment("copies ", look.style("muted"))
        left = width - 7
        for copy in reversed(self._life.copies):
            number = copy.level.number
            sign = "-" if copy is self._old else "+" if copy is self._new else " "
            text = f" {sign}{number} "
            left -= len(text) + 1
            if left < 2:
                yield Segment(look.glyphs.ellipsis, look.style("muted"))
                return
            style = look.layer_style(number, self._life.levels, bold=sign != " ")
            yield Segment(text, style + Style(reverse=True) if sign != " " else style)
            yield Segment(" ")

    def _side(self, look: Look, width: int, copy: Copy | None, sign: str, color: str) -> Iterator[Segment]:
        assert self._life is not None
        yield Segment(f"{sign} ", look.style(color, bold=True))
        if copy is None:
            yield Segment("no other copy is stored", look.style("muted", italic=True))
            return
        level = copy.level
        role = "" if level.role is Role.IMAGE else f" {level.role.value}"
        step = next(step for step in self._life.steps if step.copy is copy)
        size = size_text(copy.stat.st_size) if copy.type in ("file", "symlink") else copy.type
        digest = short_digest(step.sha256).replace("…", look.glyphs.ellipsis) if step.sha256 else ""
        when = utc_time(copy.stat.st_mtime_ns // _SECOND * _SECOND)
        yield Segment(
            fit(f"layer {level.number}{role}", 14), look.layer_style(level.number, self._life.levels, bold=True)
        )
        text = f"{size:>8}  {digest:<8}  {when}"
        yield Segment(text)
        room = width - 20 - cell_len(text)
        yield Segment(
            "  " + crop(look.text(level.created_by.strip()), room, ellipsis=look.glyphs.ellipsis), look.style("muted")
        )
