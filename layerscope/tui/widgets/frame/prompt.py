"""A line to type in at the bottom of a screen: what to look for, where to go."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from layerscope.tui.keys import picked
from layerscope.tui.widgets.frame.filter_bar import FilterBar, FilterInput


class PromptInput(FilterInput):
    """The field, with what Enter and Escape do here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(("list.choose", "Go", "submit"), ("screen.back", "Cancel", "drop")),
    ]


class Prompt(FilterBar):
    """A :class:`FilterBar` that asks for something else: ``sign`` stands before it, ``placeholder`` says what."""

    def __init__(self, sign: str, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.sign = sign
        self.placeholder = placeholder

    def compose(self) -> ComposeResult:
        """Sign, text, what was found."""
        yield Static(self.sign, classes="filter--sign", markup=False)
        yield PromptInput(placeholder=self.placeholder, compact=True)
        yield Static("", classes="filter--found", markup=False)
