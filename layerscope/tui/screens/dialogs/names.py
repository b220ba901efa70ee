"""Dialogs about names in a container's tree: new file or directory, another name, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from layerscope.services.lab.changes import delete, make_directory, make_file, path_of, rename
from layerscope.tui.keys import picked
from layerscope.tui.screens.dialogs.changed import Changed
from layerscope.tui.screens.dialogs.dialog import Dialog, Tick
from layerscope.tui.screens.dialogs.field import Field, TickBox, typable
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.text import cell_len, crop, escape

_TITLE_CELLS = 50
_PATH_CELLS = 300


class NewDialog(Dialog[Changed]):
    """Asks for the name of a new file, or with a slash at its end of a new directory, in ``folder``."""

    TITLE_TEXT = "New file or directory"
    ACCEPT: ClassVar[str] = "Make"

    def __init__(self, root: Path, container: str, folder: str) -> None:
        super().__init__()
        self._root = root
        self._container = container
        self._folder = folder

    def fields(self) -> Iterable[Widget]:
        """The name."""
        yield Static(f"in /{escape(self._folder)}", classes="words", markup=False)
        yield Field("name", placeholder="notes.txt, or conf.d/ for a directory", id="name")

    def review(self) -> str:
        """What would be made."""
        name = self.value("name")
        if not name:
            return "a slash at the end makes a directory; one at the start begins at the top"
        kind = "directory" if name.endswith("/") else "file"
        return f"a new, empty {kind}: /{escape(path_of(self._folder, name))}"

    def job(self) -> Callable[[Tick], Changed]:
        """Make it."""
        name = self.value("name")
        path = path_of(self._folder, name)
        make = make_directory if name.endswith("/") else make_file

        def work(tick: Tick) -> Changed:
            make(self._root, self._container, path)
            return Changed((path,), path, f"made /{escape(path)}")

        return work


class RenameDialog(Dialog[Changed]):
    """Asks for another name of ``path``."""

    ACCEPT: ClassVar[str] = "Rename"

    def __init__(self, root: Path, container: str, path: str, row: FileRow, is_lower: bool) -> None:
        """``is_lower``: a lower layer has it, so that a directory must be copied."""
        super().__init__()
        self._root = root
        self._container = container
        self._path = path
        self._folder, _, self._old_name = path.rpartition("/")
        self._copied = is_lower and row.is_dir

    def title_text(self) -> str:
        """What is renamed."""
        return f"Rename {self._old_name}"

    def fields(self) -> Iterable[Widget]:
        """The name."""
        yield Static(f"in /{escape(self._folder)}", classes="words", markup=False)
        hint = "a name, or a path from the top: /srv/old"
        yield Field("new name", typable(self._old_name), placeholder=hint, id="name")

    def review(self) -> str:
        """What would happen."""
        path = path_of(self._folder, self.value("name"))
        if path == self._path:
            return "type another name"
        if self._copied:
            return f"/{escape(path)}: a directory of a lower layer is copied whole, the old name whited out"
        return f"it will be /{escape(path)}"

    def job(self) -> Callable[[Tick], Changed]:
        """Rename it."""
        old, new = self._path, path_of(self._folder, self.value("name"))

        def work(tick: Tick) -> Changed:
            if new == old:
                return Changed((), old, "")
            copied = rename(self._root, self._container, old, new, tick)
            how = "copied and deleted (EXDEV)" if copied else "renamed"
            return Changed((old, new), new, f"{how}: /{escape(old)} is now /{escape(new)}")

        return work


class DeleteDialog(Dialog[Changed]):
    """Asks whether to delete ``path``."""

    BINDINGS: ClassVar[list[BindingType]] = [*picked(("tree.toggle", "", "tick"))]
    ACCEPT: ClassVar[str] = "Delete"

    def __init__(self, root: Path, container: str, path: str, row: FileRow, is_lower: bool) -> None:
        """``is_lower``: a lower layer has it, so that a whiteout takes its place."""
        super().__init__()
        self._root = root
        self._container = container
        self._path = path
        self._row = row
        self._is_lower = is_lower

    def title_text(self) -> str:
        """What is deleted."""
        return f"Delete /{self._path}?"

    def fields(self) -> Iterable[Widget]:
        """What stays."""
        what = "directory" if self._row.is_dir else "file"
        if self._is_lower:
            text = f"A lower layer has this {what}: a whiteout hides it, its bytes stay stored below."
        else:
            text = f"Only the writable layer has this {what}: it is gone for good, and its bytes with it."
        shown = f"/{escape(self._path)}"
        if cell_len(shown) > _TITLE_CELLS:  # the title has no room for its end, which counts
            text = f"{crop(shown, _PATH_CELLS, keep='end')}\n{text}"
        yield Static(text, classes="words", markup=False)
        if self._row.is_dir:
            yield TickBox("and all that is in it", id="all", compact=True)

    def key_words(self) -> tuple[str, ...]:
        """The keys."""
        space = ("space tick",) if self._row.is_dir else ()
        return ("enter delete", *space, "esc cancel")

    def action_tick(self) -> None:
        """Tick the box, wherever the focus is."""
        for box in self.query(TickBox):
            box.toggle()

    def on_mount(self) -> None:
        """Enter deletes."""
        super().on_mount()
        self.query_one("#accept").focus()

    def job(self) -> Callable[[Tick], Changed]:
        """Delete it."""
        recursive = any(box.value for box in self.query(TickBox))
        path = self._path

        def work(tick: Tick) -> Changed:
            delete(self._root, self._container, path, recursive=recursive, tick=tick)
            return Changed((path,), "", f"deleted /{escape(path)}")

        return work
