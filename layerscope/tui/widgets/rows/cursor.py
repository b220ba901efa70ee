"""Where the cursor of a list goes. Pure arithmetic on row numbers; ``count`` rows, numbered from 0."""

from __future__ import annotations

from collections.abc import Callable

Selectable = Callable[[int], bool]


def clamp(index: int, count: int) -> int:
    """The nearest row number there is; 0 without rows."""
    return max(0, min(index, count - 1))


def nearest(index: int, count: int, step: int, selectable: Selectable) -> int:
    """The selectable row at ``index`` or nearest to it: first in the direction of ``step``, then in the other.

    Where no row is selectable, ``index`` itself.
    """
    index = clamp(index, count)
    for direction in (1, -1) if step >= 0 else (-1, 1):
        candidate = index
        while 0 <= candidate < count:
            if selectable(candidate):
                return candidate
            candidate += direction
    return index


def moved(cursor: int, step: int, count: int, selectable: Selectable) -> int:
    """The row that ``step`` leads to from ``cursor``; past the last selectable row it stays."""
    found = nearest(cursor + step, count, step, selectable)
    return cursor if (found - cursor) * step < 0 else found


def after_splice(cursor: int, index: int, removed: int, added: int) -> int:
    """The cursor after ``removed`` rows from ``index`` on made place for ``added``.

    It stays on its row. If that row was removed, it goes to the one that took its place, or to the one above the gap.
    """
    if cursor < index:
        return cursor
    if cursor >= index + removed:
        return cursor + added - removed
    return index + min(cursor - index, added - 1) if added else max(0, index - 1)


def top_showing(cursor: int, top: int, page: int) -> int:
    """The first row on the screen, nearest to ``top``, so that the cursor is among the ``page`` rows shown."""
    return min(max(top, cursor - page + 1), cursor)
