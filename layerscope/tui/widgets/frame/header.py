"""The line at the top: what is open, how much is in it, whether an engine is at work there, what is wrong."""

from __future__ import annotations

from msgspec import Struct
from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from layerscope.tui.look import look_of
from layerscope.tui.text import cell_len, crop
from layerscope.tui.units import size_text

_LEAST_PATH = 20
Part = tuple[str, str]


class RootLine(Struct, frozen=True):
    """What the header tells. ``held``: whether a daemon has the root now (None: can't be told); ``layer_bytes``: the
    recorded sizes of all layers together; ``problems``: what is damaged or missing, ``notes``: what is worth knowing;
    ``path`` is raw; ``writable``: a lab, which may be changed."""

    path: str = ""
    driver: str = ""
    containers: int | None = None
    images: int | None = None
    layer_bytes: int | None = None
    held: bool | None = None
    problems: int = 0
    notes: int = 0
    evidence: str = ""
    writable: bool = False


class HeaderBar(Widget):
    """Shows a :class:`RootLine`, in as many words as there is room for."""

    DEFAULT_CSS = """
    HeaderBar { height: 1; padding: 0 1; background: $surface; color: $muted; }
    """

    line: reactive[RootLine] = reactive(RootLine())

    class ProblemsClicked(Message):
        """The count of problems was clicked."""

    def render(self) -> Content:
        """The line, left and right part."""
        width = self.size.width
        line = self.line
        right = self._right(counts=True, words=True)
        glyphs, look = look_of(self).glyphs, look_of(self)
        logo: list[Part] = [(f"{glyphs.logo} layerscope", "bold $accent")]
        driver: list[Part] = [(f"  {look.text(line.driver)}", "$copied")] if line.driver else []
        fixed = _cells(logo) + _cells(driver) + 2
        for words in (True, False):
            if width - fixed - _cells(right) - 2 < min(_LEAST_PATH, cell_len(look.text(line.path))):
                right = self._right(counts=False, words=words)
        if width - fixed - _cells(right) - 1 < _LEAST_PATH // 2:  # whether it can be changed matters more
            fixed, driver = fixed - _cells(driver), []
        room = max(0, width - fixed - _cells(right) - 1)
        path = crop(look.text(line.path), room, ellipsis=glyphs.ellipsis, keep="end")
        left = [*logo, (f"  {path}", "$foreground"), *driver]
        gap = max(1, width - _cells(left) - _cells(right))
        return Content.assemble(*left, " " * gap, *right)

    def _right(self, counts: bool, words: bool) -> list[Part]:
        line, glyphs = self.line, look_of(self).glyphs
        dot = f" {glyphs.separator} "
        parts: list[Part] = []
        if counts and line.containers is not None and line.images is not None:
            parts.append((_count(line.containers, "container") + dot + _count(line.images, "image"), "$muted"))
            if line.layer_bytes is not None:
                parts.append((f"{dot}{size_text(line.layer_bytes)} in layers", "$muted"))
            parts.append(("  ", ""))
        if line.problems:
            text = _count(line.problems, "problem") if words else f"{line.problems:,}"
            parts.append((f"{glyphs.dots['problem']} {text}  ", "bold $warning"))
        elif line.notes and words:
            parts.append((f"{glyphs.dots['unknown']} {_count(line.notes, 'note')}  ", "$muted"))
        if line.held:
            parts.append((f"{glyphs.dots['running']} daemon alive  ", "$modified"))
        if line.driver and line.writable:
            parts.append((f"{glyphs.dots['running']} lab, writable", "$accent"))
        elif line.driver:
            parts.append((f"{glyphs.dots['running']} read-only", "$added"))
        return parts

    def watch_line(self, line: RootLine) -> None:
        """Tell at the pointer how it is known whether a daemon is at work."""
        self.tooltip = look_of(self).text(line.evidence) or None

    def on_click(self, event: events.Click) -> None:
        """Open the list of problems at a click on the right half."""
        if (self.line.problems or self.line.notes) and event.x > self.size.width // 2:
            self.post_message(self.ProblemsClicked())


def _cells(parts: list[Part]) -> int:
    return sum(cell_len(text) for text, _ in parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
