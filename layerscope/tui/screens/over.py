"""The base of screens that lie over another one and show one thing: a pane, the keys, and a way back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Generic

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen, ScreenResultType
from textual.widget import Widget

from layerscope.tui.keys import picked
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane


class OverScreen(Screen[ScreenResultType], Generic[ScreenResultType]):
    """Escape gives up what is going on, else goes back; so does the key that quits the program elsewhere."""

    BINDINGS: ClassVar[list[BindingType]] = [*picked(("screen.back", "Back"), ("app.quit", "", "leave"))]
    DEFAULT_CSS = """
    OverScreen {
        layout: vertical;
        background: $background;
        & > Pane { height: 1fr; }
    }
    """

    def compose(self) -> ComposeResult:
        """The pane with what is shown, and the keys."""
        yield Pane(*self.content(), id="over")
        yield KeyBar()

    def content(self) -> Iterable[Widget]:
        """What is in the pane."""
        raise NotImplementedError

    @property
    def pane(self) -> Pane:
        """The frame."""
        return self.query_one("#over", Pane)

    def give_up(self) -> bool:
        """Give up what is going on; False if there is nothing."""
        return False

    def action_back(self) -> None:
        """Give up what is going on, or go back."""
        if not self.give_up():
            self.dismiss(None)

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    # ------------------------------------------------------------------ a line to type in
    async def open_prompt(self, prompt: FilterBar) -> None:
        """Ask for something at the bottom; one line at a time."""
        await self.query(FilterBar).remove()
        await self.mount(prompt, before=self.query_one(KeyBar))
        prompt.focus_text()

    def close_prompt(self) -> None:
        """Take the line away; what is shown gets the focus back."""
        for prompt in self.query(FilterBar):
            prompt.remove()
        self.focus_content()

    def focus_content(self) -> None:
        """Give what is shown the focus."""
        for widget in self.pane.walk_children():
            if isinstance(widget, Widget) and widget.focusable and widget.display:
                widget.focus()
                return
