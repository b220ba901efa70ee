"""The files of one view as the merged tree shows them: directories that were read, sorted and filtered.

A directory is read when it is looked at, on whatever thread; everything else only looks at what was read.
"""

from __future__ import annotations

import stat as modes
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from layerscope.model.entry import Entry, EntryState
from layerscope.model.problem import Problem
from layerscope.overlay import MergedDirectory, MergedView, describe, stream_entries, stream_own_entries
from layerscope.tui.glyphs import Mark, mark_of
from layerscope.tui.sources.arrangement import Arrangement
from layerscope.tui.sources.file_row import FileRow, RowMaker, Surroundings
from layerscope.tui.sources.search import Hits
from layerscope.tui.widgets.tree_rows import Item

COMPARE_BYTES = 1 << 20
"""Files larger than that aren't read to tell a listing whether a copy differs."""
_TICK = 2048

Tick = Callable[[int], None]
"""Told now and then how many entries were read; may raise to stop the reading."""


class RowItems(Sequence[Item[FileRow]]):
    """Rows as the items of a tree, made one by one when they are asked for."""

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[FileRow]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Item[FileRow]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item[FileRow]]: ...
    def __getitem__(self, index: int | slice) -> Item[FileRow] | Sequence[Item[FileRow]]:
        if isinstance(index, slice):
            return RowItems(self.rows[index])
        return _item(self.rows[index])

    def __iter__(self) -> Iterator[Item[FileRow]]:
        return map(_item, self.rows)


def _item(row: FileRow) -> Item[FileRow]:
    return Item(row.name, row.is_dir, row)


class FileSource:
    """What is known of a view's files. ``number`` is the level at which the stack is cut; with ``layer_only`` just
    what that level itself holds is shown. ``totals`` gives bytes below directories, by path."""

    def __init__(self, whole: MergedView, number: int, layer_only: bool, around: Surroundings) -> None:
        self.view = whole.cut(number)
        self.number = number
        self.layer_only = layer_only
        self.totals: dict[str, int] = {}
        self.hits: Hits | None = None
        self.arrangement = Arrangement()
        self.problems: dict[Problem, None] = {}
        self._around = around
        self._listings: dict[str, list[FileRow]] = {}
        self._arranged: dict[str, list[FileRow]] = {}

    # ------------------------------------------------------------------ reading
    def read(self, path: str, tick: Tick = lambda count: None) -> list[FileRow]:
        """Read the directory at ``path`` (anew).

        Raises:
            OSError: there is none, or it can't be read.
        """
        view = self.view.cut(self.number)  # listings are kept by a view: another one sees what has changed
        maker = RowMaker(directory := view.directory(path, hidden=True), self._around)
        for count, entry in enumerate(self._stream(directory)):
            if not count % _TICK:
                tick(count)
            maker.add(entry)
        if self.layer_only:
            _look_below(directory, maker)
        rows = [*maker.visible, *maker.gone.values()]
        self.problems.update(dict.fromkeys(view.problems))
        self._listings[path] = rows
        self.arrange(path)
        return rows

    def _stream(self, directory: MergedDirectory) -> Iterator[Entry]:
        if not self.layer_only:
            return stream_entries(directory, hidden=True, compare_bytes=COMPARE_BYTES)
        if directory.parts and directory.parts[0].level == self.number:
            return stream_own_entries(directory, COMPARE_BYTES)
        return iter(())

    def entry(self, path: str, row: FileRow) -> Entry:
        """The entry behind a row, looked up anew.

        Raises:
            OSError: it is gone, or can't be read.
        """
        folder, _, name = path.rpartition("/")
        directory = self.view.cut(self.number).directory(folder, hidden=True)
        if not row.gone:
            return describe(directory, name, COMPARE_BYTES)
        places = [(part, None) for part in directory.parts] + [(part, by) for part, by in directory.covered]
        part, hidden_by = next(place for place in places if place[0].level == row.level)
        source = ".wh." + name if part.dialect.names and row.mark is Mark.WHITEOUT else name
        state = EntryState.WHITEOUT if row.mark is Mark.WHITEOUT else EntryState.ADDED
        return Entry(
            path, name, part.directory.stat(source), row.level, state, True, hidden_by or row.level, None, row.target
        )

    def settle(self, path: str, row: FileRow) -> None:
        """Compare a file whose mark isn't known yet with the copy below, however large it is."""
        folder, _, name = path.rpartition("/")
        entry = describe(self.view.cut(self.number).directory(folder), name)
        row.mark = mark_of(entry.state)

    # ------------------------------------------------------------------ what was read
    def rows(self, path: str) -> list[FileRow] | None:
        """The rows of a directory as they were read; None if it wasn't."""
        return self._listings.get(path)

    def listed(self) -> list[str]:
        """The directories that were read."""
        return list(self._listings)

    @property
    def row_count(self) -> int:
        """How many rows are held."""
        return sum(map(len, list(self._listings.values())))

    def forget(self, path: str) -> None:
        """Forget a directory and all below it, because it is no longer there or not looked at."""
        inside = path + "/"
        for known in self.listed():
            if known == path or known.startswith(inside):
                self._listings.pop(known, None)
                self._arranged.pop(known, None)

    def size_of(self, path: str, row: FileRow) -> int | None:
        """The bytes of a row, a directory's as far as they are known."""
        return self.totals.get(path) if row.size is None else row.size

    def arrange(self, path: str) -> None:
        """Sort and filter the rows of one directory that was read."""
        prefix = f"{path}/" if path else ""
        rows = self._listings[path]
        self._arranged[path] = self.arrangement.arrange(rows, lambda row: self.size_of(prefix + row.name, row))

    def arrange_all(self, arrangement: Arrangement) -> None:
        """Sort and filter everything that was read in another way."""
        self.arrangement = arrangement
        for path in self.listed():
            self.arrange(path)

    def children(self, path: str) -> Sequence[Item[FileRow]] | None:
        """The rows of a directory as items of a tree; None if it wasn't read."""
        rows = self._arranged.get(path)
        if rows is None:
            return None
        if self.hits is None or self.hits.covers(path):
            return RowItems(rows)
        names = self.hits.names_in(path)
        return RowItems([row for row in rows if row.name in names])


def _look_below(directory: MergedDirectory, maker: RowMaker) -> None:
    """Find what the whiteouts of the only level shown remove from the levels below it."""
    for name, row in maker.gone.items():
        for part in directory.parts[1:]:
            kind = part.kind(name)
            if kind == "w":
                break
            if kind is not None:
                stat = part.directory.stats((name,))[0]
                size = stat.st_size if stat is not None and not modes.S_ISDIR(stat.st_mode) else None
                maker.found_below(row, part.level, size)
                break
