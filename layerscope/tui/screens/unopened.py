"""What is shown while no root is open: that one is being opened, or what was tried, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen

from layerscope.errors import LayerscopeError, PermissionDenied
from layerscope.tui.keys import bindings
from layerscope.tui.widgets.frame.header import HeaderBar, RootLine
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Failure, Loading, State, StateView

_HINTS = (("r", "try again"), ("q", "quit"))


class UnopenedScreen(Screen[None]):
    """Tells why (no ``error``: because it still goes on), and tries again on request."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("screen")]
    DEFAULT_CSS = """
    UnopenedScreen {
        background: $background;
        & > Pane { height: 1fr; }
    }
    """

    class TryAgain(Message):
        """The root is to be opened once more."""

    def __init__(self, error: LayerscopeError | None, root: Path | None) -> None:
        super().__init__()
        self.error = error
        self.root = root

    def compose(self) -> ComposeResult:
        """The message in the middle."""
        yield HeaderBar()
        yield Pane(StateView(self._state()), title="Opening the root" if self.error is None else "No root is open")
        yield KeyBar()

    def _state(self) -> State:
        if self.error is None:
            return Loading("opening", hints=(("q", "quit"),))
        refused = isinstance(self.error, PermissionDenied)
        advice = ("sudo shows it; " if refused else "") + "layerscope demo shows a ready root"
        return Failure(str(self.error), advice, _HINTS)

    def on_mount(self) -> None:
        """Say what was asked for."""
        self.query_one(HeaderBar).line = RootLine("" if self.root is None else str(self.root))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense without a root."""
        return action == "reload" or action.startswith("app.")

    def action_reload(self) -> None:
        """Try again."""
        if self.error is not None:
            self.post_message(self.TryAgain())
