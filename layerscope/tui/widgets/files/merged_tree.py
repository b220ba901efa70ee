"""The merged view as a tree: each row tells which level it comes from and what that level did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.message import Message

from layerscope.tui.background import keep
from layerscope.tui.sources.arrangement import Arrangement, SortOrder
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.sources.files import FileSource
from layerscope.tui.text import cell_len
from layerscope.tui.widgets.files.line import FileLine
from layerscope.tui.widgets.rows.tree_rows import Prepared, TreeRow, TreeRows
from layerscope.tui.widgets.rows.tree_view import TreeView


class MergedTree(TreeView[FileRow]):
    """Draws the rows of a :class:`FileSource`. ``fresh`` are paths that have just changed on disk."""

    HEADER: ClassVar[bool] = True

    class SortWanted(Message):
        """The heading of a column was clicked."""

        def __init__(self, order: SortOrder) -> None:
            super().__init__()
            self.order = order

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(TreeRows(lambda path: ()), id=id)
        self.source: FileSource | None = None
        self.levels = 1
        self.fresh: frozenset[str] = frozenset()
        self._wanted: str | None = None

    def show(self, source: FileSource, tree: TreeRows[FileRow], levels: int) -> None:
        """Show ``tree``, whose children come from ``source``, of a stack of ``levels``."""
        self.source, self.levels = source, levels
        self.set_tree(tree)
        keep(len(tree.rows))

    @property
    def current(self) -> TreeRow[FileRow] | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def set_fresh(self, paths: frozenset[str]) -> None:
        """Light up what has just changed on disk, and nothing else."""
        if paths != self.fresh:
            self.fresh = paths
            self.refresh_rows()

    def reach(self, path: str) -> None:
        """Put the cursor on ``path``, now or when its row is made."""
        self.go_to(path)
        self._wanted = None if self.model.index_of(path) is not None else path

    def _adopt(self, model: TreeRows[FileRow], prepared: Prepared[FileRow]) -> None:
        super()._adopt(model, prepared)
        keep(len(prepared.rows))
        if self._wanted is not None:
            self.reach(self._wanted)

    # ------------------------------------------------------------------ drawing
    def _line(self, width: int) -> FileLine:
        return FileLine(self.look, width, self.levels)

    def draw_header(self, width: int) -> Iterable[Segment]:
        """The names of the columns."""
        return self._line(width).headings(self.source.arrangement if self.source else Arrangement())

    def header_clicked(self, x: int) -> None:
        """Sort by the column that was clicked."""
        self.post_message(self.SortWanted(self._line(self.row_width).order_at(x)))

    def arrow_cell(self, row: TreeRow[FileRow]) -> int | None:
        """Where the fold arrow is."""
        if not row.foldable:
            return None
        line = self._line(self.row_width)
        return line.lead + cell_len(self.lines_before(row, line.guide_room))

    def draw_row(self, index: int, row: TreeRow[FileRow], width: int) -> Iterable[Segment]:
        """One line: see :mod:`layerscope.tui.widgets.files.line`."""
        line, file, glyphs = self._line(width), row.value, self.look.glyphs
        arrow = "" if not row.foldable else glyphs.arrow_open if row.open else glyphs.arrow_closed
        size, hit = file.size, None
        if self.source is not None:
            if size is None and file.is_dir:
                size = self.source.totals.get(row.path)
            if self.source.hits is not None and self.source.hits.is_hit(row.path):
                hit = self.source.hits.matcher.span(file.name)
        fresh = bool(self.fresh) and row.path in self.fresh
        return line.draw(file, self.lines_before(row, line.guide_room), arrow, size, fresh, hit)
