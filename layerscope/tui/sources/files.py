"""The files of one view as the merged tree shows them: directories that were read, sorted and filtered.

A directory is read when it is looked at, on whatever thread; everything else only looks at what was read.
"""

from __future__ import annotations

import stat as modes
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from layerscope.analysis.totals import covered_bytes
from layerscope.model.entry import Entry
from layerscope.model.problem import Problem
from layerscope.overlay import MergedDirectory, MergedView, describe
from layerscope.overlay.provenance import stream_entries, stream_own_entries
from layerscope.tui.background import keep
from layerscope.tui.glyphs import mark_of
from layerscope.tui.sources.arrangement import Arrangement, by_name
from layerscope.tui.sources.file_row import FileRow, RowMaker, Surroundings
from layerscope.tui.sources.search import Hits
from layerscope.tui.widgets.rows.tree_rows import Item

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
    what that level itself holds is shown. ``totals`` gives bytes below directories, by path; ``scans`` counts the
    directories of single levels that were listed."""

    def __init__(self, whole: MergedView, number: int, layer_only: bool, around: Surroundings) -> None:
        self.view = whole.cut(number)
        self.number = number
        self.layer_only = layer_only
        self.totals: dict[str, int] = {}
        self.hits: Hits | None = None
        self.arrangement = Arrangement()
        self.problems: dict[Problem, None] = {}
        self._around = around
        self.scans = 0
        self.totalled = False
        self.sorted_by_total = False
        self._unsettled: list[tuple[str, FileRow]] = []
        self._listings: dict[str, list[FileRow]] = {}
        self._arranged: dict[str, Sequence[FileRow]] = {}

    # ------------------------------------------------------------------ reading
    def read(self, path: str, tick: Tick = lambda count: None) -> list[FileRow]:
        """Read the directory at ``path`` (anew).

        Raises:
            OSError: there is none, or it can't be read.
        """
        view = self.view.cut(self.number)  # a view keeps listings: another one sees what has changed
        directory = view.directory(path, hidden=True)
        self.scans += len(directory.parts) + len(directory.covered)
        maker = RowMaker(directory, self._around)
        for count, entry in enumerate(self._stream(directory)):
            if not count % _TICK:
                tick(count)
            maker.add(entry)
        if self.layer_only:
            _look_below(directory, maker)
        rows = by_name([*maker.visible, *maker.gone.values()])
        keep(len(rows))
        self.problems.update(dict.fromkeys(view.problems))
        self.view = view.cut(self.number)  # and gives back the memory of the names
        prefix = f"{path}/" if path else ""
        self._unsettled += [(prefix + row.name, row) for row in rows if _is_unsettled(row)]
        self.put(path, rows)
        return rows

    def read_missing(self, paths: Iterable[str]) -> None:
        """Read those of the directories that weren't, as far as they can be."""
        for path in paths:
            if path not in self._listings:
                try:
                    self.read(path)
                except OSError:
                    self.put(path, [])

    def _stream(self, directory: MergedDirectory) -> Iterator[Entry]:
        if not self.layer_only:
            return stream_entries(directory, hidden=True, compare_bytes=COMPARE_BYTES)
        if directory.parts and directory.parts[0].level == self.number:
            return stream_own_entries(directory, COMPARE_BYTES)
        return iter(())

    def stored_level(self, path: str, row: FileRow) -> int | None:
        """The level whose bytes are to be shown for a row: that which serves it, or of a removed name the topmost that
        still stores a file. None if no bytes can be shown of it.

        Raises:
            OSError: its directory is gone, or can't be read.
        """
        if not row.gone:
            return row.level if modes.S_ISREG(row.ownership.mode) or row.target is not None else None
        folder, _, name = path.rpartition("/")
        directory = self.view.cut(self.number).directory(folder, hidden=True)
        parts = [*directory.parts, *(covered.part for covered in directory.covered)]
        return next((part.level for part in parts if part.kind(name) == "f"), None)

    def folder_behind(self, path: str) -> str | None:
        """The path of the directory that the symlink at ``path`` leads to; None if it leads to something else.

        Raises:
            OSError: it leads nowhere, or in circles.
        """
        view = self.view.only(self.number) if self.layer_only else self.view.cut(self.number)
        place = view.place(path, follow=True)
        return None if place.name else place.path

    def take_unsettled(self) -> Iterator[tuple[str, FileRow]]:
        """Rows of which reading the directory could not tell all, with their paths, each once."""
        while self._unsettled:
            yield self._unsettled.pop(0)

    def settle(self, path: str, row: FileRow) -> None:
        """Find out what takes longer: whether a large file differs from the copy below, and what a removed directory
        still holds. What can't be read stays unknown."""
        folder, _, name = path.rpartition("/")
        try:
            directory = self.view.cut(self.number).directory(folder, hidden=True)
            if row.gone:
                row.size = covered_bytes(directory.child(name))
            else:
                row.mark = mark_of(describe(directory, name).state)
        except OSError:
            return

    # ------------------------------------------------------------------ what was read
    def rows(self, path: str) -> list[FileRow] | None:
        """The rows of a directory as they were read, by name; None if it wasn't."""
        return self._listings.get(path)

    def put(self, path: str, rows: list[FileRow]) -> None:
        """Take rows for a directory that were not read here."""
        self._listings[path] = rows
        self.arrange(path)

    def has_folder(self, path: str) -> bool:
        """Whether the directory that holds ``path`` was read and has a directory of that name."""
        folder, _, name = path.rpartition("/")
        return any(row.name == name and row.is_dir for row in self._listings.get(folder, ()))

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


def _is_unsettled(row: FileRow) -> bool:
    return row.mark is None or (row.gone and row.is_dir)


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
