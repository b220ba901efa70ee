"""The finding half of pane 3: a filter over the whole view, going to its hits, and to any path."""

from __future__ import annotations

import asyncio

from textual import on, work

from layerscope.tui.look import look_of
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.sources.files import FileSource
from layerscope.tui.sources.search import MOST_HITS, Hits, Matcher, find_names
from layerscope.tui.widgets.files.pane import FilesPane
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.reading import read_on_thread
from layerscope.tui.widgets.rows.tree_rows import TreeRows

_TYPING = 0.12
_NO_HIT = "no name fits; esc shows everything again"


class FilterPane(FilesPane):
    """Shows only what matches, while there is a filter."""

    @property
    def filter_bar(self) -> FilterBar | None:
        """The filter's line, if it is open."""
        return next(iter(self.query(FilterBar)), None)

    async def open_filter(self) -> None:
        """Ask what to look for."""
        bar = self.filter_bar
        if bar is None:
            bar = FilterBar()
            await self.mount(bar)
        bar.focus_text()

    @on(FilterBar.Changed)
    def filter_changed(self, event: FilterBar.Changed) -> None:
        """Look for something else."""
        event.stop()
        if self.source is not None:
            self.search(self.source, event.text, _TYPING)

    @on(FilterBar.Done)
    def filter_done(self, event: FilterBar.Done) -> None:
        """Go to what was found."""
        event.stop()
        self.files.focus()

    @on(FilterBar.Closed)
    async def filter_closed(self, event: FilterBar.Closed) -> None:
        """Show everything again."""
        event.stop()
        await self.close_filter()

    async def close_filter(self) -> bool:
        """Show everything again, with the cursor where it is; False if there was no filter."""
        bar = self.filter_bar
        if bar is None:
            return False
        self.workers.cancel_group(self, "search")
        await bar.remove()
        self.files.focus()
        self._show_all()
        return True

    def _show_all(self) -> None:
        if self.source is not None and self.source.hits is not None:
            self.source.hits = None
            self.reveal(self.files.current.path if self.files.current else "", staying=True)

    @on(FilesPane.Loaded)
    def filter_again(self) -> None:
        """Go on filtering when other files are shown."""
        bar = self.filter_bar
        if bar is not None and bar.text and self.source is not None and self.source.hits is None:
            self.search(self.source, bar.text, 0.0)

    @work(exclusive=True, group="search")
    async def search(self, source: FileSource, text: str, delay: float) -> None:
        """Show what matches, what was read already first, then whatever a walk through the view finds."""
        await asyncio.sleep(delay)
        if not text:
            self._show_all()
            self._tell_found("")
            return
        hits = source.hits = Hits(Matcher(text))
        batches = find_names(source, hits)
        ended = False
        while not ended:
            opened, ended = await read_on_thread(lambda tick: next(batches), lambda count: None)
            tree = await asyncio.to_thread(TreeRows, source.children, set(opened))
            if source is not self.source or source.hits is not hits:
                return
            self._show_hits(source, tree, hits, ended)

    def _show_hits(self, source: FileSource, tree: TreeRows[FileRow], hits: Hits, ended: bool) -> None:
        self.files.empty_words = _NO_HIT if ended else ""
        self.adopt(source, tree)
        if self.files.current is not None and not hits.is_hit(self.files.current.path):
            self.go_to_hit(1)
        more = "+" if hits.count >= MOST_HITS else "" if ended else look_of(self).glyphs.ellipsis
        self._tell_found(f"{hits.count:,}{more} found")

    def _tell_found(self, text: str) -> None:
        bar = self.filter_bar
        if bar is not None:
            bar.tell(text)

    def go_to_hit(self, step: int) -> bool:
        """Go to the next hit (-1: the previous), around the end; False if there is none."""
        rows, hits = self.files.rows, self.source.hits if self.source is not None else None
        if hits is None:
            return False
        for distance in range(1, len(rows) + 1):
            index = (self.files.cursor + step * distance) % len(rows)
            if hits.is_hit(rows[index].path):
                self.files.cursor = index
                return True
        return False

    @work(exclusive=True, group="tree")
    async def reveal(self, path: str, staying: bool = False) -> None:
        """Unfold what leads to ``path`` and put the cursor on it, or as near as it gets.

        ``staying``: it is where the cursor is; if that is moved meanwhile, it is where that has gone to.
        """
        source = self.source
        if source is None or self.shown is None:
            return
        key = self.shown.fold_key
        opened = set(self.folds.get(key, ()))
        names = path.split("/")
        way = ["/".join(names[:count]) for count in range(1, len(names))]

        def prepare() -> TreeRows[FileRow]:
            source.read_missing(folder for folder in way if source.has_folder(folder))
            opened.update(way)
            return TreeRows(source.children, opened)

        tree = await asyncio.to_thread(prepare)
        current = self.files.current
        if staying and current is not None and current.path != path:
            self.reveal(current.path, staying=True)
            return
        self.folds[key] = tree.opened
        self.adopt(source, tree)
        self.files.reach(path)
