"""Pane 3: the merged tree, with the sizes of directories as they are added up, and what changes on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from layerscope.analysis.totals import DirectoryTotal, directory_totals
from layerscope.overlay import MergedView
from layerscope.tui.background import LANE, wait_for_first_look
from layerscope.tui.glyphs import MARK_LOOKS, Mark
from layerscope.tui.look import look_of
from layerscope.tui.sources.arrangement import Category, SortOrder
from layerscope.tui.sources.files import FileSource
from layerscope.tui.widgets.files.filter_pane import FilterPane
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.files.pane import FilesPane

_BATCH = 0.25
_FRESH_SECONDS = 4.0
_LEGEND = (
    (Category.ADDED, Mark.ADDED, "added", "added"),
    (Category.MODIFIED, Mark.MODIFIED, "changed", "modified"),
    (Category.MODIFIED, Mark.COPIED, "meta", "copied up, same content"),
    (Category.DELETED, Mark.WHITEOUT, "gone", "whiteout"),
    (Category.MODIFIED, Mark.OPAQUE, "opaque", "opaque directory"),
    (Category.UNMODIFIED, Mark.WITHIN, "", "changes below"),
)
_WIDE_LEGEND = 86


class TreePane(FilterPane):
    """The files of a stack, as they are looked at."""

    class TotalsArrived(Message):
        """Sizes of directories are known, of all of them if ``complete``."""

        def __init__(self, source: FileSource, complete: bool) -> None:
            super().__init__()
            self.source = source
            self.complete = complete

    def on_mount(self) -> None:
        """Show what the marks mean."""
        super().on_mount()
        self.explain_marks()

    def on_resize(self) -> None:
        """A wider frame has room for more words."""
        self.explain_marks()

    def explain_marks(self) -> None:
        """Say in the frame what each mark means; what isn't shown is struck through."""
        look, wide = look_of(self), self.size.width >= _WIDE_LEGEND
        parts: list[tuple[str, str]] = []
        for category, mark, short, long in _LEGEND:
            word = long if wide else short
            if not word:
                continue
            hidden = category in self.arrangement.left_out
            parts += [(" " if parts else "", ""), (look.glyphs.marks[mark], f"${MARK_LOOKS[mark].color}")]
            parts.append((f" {word}", "$faint strike" if hidden else ""))
        self.set_legend(Content.assemble(*parts))

    # ------------------------------------------------------------------ order
    @on(MergedTree.SortWanted)
    def sort_by(self, event: MergedTree.SortWanted) -> None:
        """Sort by the column that was clicked."""
        self.arrange_rows(self.arrangement.by(event.order))

    # ------------------------------------------------------------------ sizes of directories
    @on(FilesPane.Loaded)
    def add_up_loaded(self) -> None:
        """Add up what is shown."""
        if self.source is not None:
            self.add_up(self.source)

    @work(thread=True, exclusive=True, group="totals")
    def add_up(self, source: FileSource) -> None:
        """Fill in the marks of large files, and the sizes of directories as they become known."""
        worker = get_current_worker()
        wait_for_first_look()
        for path, row in source.take_unsettled():
            if worker.is_cancelled:
                return
            with LANE:
                source.settle(path, row)
        if not source.totalled:
            told = time.monotonic()
            totals = directory_totals(_counted(source).root, lambda: worker.is_cancelled)
            while (total := _next(totals)) is not None:
                source.totals[total.path] = total.size
                if time.monotonic() - told > _BATCH:
                    self.post_message(self.TotalsArrived(source, False))
                    told = time.monotonic()
            if worker.is_cancelled:
                return
            source.totalled = True
        self.post_message(self.TotalsArrived(source, True))

    @on(TotalsArrived)
    def take_totals(self, event: TotalsArrived) -> None:
        """Draw the sizes that are known now; sort by them once all are."""
        source = event.source
        if source is not self.source:
            return
        if event.complete and self.arrangement.order is SortOrder.SIZE and not source.sorted_by_total:
            source.sorted_by_total = True
            self.arrange_rows(self.arrangement)
        self.files.refresh_rows()

    # ------------------------------------------------------------------ what changes on disk
    @work(group="live")
    async def changed_on_disk(self, key: str, folders: Iterable[str], paths: Iterable[str]) -> None:
        """Read directories again in which something has changed, and light up what it was for some seconds.

        Args:
            key: Of the subject that has changed; if it isn't shown any more, nothing happens.
            folders: The directories.
            paths: What has changed in them.
        """
        source = self.source
        if source is None or self.shown is None or self.shown.stack.key != key:
            return
        for other in [other for other, known in self.sources.items() if known is not source]:
            del self.sources[other]
        source.totalled = False
        paths = frozenset(paths)
        for folder in sorted({*folders, *paths}):  # a directory that has changed may show others below, too
            if source.rows(folder) is None:
                continue
            try:
                await asyncio.to_thread(source.read, folder)
            except OSError:
                source.forget(folder)
            if source is not self.source:
                return
            self.files.arrived(folder)
        fresh = frozenset(filter(None, map(self._nearest_shown, paths)))
        self.files.set_fresh(self.files.fresh | fresh)
        self.set_timer(_FRESH_SECONDS, lambda: self.files.set_fresh(self.files.fresh - fresh))
        self.add_up(source)

    def _nearest_shown(self, path: str) -> str:
        while path and self.files.model.index_of(path) is None:
            path = path.rpartition("/")[0]
        return path


def _next(totals: Iterator[DirectoryTotal]) -> DirectoryTotal | None:
    with LANE:
        try:
            return next(totals, None)
        except OSError:  # the top itself can't be read: the tree tells it
            return None


def _counted(source: FileSource) -> MergedView:
    """The view whose bytes are counted: for a single level just that level."""
    if not source.layer_only:
        return source.view.cut(source.number)
    return source.view.only(source.number)
