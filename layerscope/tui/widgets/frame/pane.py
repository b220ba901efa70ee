"""A titled frame around one part of a screen. It lights up while anything inside it has the focus."""

from __future__ import annotations

from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from layerscope.tui.look import look_of
from layerscope.tui.widgets.frame.states import Loading, State, StateView


class Pane(Vertical):
    """A frame with its number key and title on top, a legend or progress at the bottom.

    While ``state`` is set, a :class:`StateView` covers the content (which keeps cursor and scroll).
    """

    DEFAULT_CSS = """
    Pane {
        border: round $frame;
        border-title-color: $muted;
        border-subtitle-color: $muted;
        background: $background;
        &:focus-within {
            border: round $primary;
            border-title-color: $primary;
            border-title-style: bold;
        }
        &.-ascii { border: ascii $frame; }
        &.-ascii:focus-within { border: ascii $primary; border-title-style: bold reverse; }
        &:nocolor:focus-within { border: heavy $primary; border-title-style: bold reverse; }
        &.-ascii:nocolor:focus-within { border: ascii $primary; }
        & > .pane--state { display: none; }
        &.-covered > * { display: none; }
        &.-covered > .pane--state { display: block; }
        &.-covered > FilterBar { display: block; }
    }
    """

    state: reactive[State | None] = reactive(None, init=False)

    def __init__(
        self,
        *children: Widget,
        title: str | Content = "",
        number: int | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(*children, name=name, id=id, classes=classes)
        self.number = number
        self._title = title
        self._legend: str | Content = ""
        self._covered_focus: Widget | None = None

    def on_mount(self) -> None:
        """Draw the title with the app's signs."""
        self.set_class(look_of(self).glyphs.ascii_only, "-ascii")
        self.set_title(self._title)

    def set_title(self, title: str | Content) -> None:
        """Change the title; a text may hold names from a root, it is escaped."""
        self._title = title
        if self.is_attached:
            number = "" if self.number is None else f"{self.number} "
            self.border_title = Content(number) + self._content(title)

    def set_legend(self, legend: str | Content) -> None:
        """Change the line at the bottom; a text may hold names from a root, it is escaped."""
        self._legend = legend
        if self.is_attached:
            self.border_subtitle = self._content(legend)

    def show_progress(self, loading: Loading | None) -> None:
        """Tell at the bottom that the content is still filling; None brings the legend back."""
        if loading is None:
            self.set_legend(self._legend)
        elif self.is_attached:
            parts = [f"{loading.what}{look_of(self).glyphs.ellipsis}", loading.progress()]
            self.border_subtitle = self._content("  ".join(part for part in parts if part))

    def _content(self, text: str | Content) -> Content:
        return text if isinstance(text, Content) else Content(look_of(self).text(text))

    def watch_state(self, state: State | None) -> None:
        """Cover the content, or uncover it; what had the focus gets it back then."""
        view = next(iter(self.query_children(StateView)), None)
        if view is not None:
            view.state = state
        elif state is not None:
            view = StateView(state, classes="pane--state")
            self.mount(view)
        self.set_class(state is not None, "-covered")
        # Asking for the focus goes through the app's queue too, so a wish that is older than this one counts.
        self.app.call_later(self._pass_focus)

    def _pass_focus(self) -> None:
        view = next(iter(self.query_children(StateView)), None)
        if view is None or not self.has_focus_within or isinstance(self.screen.focused, Input):
            return  # what is typed isn't covered
        if self.state is None:
            covered = self._covered_focus
            if covered is None or not covered.is_attached:
                covered = next((child for child in self.children if child.focusable and child is not view), None)
            if covered is not None:
                covered.focus()
        elif not view.has_focus:
            self._covered_focus = self.screen.focused
            view.focus()
