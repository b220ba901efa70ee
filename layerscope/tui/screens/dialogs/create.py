"""Asking for the name of a new container."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual.widget import Widget
from textual.widgets import Static

from layerscope.model.digest import hex_of
from layerscope.model.image import Image
from layerscope.services.lab.preview import create
from layerscope.tui.screens.dialogs.dialog import Dialog, Tick
from layerscope.tui.screens.dialogs.field import Field
from layerscope.tui.text import escape


class CreateDialog(Dialog[str]):
    """Makes a container of an image; ends with the container's id."""

    ACCEPT: ClassVar[str] = "Make"

    def __init__(self, root: Path, image: Image) -> None:
        super().__init__()
        self._path = root
        self._made_of = image.repo_tags[0] if image.repo_tags else hex_of(image.id)
        self._layers = len(image.chain_ids)

    def title_text(self) -> str:
        """Of which image."""
        return f"New container of {self._made_of[:60]}"

    def fields(self) -> Iterable[Widget]:
        """The name."""
        layers = "1 layer" if self._layers == 1 else f"{self._layers} layers"
        text = f"An init layer and an empty writable layer go on top of the image's {layers}. Nothing is run."
        yield Static(text, classes="words", markup=False)
        yield Field("name", placeholder="left empty, one is made up", id="name")

    def review(self) -> str:
        """What would be made."""
        name = self.value("name")
        return f"{escape(name)} of {escape(self._made_of)}" if name else ""

    def job(self) -> Callable[[Tick], str]:
        """Make it."""
        name, made_of, path = self.value("name"), self._made_of, self._path
        return lambda tick: create(path, made_of, name)
