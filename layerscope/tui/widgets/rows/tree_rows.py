"""A foldable tree as the flat list of its visible rows. Pure: knows nothing of screens.

The rows lie in one list, parents before children, siblings in the order in which they were given. Each row knows its
parent, whether it is the last of its siblings, and how many rows below it are its descendants (``span``). So a fold is
one slice, the lines in front of a row are found by walking up its parents, and the list is never scanned to draw.

Children come from a function ``children(path)`` that returns the items of a directory, or None if they aren't known
yet; whoever knows how to read them does so and calls :meth:`TreeRows.arrived`. What is unfolded is remembered by path,
also below a folded parent and when the rows are made anew. Nothing here recurses: trees may be of any depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct

ValueT = TypeVar("ValueT")

_LONGEST_PATH = 4096


class Item(NamedTuple, Generic[ValueT]):
    """One child as the source gives it. ``name`` is unique among its siblings and holds no slash."""

    name: str
    foldable: bool
    value: ValueT


Children = Callable[[str], "Sequence[Item[ValueT]] | None"]
"""The items of the directory at a path ("" is the top); None: not known yet."""


class TreeRow(Generic[ValueT]):
    """One visible row. ``depth`` is 0 at the top; ``open`` is true while unfolded, children there or awaited."""

    __slots__ = ("depth", "foldable", "last", "name", "open", "parent", "span", "value")

    def __init__(
        self, name: str, parent: TreeRow[ValueT] | None, depth: int, last: bool, foldable: bool, value: ValueT
    ) -> None:
        self.name = name
        self.parent = parent
        self.depth = depth
        self.last = last
        self.foldable = foldable
        self.value = value
        self.open = False
        self.span = 0

    @property
    def path(self) -> str:
        """The names from the top to this row, joined by slashes."""
        return "/".join(reversed([row.name for row in self.upwards()]))

    def upwards(self) -> Iterator[TreeRow[ValueT]]:
        """This row, its parent, and so on to the top."""
        row: TreeRow[ValueT] | None = self
        while row is not None:
            yield row
            row = row.parent

    def lasts(self, limit: int = 1 << 30) -> list[bool]:
        """For each ancestor below the top (outermost first) and this row: is it the last of its siblings?

        Rows at the top have no lines in front, so they give an empty list. Of deeper rows only the innermost ``limit``
        levels are told.
        """
        flags: list[bool] = []
        for row in self.upwards():
            if row.depth == 0 or len(flags) >= limit:
                break
            flags.append(row.last)
        flags.reverse()
        return flags


class Splice(Struct, frozen=True):
    """What happened to the list: at ``index``, ``removed`` rows made place for ``added`` others."""

    index: int
    removed: int
    added: int


class Prepared(Struct, Generic[ValueT], frozen=True):
    """New rows for all that lies below ``row`` (None: the top), and the directories whose children aren't known."""

    row: TreeRow[ValueT] | None
    path: str
    rows: list[TreeRow[ValueT]]
    waiting: set[str]


