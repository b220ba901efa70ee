"""In which order the files of a directory are shown, and which of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from layerscope.tui.background import sort_gently
from layerscope.tui.glyphs import Mark
from layerscope.tui.sources.file_row import FileRow


class SortOrder(StrEnum):
    """What the rows of one directory are sorted by."""

    NAME = "name"
    SIZE = "size"
    TIME = "time"
    LEVEL = "level"
    CHANGE = "change"


class Category(StrEnum):
    """What can be shown or hidden together."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    UNMODIFIED = "unmodified"


_CATEGORY = {
    Mark.ADDED: Category.ADDED,
    Mark.MODIFIED: Category.MODIFIED,
    Mark.COPIED: Category.MODIFIED,
    Mark.OPAQUE: Category.MODIFIED,
    Mark.WHITEOUT: Category.DELETED,
    Mark.HIDDEN: Category.DELETED,
    Mark.SAME: Category.UNMODIFIED,
}
_MARK_ORDER = {
    mark: place
    for place, mark in enumerate(
        (
            *(Mark.WHITEOUT, Mark.OPAQUE, Mark.MODIFIED, Mark.ADDED, Mark.COPIED),
            *(Mark.HIDDEN, Mark.WITHIN, Mark.SAME),
        )
    )
}
SizeOf = Callable[[FileRow], "int | None"]


class Arrangement(Struct, frozen=True):
    """A sort order and the categories that aren't shown. The natural direction is that of the first use: names
    ascending, else the largest, newest, topmost, most changed first."""

    order: SortOrder = SortOrder.NAME
    reverse: bool = False
    left_out: frozenset[Category] = frozenset()

    def next_order(self) -> Arrangement:
        """The next sort order, in its natural direction."""
        orders = list(SortOrder)
        return replace(self, order=orders[(orders.index(self.order) + 1) % len(orders)], reverse=False)

    def by(self, order: SortOrder) -> Arrangement:
        """Another order; the same once more is reversed."""
        return replace(self, order=order, reverse=order is self.order and not self.reverse)

    def toggled(self, category: Category) -> Arrangement:
        """With that category hidden, or shown again."""
        return replace(self, left_out=self.left_out ^ {category})

    def shows(self, row: FileRow) -> bool:
        """Whether the row is shown. A directory in which something may be to show always is."""
        if not self.left_out or row.mark is None:
            return True
        if row.is_dir and row.mark in (Mark.WITHIN, Mark.COPIED, Mark.OPAQUE):
            return True
        return _CATEGORY.get(row.mark) not in self.left_out

    def arrange(self, rows: Sequence[FileRow], size_of: SizeOf) -> Sequence[FileRow]:
        """Of rows that are sorted by name those to show, in order; equal ones by name."""
        shown = [row for row in rows if self.shows(row)] if self.left_out else rows
        if self.order is SortOrder.NAME:
            return shown[::-1] if self.reverse else shown
        return sort_gently(shown, self._key(size_of, -1 if self.reverse else 1))

    def _key(self, size_of: SizeOf, sign: int) -> Callable[[FileRow], int]:
        match self.order:
            case SortOrder.SIZE:
                return lambda row: -sign * (size_of(row) or 0)
            case SortOrder.TIME:
                return lambda row: -sign * row.mtime
            case SortOrder.LEVEL:
                return lambda row: -sign * row.level
            case _:
                return lambda row: sign * (len(_MARK_ORDER) if row.mark is None else _MARK_ORDER[row.mark])


def by_name(rows: Sequence[FileRow]) -> list[FileRow]:
    """The rows sorted by the bytes of their names."""
    return sort_gently(rows, lambda row: os.fsencode(row.name))
