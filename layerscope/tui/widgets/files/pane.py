"""The reading half of pane 3: the files of a stack, read as they are looked at."""

from __future__ import annotations

import asyncio

from textual import work
from textual.app import ComposeResult
from textual.message import Message

from layerscope.tui.look import look_of
from layerscope.tui.sources.arrangement import Arrangement
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.sources.files import FileSource, Tick
from layerscope.tui.sources.stack import Shown
from layerscope.tui.sources.unfolding import changed_folders
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.reading import read_on_thread
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading
from layerscope.tui.widgets.rows.tree_rows import TreeRow, TreeRows

_MOST_UNFOLDED_AGAIN = 200
_MANY_ROWS = 10_000
_SOURCES_KEPT = 8
_ROWS_KEPT = 50_000


class FilesPane(Pane):
    """Reads directories on threads and shows them in a :class:`MergedTree`."""

    class Highlighted(Message):
        """The cursor is on another path (``row`` None: there are none)."""

        def __init__(self, source: FileSource | None, path: str, row: FileRow | None) -> None:
            super().__init__()
            self.source = source
            self.path = path
            self.row = row

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, FilesPane.Highlighted)

    class FileChosen(Message):
        """A path that isn't a directory was opened."""

        def __init__(self, path: str, row: FileRow) -> None:
            super().__init__()
            self.path = path
            self.row = row

    class Loaded(Message):
        """The files of another stack, cut or directory are there."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(title="Merged view", number=3, id=id)
        self.shown: Shown | None = None
        self.arrangement = Arrangement()
        self.sources: dict[tuple[str, int, bool], FileSource] = {}
        self.folds: dict[str, set[str]] = {}

    def compose(self) -> ComposeResult:
        """The tree; the filter's line comes when it is asked for."""
        yield MergedTree(id="files")

    @property
    def files(self) -> MergedTree:
        """The tree."""
        return self.query_one(MergedTree)

    @property
    def source(self) -> FileSource | None:
        """What the tree shows now."""
        return self.files.source

    # ------------------------------------------------------------------ what is shown
    def show(self, shown: Shown, first: tuple[FileSource, frozenset[str]] | None = None) -> None:
        """Show the files of another stack, another cut or mode; folds and cursor stay where they can.

        ``first`` are files that were read already, and the directories to unfold.
        """
        self.shown = shown
        glyphs = look_of(self).glyphs
        if shown.layer_only:
            self.set_title(f"Layer {shown.cut} only")
        else:
            levels = f"layers 1–{shown.cut}" if shown.cut > 1 else "layer 1"
            levels = levels.replace("–", "-") if glyphs.ascii_only else levels
            self.set_title(f"Merged view {glyphs.separator} {levels}")
        if first is None:
            self._load(shown)
            return
        source, opened = first
        tree = TreeRows(source.children, set(opened))
        self._keep(shown, source, tree)
        self.adopt(source, tree)

    def forget(self) -> None:
        """Read everything anew when it is shown again."""
        self.sources.clear()

    @work(exclusive=True, group="tree")
    async def _load(self, shown: Shown) -> None:
        first_time = shown.fold_key not in self.folds
        opened = set(self.folds.get(shown.stack.key if first_time else shown.fold_key, ()))
        source = self.sources.get(shown.key) or shown.source()
        source.arrangement = self.arrangement
        room = 2 * self.files.page_rows

        def prepare(tick: Tick) -> TreeRows[FileRow]:
            _read_all(source, opened, tick)
            if first_time:
                opened.update(changed_folders(source, room, tick))
            source.arrange_all(source.arrangement)
            return TreeRows(source.children, opened)

        try:
            tree = await read_on_thread(prepare, self._progress)
        except OSError as error:
            self.state = Failure(f"cannot read the files: {error.strerror or error}", shown.stack.subject.name)
            return
        finally:
            self.show_progress(None)
        self._keep(shown, source, tree)
        self.adopt(source, tree)

    def adopt(self, source: FileSource, tree: TreeRows[FileRow]) -> None:
        """Show rows that were made of a source; the cursor stays on its path."""
        assert self.shown is not None
        self.files.show(source, tree, self.shown.stack.height)
        if tree.rows or source.hits is not None:
            self.state = None
        elif not source.view.levels:
            self.state = Empty("no files to show", "the contents of these layers can't be read: press P")
        elif source.rows(""):
            self.state = Empty("everything here is hidden", "press A, M, D or U to show it again")
        else:
            what = "this layer changes no files" if source.layer_only else "this file system is empty"
            self.state = Empty(what, "")
        self.post_message(self.Loaded())
        self.tell()

    def _keep(self, shown: Shown, source: FileSource, tree: TreeRows[FileRow]) -> None:
        self.folds[shown.fold_key] = tree.opened
        self.sources.pop(shown.key, None)
        self.sources[shown.key] = source
        kept = list(self.sources.items())[:-1]
        rows = sum(known.row_count for _, known in kept)
        for key, known in kept:
            if len(self.sources) > _SOURCES_KEPT or rows > _ROWS_KEPT:
                rows -= known.row_count
                del self.sources[key]

    def _progress(self, count: int) -> None:
        loading = Loading("reading", count or None)
        if self.files.source is None:
            self.state = loading
        else:
            self.show_progress(loading)

    # ------------------------------------------------------------------ directories
    async def on_tree_view_children_wanted(self, event: MergedTree.ChildrenWanted) -> None:
        """Read a directory that was unfolded."""
        if self.source is not None:
            self._read(self.source, event.path)

    @work(group="directory")
    async def _read(self, source: FileSource, path: str) -> None:
        try:
            await read_on_thread(lambda tick: source.read(path, tick), self._progress)
        except OSError as error:
            source.put(path, [])
            self.notify(f"cannot read /{path}: {error.strerror or error}", severity="warning", markup=False)
        finally:
            self.show_progress(None)
        if source is self.source:
            self.files.arrived(path)
            self.post_message(self.Loaded())

    # ------------------------------------------------------------------ the cursor
    def on_line_view_highlighted(self, event: MergedTree.Highlighted) -> None:
        """Tell of the path under the cursor."""
        event.stop()
        self.tell()

    def tell(self) -> None:
        """Tell of the path under the cursor."""
        row: TreeRow[FileRow] | None = self.files.current
        path, value = (row.path, row.value) if row is not None else ("", None)
        self.post_message(self.Highlighted(self.source, path, value))

    def on_line_view_chosen(self, event: MergedTree.Chosen) -> None:
        """Unfold a directory, open anything else."""
        event.stop()
        row = self.files.current
        if row is None:
            return
        if row.foldable:
            self.files.action_toggle_fold()
        else:
            self.post_message(self.FileChosen(row.path, row.value))

    # ------------------------------------------------------------------ order
    def arrange_rows(self, arrangement: Arrangement) -> None:
        """Sort and filter in another way."""
        self.arrangement = arrangement
        if self.source is not None:
            self._rearrange(self.source, arrangement)

    @work(exclusive=True, group="tree")
    async def _rearrange(self, source: FileSource, arrangement: Arrangement) -> None:
        opened = set(self.files.model.opened)

        def prepare() -> TreeRows[FileRow]:
            source.arrange_all(arrangement)
            return TreeRows(source.children, opened)

        tree = await asyncio.to_thread(prepare) if source.row_count > _MANY_ROWS else prepare()
        if self.shown is not None:
            self.folds[self.shown.fold_key] = tree.opened
        self.adopt(source, tree)


def _read_all(source: FileSource, opened: set[str], tick: Tick) -> None:
    """Read the top and what is unfolded, as far as it is there and wasn't read; forget folds that lead nowhere."""
    if source.rows("") is None:
        source.read("", tick)
    for path in sorted(opened)[:_MOST_UNFOLDED_AGAIN]:
        folder = path.rpartition("/")[0]
        if source.rows(path) is None and source.rows(folder) is not None and source.has_folder(path):
            try:
                source.read(path, tick)
            except OSError:
                continue
