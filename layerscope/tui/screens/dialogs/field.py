"""Lines of a dialog: a text to be filled in, checked with each key, with a word before it; a box to be ticked."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.validation import Function
from textual.widgets import Checkbox, Input, Static

from layerscope.tui.look import look_of


def typable(name: str) -> str:
    """``name``, or "" if it can't be typed: a line to type in is drawn as it is, so a root must not fill it at will."""
    return name if name.isprintable() else ""


class Field(Horizontal):
    """``label``, then the text. ``valid`` says whether a text can be taken (None: any can)."""

    DEFAULT_CSS = """
    Field {
        height: 1;
        & > Static { width: 10; color: $muted; }
        & > Input {
            width: 1fr; height: 1; border: none; padding: 0; background: $panel;
            &:focus { border: none; background: $cursor; }
            &.-invalid { border: none; color: $error; }
            &.-invalid:focus { border: none; }
        }
    }
    """

    def __init__(
        self,
        label: str,
        value: str = "",
        *,
        placeholder: str = "",
        valid: Callable[[str], bool] | None = None,
        suggester: Suggester | None = None,
        disabled: bool = False,
        id: str,
    ) -> None:
        super().__init__(id=id)
        self._label = label
        self._input = Input(
            value,
            placeholder=placeholder,
            compact=True,
            validators=[Function(valid)] if valid is not None else None,
            validate_on=["changed"],
            valid_empty=True,
            suggester=suggester,
            select_on_focus=False,
            disabled=disabled,
        )

    def compose(self) -> ComposeResult:
        """Word and text."""
        yield Static(self._label, markup=False)
        yield self._input

    @property
    def value(self) -> str:
        """What was typed."""
        return self._input.value

    @property
    def input(self) -> Input:
        """The text field."""
        return self._input


class TickBox(Checkbox):
    """A box to be ticked. It has the signs of lists, so that it can be read without colours, too."""

    BUTTON_LEFT = BUTTON_RIGHT = ""

    def on_mount(self) -> None:
        """Draw it with the app's signs."""
        self._choose_sign()

    def watch_value(self) -> None:
        """Another sign."""
        self._choose_sign()
        super().watch_value()

    def _choose_sign(self) -> None:
        glyphs = look_of(self).glyphs
        self.BUTTON_INNER = glyphs.checked if self.value else glyphs.unchecked
