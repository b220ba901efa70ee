"""What a pane shows instead of its content: still loading, nothing there, or something went wrong.

Each is a plain value; :class:`StateView` draws it. Texts may hold names from a root: they are escaped here and never
read as markup.
"""

from __future__ import annotations

from msgspec import Struct
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from layerscope.errors import LayerscopeError
from layerscope.tui.glyphs import bar
from layerscope.tui.look import Look, look_of

_BAR_CELLS = 24

Hints = tuple[tuple[str, str], ...]
"""Keys and what they do here, such as ``(("r", "read again"),)``."""


class Loading(Struct, frozen=True):
    """Work that goes on: ``what`` it is, ``count`` of ``unit`` so far, ``total`` if known, ``rate`` per second."""

    what: str
    count: int | None = None
    total: int | None = None
    rate: float | None = None
    unit: str = "entries"
    hints: Hints = (("esc", "cancel"),)

    def progress(self) -> str:
        """The numbers in one line, such as ``1,200 of 4,000 entries, 800/s``; "" before anything is counted."""
        if self.count is None:
            return ""
        number = f"{self.count:,}" if self.total is None else f"{self.count:,} of {self.total:,}"
        return f"{number} {self.unit}" + ("" if self.rate is None else f", {self.rate:,.0f}/s")


class Empty(Struct, frozen=True):
    """There is nothing: ``why``, and what to ``do`` about it."""

    why: str
    do: str = ""
    hints: Hints = ()


class Failure(Struct, frozen=True):
    """It could not be read: the ``message``, the ``path`` it is about; the rest of the screen stays usable."""

    message: str
    path: str = ""
    hints: Hints = (("r", "read again"),)


State = Loading | Empty | Failure


def why_not(doing: str, error: LayerscopeError | OSError) -> str:
    """A message of what went wrong: our own errors say it all, those of the system only the reason."""
    return str(error) if isinstance(error, LayerscopeError) else f"cannot {doing}: {error.strerror or error}"


class StateView(Widget, can_focus=True):
    """Draws one state in the middle of the pane. It takes the focus, so that the pane can still be gone to."""

    DEFAULT_CSS = """
    StateView {
        width: 1fr;
        height: 1fr;
        padding: 1 2;
        content-align: center middle;
        text-align: center;
        background: $background;
        color: $foreground;
    }
    """

    state: reactive[State | None] = reactive(None)

    def __init__(
        self,
        state: State | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.set_reactive(StateView.state, state)

    def render(self) -> Content:
        """The lines of the state, one below the other."""
        state, look = self.state, look_of(self)
        lines: list[Content] = []
        if isinstance(state, Loading):
            lines = [_line(look, f"{state.what}{look.glyphs.ellipsis}", "bold")]
            if state.count is not None and state.total:
                lines.append(_bar(state.count / state.total, look))
            lines.append(_line(look, state.progress(), "$muted"))
        elif isinstance(state, Empty):
            lines = [_line(look, state.why, "bold"), _line(look, state.do, "$muted")]
        elif isinstance(state, Failure):
            sign = look.glyphs.dots["problem"]
            lines = [_message(look, f"{sign} {state.message}", "$error bold"), _line(look, state.path, "$muted")]
        if state is not None and state.hints:
            lines += [Content(" "), _hint_line(state.hints)]
        return Content("\n").join(line for line in lines if line.plain)


def _line(look: Look, text: str, style: str) -> Content:
    return Content.styled(look.text(text), style)


def _message(look: Look, text: str, style: str) -> Content:
    """A line that holds names which were escaped already: their backslashes stay single."""
    return Content.styled("\\".join(map(look.text, text.split("\\"))), style)


def _bar(share: float, look: Look) -> Content:
    drawn = bar(share, _BAR_CELLS, look.glyphs)
    rest = look.glyphs.rule * (_BAR_CELLS - len(drawn))
    return Content.assemble((drawn, "$primary"), (rest, "$faint"), f" {min(max(share, 0), 1):4.0%}")


def _hint_line(hints: Hints) -> Content:
    parts: list[tuple[str, str]] = []
    for key, text in hints:
        parts += [("   " if parts else "", ""), (key, "$accent bold"), (f" {text}", "$muted")]
    return Content.assemble(*parts)
