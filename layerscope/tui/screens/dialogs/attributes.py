"""Asking for another mode or owner of a path."""

from __future__ import annotations

import stat as modes
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual.widget import Widget

from layerscope.errors import UsageError
from layerscope.services.lab.changes import change_attributes, mode_after
from layerscope.tui.screens.dialogs.changed import Changed
from layerscope.tui.screens.dialogs.dialog import Dialog, Tick
from layerscope.tui.screens.dialogs.field import Field
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.text import escape
from layerscope.tui.units import mode_text


class AttributesDialog(Dialog[Changed]):
    """Shows mode and owner of ``path`` to be changed."""

    ACCEPT: ClassVar[str] = "Change"

    def __init__(self, root: Path, container: str, path: str, row: FileRow) -> None:
        super().__init__()
        self._root = root
        self._container = container
        self._path = path
        self._mode = row.ownership.mode
        self._owner = f"{row.ownership.uid}:{row.ownership.gid}"

    def title_text(self) -> str:
        """Of what."""
        return f"Mode and owner of /{self._path}"

    def fields(self) -> Iterable[Widget]:
        """The two."""
        is_link = modes.S_ISLNK(self._mode)
        octal = f"{modes.S_IMODE(self._mode):o}"
        yield Field("mode", octal, placeholder="644 or u+x,go-w", valid=self._is_mode, disabled=is_link, id="mode")
        yield Field("owner", self._owner, placeholder="user:group, by name or id", id="owner")

    def _is_mode(self, text: str) -> bool:
        try:
            mode_after(text, self._mode)
        except UsageError:
            return False
        return True

    def _wanted(self) -> tuple[str, str]:
        """Mode and owner as typed, "" for what would stay as it is."""
        mode, owner = self.value("mode").strip(), self.value("owner").strip()
        if mode and mode_after(mode, self._mode) == modes.S_IMODE(self._mode):
            mode = ""
        return mode, "" if owner == self._owner else owner

    def review(self) -> str:
        """What they would be."""
        mode, owner = self._wanted()
        if modes.S_ISLNK(self._mode) and not owner:
            return "a symlink has no mode of its own; its owner can be changed"
        if not mode and not owner:
            return f"{mode_text(self._mode)}  {self._owner}  as it is"
        bits = mode_after(mode, self._mode) if mode else modes.S_IMODE(self._mode)
        return f"{mode_text(modes.S_IFMT(self._mode) | bits)}  {escape(owner or self._owner)}"

    def job(self) -> Callable[[Tick], Changed]:
        """Change them; nothing is copied up where nothing would change."""
        (mode, owner), path = self._wanted(), self._path

        def work(tick: Tick) -> Changed:
            if not mode and not owner:
                return Changed((), path, "")
            change_attributes(self._root, self._container, path, mode, owner)
            return Changed((path,), path, f"changed /{escape(path)}")

        return work