class TreeRows(Generic[ValueT]):
    """The visible rows of a tree. ``rows`` is always the same list object; ``opened`` holds the unfolded paths."""

    def __init__(self, children: Children[ValueT], opened: set[str] | None = None) -> None:
        """``opened`` may be that of another tree, whose folds are then shared."""
        self.children = children
        self.opened: set[str] = set() if opened is None else opened
        self.rows: list[TreeRow[ValueT]] = []
        self.waiting: set[str] = set()
        self.rebuild()

    def rebuild(self) -> None:
        """Make all rows anew, from what ``children`` says now; folds stay as they are."""
        self.adopt(self.prepare("", None, self.opened))

    def open(self, index: int, *, fill: bool = True) -> Splice | None:
        """Unfold the row; None if there is nothing to unfold. ``waiting`` has its path if its children aren't known.

        Without ``fill`` it is only marked as unfolded: its rows are to be prepared and adopted.
        """
        row = self.rows[index]
        if not row.foldable or row.open:
            return None
        path = row.path
        self.opened.add(path)
        row.open = True
        if not fill:
            return Splice(index + 1, 0, 0)
        return self._replace_below(index, self.prepare(path, row, self.opened))

    def close(self, index: int) -> Splice | None:
        """Fold the row; None if it is folded. What is unfolded below it is remembered."""
        row = self.rows[index]
        if not row.open:
            return None
        path = row.path
        self.opened.discard(path)
        row.open = False
        return self._replace_below(index, Prepared(row, path, [], set()))

    def toggle(self, index: int) -> Splice | None:
        """Fold what is unfolded, and the other way round."""
        return self.close(index) if self.rows[index].open else self.open(index)

    def arrived(self, path: str) -> Splice | None:
        """Take over the children of ``path`` ("" = all rows), because they are known now or have changed.

        None if that directory isn't visible and unfolded: then there is nothing to do.
        """
        row = self.row_at(path)
        if path and (row is None or not row.open):
            return None
        return self.adopt(self.prepare(path, row, self.opened))

    def prepare(self, path: str, row: TreeRow[ValueT] | None, opened: AbstractSet[str]) -> Prepared[ValueT]:
        """Make the rows below ``row``, which is the one at ``path``, with all that is ``opened``, and change nothing.

        May run on another thread, if ``children`` may and ``opened`` is a copy.
        """
        made: list[TreeRow[ValueT]] = []
        waiting: set[str] = set()
        inside = _by_directory(opened)
        # Per directory that is being filled: its row, its path, its children still to come, where its rows begin.
        stack = [(row, path, self._children_of(row, path, waiting), 0)]
        while stack:
            parent, path_above, coming, start = stack[-1]
            opened_names = inside.get(path_above)
            if opened_names is None:
                made.extend(coming)
            else:
                for child in coming:
                    made.append(child)
                    if child.foldable and child.name in opened_names:
                        child.open = True
                        child_path = f"{path_above}/{child.name}" if path_above else child.name
                        stack.append((child, child_path, self._children_of(child, child_path, waiting), len(made)))
                        break
                else:
                    opened_names = None
            if opened_names is None:
                stack.pop()
                if parent is not None and parent is not row:
                    parent.span = len(made) - start
        return Prepared(row, path, made, waiting)

    def adopt(self, prepared: Prepared[ValueT]) -> Splice | None:
        """Show prepared rows; None if the row above them isn't shown any more, or folded."""
        if prepared.row is None:
            removed = len(self.rows)
            self.rows[:] = prepared.rows
            self.waiting = set(prepared.waiting)
            return Splice(0, removed, len(self.rows))
        index = self.index_of(prepared.path)
        if index is None or self.rows[index] is not prepared.row or not prepared.row.open:
            return None
        return self._replace_below(index, prepared)

    def close_all(self) -> None:
        """Fold everything; the rows at the top stay."""
        self.opened.clear()
        self.rebuild()

    def open_all(self, most_rows: int) -> bool:
        """Unfold everything that is known, top levels first, until there would be more than ``most_rows`` rows.

        Returns:
            Whether all of it fitted. Directories whose children aren't known yet, or whose path is longer than any
            that Linux takes, stay folded and don't count.
        """
        top = self.children("") or ()
        level, count, fitted = [item.name for item in top if item.foldable], len(top), True
        while level:
            deeper: list[str] = []
            for path in level:
                items = self.children(path) if len(path) <= _LONGEST_PATH else None
                if items is None:
                    continue
                if count + len(items) > most_rows:
                    fitted = False
                    continue
                count += len(items)
                self.opened.add(path)
                deeper += [f"{path}/{item.name}" for item in items if item.foldable]
            level = deeper
        self.rebuild()
        return fitted

    def index_of(self, path: str) -> int | None:
        """Where the row of ``path`` is; None if it isn't visible. Looks at the siblings on the way down only."""
        index, end, found = 0, len(self.rows), None
        for name in path.split("/"):
            while index < end and self.rows[index].name != name:
                index += 1 + self.rows[index].span
            if index >= end:
                return None
            found = index
            end = index + 1 + self.rows[index].span
            index += 1
        return found

    def row_at(self, path: str) -> TreeRow[ValueT] | None:
        """The row of ``path``; None if it isn't visible."""
        index = self.index_of(path)
        return None if index is None else self.rows[index]

    def parent_index(self, index: int) -> int | None:
        """Where the parent of a row is; None at the top."""
        parent = self.rows[index].parent
        # Rows compare by identity, so this runs at C speed even past a million siblings.
        return None if parent is None else self.rows.index(parent, 0, index)

    def _children_of(self, row: TreeRow[ValueT] | None, path: str, waiting: set[str]) -> Iterator[TreeRow[ValueT]]:
        items = self.children(path)
        if items is None:
            waiting.add(path)
            return iter(())
        depth, end = (0 if row is None else row.depth + 1), len(items) - 1
        return (
            TreeRow(name, row, depth, number == end, foldable, value)
            for number, (name, foldable, value) in enumerate(items)
        )

    def _replace_below(self, index: int, prepared: Prepared[ValueT]) -> Splice:
        row = self.rows[index]
        removed, added = row.span, len(prepared.rows)
        self.rows[index + 1 : index + 1 + removed] = prepared.rows
        for ancestor in row.upwards():
            ancestor.span += added - removed
        inside = prepared.path + "/"
        still = {path for path in self.waiting if path != prepared.path and not path.startswith(inside)}
        self.waiting = still | prepared.waiting
        return Splice(index + 1, removed, added)


def _by_directory(paths: AbstractSet[str]) -> dict[str, set[str]]:
    """The names in ``paths``, by the directory that they are in."""
    names: dict[str, set[str]] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        names.setdefault(directory, set()).add(name)
    return names
