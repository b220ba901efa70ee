"""What a container changed, as rows that can be sorted, filtered and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from layerscope.model.change import Change, ChangeKind, Reason
from layerscope.tui.glyphs import Mark
from layerscope.tui.sources.arrangement import Category
from layerscope.tui.sources.search import Matcher

_WORDS = {
    Reason.ADDED: "added",
    Reason.CONTENT: "content",
    Reason.METADATA: "metadata",
    Reason.TYPE: "type",
    Reason.WHITEOUT: "whiteout",
    Reason.OPAQUE: "opaque",
    Reason.ANCESTOR: "changes below",
}
_MARKS = {
    Reason.ADDED: Mark.ADDED,
    Reason.CONTENT: Mark.MODIFIED,
    Reason.METADATA: Mark.COPIED,
    Reason.TYPE: Mark.MODIFIED,
    Reason.WHITEOUT: Mark.WHITEOUT,
    Reason.ANCESTOR: Mark.WITHIN,
}


class ChangeOrder(StrEnum):
    """What the rows are sorted by."""

    PATH = "path"
    SIZE = "size"
    REASON = "reason"


def reason_word(change: Change) -> str:
    """Why a path is in the list, in a word or two."""
    return _WORDS[change.reason]


def mark_of_change(change: Change) -> Mark:
    """The sign of a change; what an opaque directory hides is gone, like what a whiteout removes."""
    if change.reason is Reason.OPAQUE:
        return Mark.WHITEOUT if change.kind is ChangeKind.DELETED else Mark.OPAQUE
    return _MARKS[change.reason]


def category_of(change: Change) -> Category:
    """What a change is shown or hidden with."""
    if change.reason is Reason.ANCESTOR:
        return Category.UNMODIFIED
    return {
        ChangeKind.ADDED: Category.ADDED,
        ChangeKind.CHANGED: Category.MODIFIED,
        ChangeKind.DELETED: Category.DELETED,
    }[change.kind]


class ChangeArrangement(Struct, frozen=True):
    """Which changes are shown, in which order."""

    order: ChangeOrder = ChangeOrder.PATH
    reverse: bool = False
    hidden: frozenset[Category] = frozenset()
    text: str = ""

    def next_order(self) -> ChangeArrangement:
        """The same, sorted by the next column."""
        orders = list(ChangeOrder)
        return replace(self, order=orders[(orders.index(self.order) + 1) % len(orders)], reverse=False)

    def toggled(self, category: Category) -> ChangeArrangement:
        """The same, with a category shown or hidden."""
        return replace(self, hidden=self.hidden ^ {category})

    def arranged(self, changes: Iterable[Change]) -> list[Change]:
        """The changes that are shown, in their order."""
        matcher = Matcher(self.text) if self.text else None
        shown = [
            change
            for change in changes
            if category_of(change) not in self.hidden and (matcher is None or _matches(matcher, change.path))
        ]
        shown.sort(key=_KEYS[self.order])
        if self.reverse:
            shown.reverse()
        return shown


def _matches(matcher: Matcher, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return matcher.matches(folder, name)


_KEYS: dict[ChangeOrder, Callable[[Change], tuple[object, ...]]] = {
    ChangeOrder.PATH: lambda change: (os.fsencode(change.path),),
    ChangeOrder.SIZE: lambda change: (-(change.size or 0), -(change.size_below or 0), os.fsencode(change.path)),
    ChangeOrder.REASON: lambda change: (list(Reason).index(change.reason), os.fsencode(change.path)),
}


class ChangeCounts(Struct, frozen=True):
    """How many changes there are of each of docker's kinds, and the bytes that those which stayed store."""

    added: int
    changed: int
    deleted: int
    stored: int


def count_changes(changes: Iterable[Change]) -> ChangeCounts:
    """Count them; sizes are those of what was added or copied up, apparent bytes."""
    counts = dict.fromkeys(ChangeKind, 0)
    stored = 0
    for change in changes:
        counts[change.kind] += 1
        if change.kind is not ChangeKind.DELETED:
            stored += change.size or 0
    return ChangeCounts(counts[ChangeKind.ADDED], counts[ChangeKind.CHANGED], counts[ChangeKind.DELETED], stored)
