"""A foldable tree on the screen: the rows of :class:`TreeRows` in a :class:`LineView`.

The view never reads anything: where children aren't known it posts ``ChildrenWanted`` and goes on; whoever reads them
calls :meth:`TreeView.arrived`. Many rows are made on a thread, so that keys go on working. A subclass draws the rows.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic

from textual.binding import BindingType
from textual.message import Message
from textual.worker import get_current_worker

from layerscope.tui.glyphs import guides
from layerscope.tui.keys import bindings
from layerscope.tui.widgets.rows.line_view import LineView
from layerscope.tui.widgets.rows.tree_rows import Prepared, Splice, TreeRow, TreeRows, ValueT

ROWS_AT_ONCE = 10_000
"""More rows than that are made on a thread."""
UNFOLD_ALL_ROWS = 50_000
"""How many rows "unfold all" makes at most."""


class TreeView(LineView[TreeRow[ValueT]], Generic[ValueT]):
    """A tree with keys and clicks for folding."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tree")]

    class ChildrenWanted(Message):
        """The directory ``path`` ("" = the top) is unfolded, but its children aren't known."""

        def __init__(self, tree_view: TreeView[Any], path: str) -> None:
            super().__init__()
            self.tree_view = tree_view
            self.path = path

        @property
        def control(self) -> TreeView[Any]:
            """The tree it happened in."""
            return self.tree_view

    def __init__(
        self, tree: TreeRows[ValueT], *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(tree.rows, name=name, id=id, classes=classes)
        self.model = tree
        self._asked: set[str] = set()

    def arrow_cell(self, row: TreeRow[ValueT]) -> int | None:
        """The cell of the row's fold arrow, for clicks; None if it has none."""
        return None

    def lines_before(self, row: TreeRow[ValueT], room: int) -> str:
        """The guides in front of a row, in at most ``room`` cells: of deep rows only the innermost levels."""
        depth, levels = row.depth, max(0, room) // 2
        if depth <= levels:
            return guides(row.lasts(), self.look.glyphs)
        return guides(row.lasts(max(1, levels - 1)), self.look.glyphs, cut=levels > 1)

    def set_tree(self, tree: TreeRows[ValueT]) -> None:
        """Show another tree, with the cursor on the same path or its nearest visible ancestor."""
        path, offset = self._place()
        self.model = tree
        self._asked.clear()
        self._restore(self._nearest_row(path), offset)

    def rebuild(self) -> None:
        """Make the rows anew, because order, filter or content have changed; cursor and folds stay with their paths."""
        self.arrived("")

    def arrived(self, path: str) -> None:
        """Show the children of ``path`` ("" = everything), because they are known now or have changed."""
        self._asked.discard(path)
        row = self.model.row_at(path)
        if path and (row is None or not row.open):
            return
        many = len(self.rows) if not path else len(self.model.children(path) or ())
        if many <= ROWS_AT_ONCE:
            self._adopt(self.model, self.model.prepare(path, row, self.model.opened))
            return
        # In a list that is emptied at the end: what starts later may remember the worker, and with it every row.
        models, opened = [(self.model, row)], frozenset(self.model.opened)

        def prepare() -> None:
            model, row = models.pop()
            prepared = model.prepare(path, row, opened)
            if not get_current_worker().is_cancelled:
                self.app.call_from_thread(self._adopt, model, prepared)

        self.run_worker(prepare, thread=True, exclusive=True, group=f"rows of {path}")

    def _adopt(self, model: TreeRows[ValueT], prepared: Prepared[ValueT]) -> None:
        if model is not self.model:
            return
        (path, offset), index = self._place(), self.cursor
        splice = model.adopt(prepared)
        if prepared.row is None:
            self._restore(self._row_now(path, index), offset)
            return
        self._follow(splice)
        if splice is not None and splice.removed:
            self.cursor = self._row_now(path, index)

    def go_to(self, path: str) -> None:
        """Put the cursor on ``path``, or on its nearest visible ancestor."""
        self.cursor = self._nearest_row(path)

    def _place(self) -> tuple[str, int]:
        """The path under the cursor, and how far below the top of the screen it is."""
        if not self.rows:
            return "", 0
        return self.rows[self.cursor].path, self.cursor - self.scroll_offset.y

    def _restore(self, index: int, offset: int) -> None:
        self.set_rows(self.model.rows, index)
        self._scroll_rows(index - offset)
        self._reveal()
        self._ask()

    def _nearest_row(self, path: str) -> int:
        index = self.model.index_of(path)
        while index is None and "/" in path:
            path = path.rpartition("/")[0]
            index = self.model.index_of(path)
        return index or 0

    def _row_now(self, path: str, index: int) -> int:
        """Where ``path`` is; if it is gone, what has taken its place at ``index`` among those of its directory."""
        folder = path.rpartition("/")[0]
        top = self.model.index_of(folder) if folder else -1
        if top is None or self.model.index_of(path) is not None:
            return self._nearest_row(path)
        parent = self.model.rows[top] if folder else None
        index = min(index, top + parent.span if parent is not None else len(self.model.rows) - 1)
        while index > top and self.model.rows[index].parent is not parent:
            index = self.model.parent_index(index) or 0
        return max(index, top, 0)

    def _follow(self, splice: Splice | None) -> None:
        if splice is not None:
            self.spliced(splice.index, splice.removed, splice.added)
        self._ask()

    def _open(self, index: int) -> None:
        path = self.rows[index].path
        many = len(self.model.children(path) or ()) > ROWS_AT_ONCE
        self._follow(self.model.open(index, fill=not many))
        if many:
            self.arrived(path)

    def _toggle(self, index: int) -> None:
        if self.rows[index].open:
            self._follow(self.model.close(index))
        elif self.rows[index].foldable:
            self._open(index)

    def _ask(self) -> None:
        self._asked &= self.model.waiting
        for path in sorted(self.model.waiting - self._asked):
            self._asked.add(path)
            self.post_message(self.ChildrenWanted(self, path))

    def on_mount(self) -> None:
        """Ask for what the tree lacks."""
        self._ask()

    def row_clicked(self, index: int, x: int) -> bool:
        """Fold or unfold at a click on the arrow."""
        row = self.rows[index]
        if not row.foldable or x != self.arrow_cell(row):
            return False
        self.cursor = index
        self._toggle(index)
        return True

    def action_fold(self) -> None:
        """Fold the row, or go to its parent."""
        if not self.rows:
            return
        splice = self.model.close(self.cursor)
        if splice is not None:
            self._follow(splice)
        elif (parent := self.model.parent_index(self.cursor)) is not None:
            self.cursor = parent

    def action_unfold(self) -> None:
        """Unfold the row, or go to its first child."""
        if not self.rows:
            return
        row = self.rows[self.cursor]
        if row.span:
            self.cursor += 1
        elif row.foldable and not row.open:
            self._open(self.cursor)

    def action_toggle_fold(self) -> None:
        """Fold or unfold the row."""
        if self.rows:
            self._toggle(self.cursor)

    def action_toggle_all_folds(self) -> None:
        """Fold all; if all is folded, unfold what is known."""
        path, offset = self._place()
        if self.model.opened:
            self.model.close_all()
        elif not self.model.open_all(UNFOLD_ALL_ROWS):
            self.notify(f"more than {UNFOLD_ALL_ROWS:,} rows: the rest stays folded", markup=False)
        self._restore(self._nearest_row(path), offset)
