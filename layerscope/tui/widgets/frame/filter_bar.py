"""The line in which a filter is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from layerscope.tui.keys import picked
from layerscope.tui.look import look_of


class FilterInput(Input):
    """The field: Enter or an arrow goes to what was found, Escape drops it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(
            ("list.choose", "Go to hits", "submit"),
            ("list.down", "", "submit"),
            ("screen.back", "Clear", "drop"),
            ("find.filter", "", "select_all"),
        )
    ]

    class Dropped(Message):
        """Escape was pressed."""

    def action_drop(self) -> None:
        """Tell that it is to go."""
        self.post_message(self.Dropped())


class FilterBar(Horizontal):
    """A text field that tells of each change, with what was found beside it."""

    DEFAULT_CSS = """
    FilterBar {
        height: 1;
        background: $panel;
        & > Input { width: 1fr; height: 1; border: none; padding: 0; background: $panel; }
        & > Input:focus { border: none; }
        & > .filter--sign { width: 2; color: $accent; text-style: bold; }
        & > .filter--found { width: auto; color: $muted; padding: 0 1; }
    }
    """

    class Changed(Message):
        """Another text is to be looked for ("" = none)."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

        def can_replace(self, message: Message) -> bool:
            """What was typed later counts."""
            return isinstance(message, FilterBar.Changed)

    class Done(Message):
        """Enter or an arrow: go to what was found."""

    class Closed(Message):
        """Escape: no filter any more."""

    def compose(self) -> ComposeResult:
        """Sign, text, what was found."""
        yield Static("/", classes="filter--sign", markup=False)
        yield FilterInput(placeholder="part of a name, *.conf, or etc/*", compact=True)
        yield Static("", classes="filter--found", markup=False)

    @property
    def text(self) -> str:
        """What was typed."""
        return self.query_one(Input).value

    def focus_text(self) -> None:
        """Put the cursor into the text."""
        self.query_one(Input).focus()

    def tell(self, text: str) -> None:
        """Show what was found, or how far the search is; it may be told while the bar comes or goes."""
        for place in self.query(".filter--found").results(Static):
            place.update(look_of(self).text(text))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell of the new text."""
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to what was found."""
        event.stop()
        self.post_message(self.Done())

    def on_filter_input_dropped(self, event: FilterInput.Dropped) -> None:
        """No filter any more."""
        event.stop()
        self.post_message(self.Closed())
