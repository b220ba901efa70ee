"""The life of a path in three lines, for screens without room for more.

/etc/nginx/nginx.conf  ~ copied up, changed
▌8 rw 812 B 9f0c…41   over   ▌2 648 B 1c77…e2   3-7, 1: not present
+3 -1 lines  enter: view  d: diff
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from layerscope.services.file.copies import Life
from layerscope.tui.glyphs import MARK_LOOKS, Mark
from layerscope.tui.keys import picked
from layerscope.tui.look import Look, look_of
from layerscope.tui.sources.comparison import Comparison, ShownKind
from layerscope.tui.sources.life import LifeRow
from layerscope.tui.text import crop
from layerscope.tui.theme import ramp_color
from layerscope.tui.units import size_text

Part = tuple[str, str]


def heading(widget: Widget, path: str, life: Life, rows: Sequence[LifeRow], cut: int) -> Content:
    """The path, what the cut makes of it, and what all its copies take."""
    look = look_of(widget)
    row = _deciding(rows)
    room = max(20, widget.size.width - 44)
    parts: list[Part] = [(crop(look.text("/" + path), room, ellipsis=look.glyphs.ellipsis, keep="end"), "bold")]
    if row is None:
        parts.append(("  not there at this level", "$muted"))
    else:
        sign = look.glyphs.marks[row.mark].strip()
        words = look.text(row.words)
        parts.append((f"  {sign} {words}" if sign else f"  {words}", _color(row)))
    copies = [copy for copy in life.copies if copy.level.number <= cut and copy.type != "dir"]
    if len(copies) > 1 or (copies and (row is None or not row.serves)):
        count = f"{len(copies)} copies" if len(copies) > 1 else "1 copy"
        parts.append((f"   {count}, {size_text(life.paid_bytes(cut))} paid", "$muted"))
    return Content.assemble(*parts)


def _deciding(rows: Sequence[LifeRow]) -> LifeRow | None:
    """The topmost row in the cut at which something happened."""
    return next((row for row in rows if row.step is not None and not row.above), None)


def _color(row: LifeRow) -> str:
    return "$muted" if row.mark in (Mark.SAME, Mark.WITHIN) else f"${MARK_LOOKS[row.mark].color}"


class DetailsSummary(Widget, can_focus=True):
    """Draws three lines. Enter and ``d`` do what they do in the large form."""

    BINDINGS: ClassVar[list[BindingType]] = [*picked(("list.choose", "", "parent_choose"))]
    DEFAULT_CSS = """
    DetailsSummary { height: 3; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    lines: reactive[Content] = reactive(Content(""))

    def __init__(self) -> None:
        super().__init__()
        self._head: tuple[Content, Content] = (Content(""), Content(""))

    def render(self) -> Content:
        """The lines."""
        return self.lines

    def show(self, path: str, life: Life, rows: Sequence[LifeRow], cut: int) -> None:
        """Show another life; what differs follows with :meth:`tell`."""
        self._head = (heading(self, path, life, rows, cut), _copies(look_of(self), life, rows))
        self.lines = Content("\n").join(self._head)

    def tell(self, comparison: Comparison | None) -> None:
        """Show what differs between the two nearest copies."""
        self.lines = Content("\n").join([*self._head, _differences(look_of(self), comparison)])

    def action_parent_choose(self) -> None:
        """Show the bytes of the copy."""
        self.call_later(self.parent.run_action, "choose")  # type: ignore[union-attr]


def _copies(look: Look, life: Life, rows: Sequence[LifeRow]) -> Content:
    """The two nearest levels that did something, and the levels that did nothing."""
    parts: list[Part] = []
    told = [row for row in rows if row.step is not None and not row.above][:2]
    for number, row in enumerate(told):
        if number:
            parts.append((" over ", "$muted"))
        color = ramp_color(look.palette, row.last, life.levels)
        words = [row.role, row.size or row.words, row.content.replace("…", look.glyphs.ellipsis)]
        parts += [
            (f"{look.glyphs.stripe}{row.levels} ", f"bold {color}"),
            (look.text(" ".join(word for word in words if word)), ""),
        ]
    gaps = ", ".join(row.levels for row in rows if row.step is None)
    if gaps:
        parts.append((f"   {gaps}: not present", "$muted"))
    return Content.assemble(*parts)


def _differences(look: Look, comparison: Comparison | None) -> Content:
    parts: list[Part] = []
    if comparison is not None and comparison.added is not None and comparison.removed is not None:
        parts += [(f"+{comparison.added:,}", "$added"), (f" -{comparison.removed:,}", "$whiteout"), (" lines", "")]
    elif comparison is not None and comparison.lines:
        first = comparison.lines[0]
        if first.kind in (ShownKind.NOTE, ShownKind.FACT):
            parts.append((look.text(first.text.replace("→", look.glyphs.link)), ""))
    facts = (
        [line.text.partition("  ")[0] for line in comparison.lines if line.kind is ShownKind.FACT] if comparison else []
    )
    if facts and parts and comparison is not None and comparison.added is not None:
        parts.append((f" {look.glyphs.separator} {look.text(', '.join(facts))} changed", "$muted"))
    if comparison is not None and comparison.new.is_file:
        parts += [("   " if parts else "", ""), ("enter", "$accent"), (" view", "$muted")]
    if comparison is not None and comparison.old is not None:
        parts += [("   " if parts else "", ""), ("d", "$accent"), (" diff", "$muted")]
    return Content.assemble(*parts)
