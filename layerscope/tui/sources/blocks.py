"""The blocks of the layer stack: what each level is called, and how tall it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from layerscope.formats.history_text import command_title
from layerscope.model.digest import hex_of
from layerscope.model.level import Level, LevelCounts, Role
from layerscope.model.subject import StackLevel, Subject
from layerscope.tui.glyphs import Mark

_ID_DIGITS = 12


class Block(Struct, frozen=True):
    """One level as it is drawn. ``size`` in bytes and ``counts`` are None until they are known.

    ``badge`` is a word before the title (``rw``, ``init``, ``base`` or ""); ``missing`` tells that its files can't be
    read, ``unknown`` that nothing tells its size. Title and identity are raw, not escaped.
    """

    level: Level
    title: str
    badge: str
    size: int | None
    missing: bool = False
    counts: LevelCounts | None = None
    unknown: bool = False

    @property
    def number(self) -> int:
        """The level's number, from 1 (base)."""
        return self.level.number

    @property
    def identity(self) -> str:
        """What names the layer on disk and off it: its diff ID, else its directory."""
        if self.level.diff_id:
            return f"sha256:{hex_of(self.level.diff_id)[:_ID_DIGITS]}"
        return (self.level.cache_id or "")[:_ID_DIGITS]

    @property
    def marks(self) -> list[tuple[Mark, int]]:
        """How many paths of each mark it has, those that it has none of left out."""
        if self.counts is None:
            return []
        pairs = (
            (Mark.ADDED, self.counts.added),
            (Mark.MODIFIED, self.counts.modified),
            (Mark.COPIED, self.counts.metadata),
            (Mark.WHITEOUT, self.counts.deleted),
            (Mark.OPAQUE, self.counts.opaque),
        )
        return [(mark, count) for mark, count in pairs if count]

    def measured(self, found: StackLevel) -> Block:
        """The same block with what was measured meanwhile."""
        return replace(self, size=found.size, counts=found.counts or self.counts, unknown=found.size is None)


def blocks_of(subject: Subject, levels: Sequence[Level], readable: frozenset[int]) -> list[Block]:
    """The levels of a subject as blocks, top first; ``readable`` are the numbers of those whose files are there."""
    return [
        Block(level, _title(subject, level), _badge(level), level.size, level.number not in readable)
        for level in reversed(levels)
    ]


def _badge(level: Level) -> str:
    if level.role is not Role.IMAGE:
        return level.role.value
    return "base" if level.number == 1 else ""


def _title(subject: Subject, level: Level) -> str:
    if level.role is Role.RW:
        return f"writable layer of {subject.name}"
    if level.created_by:
        return command_title(level.created_by)
    if level.role is Role.INIT:
        return "layer for mount points"
    return "imported" if level.number == 1 else "no command recorded"


def block_heights(sizes: Sequence[int | None], rows: int, most: int = 3) -> list[int]:
    """How many of ``rows`` lines each block gets, in the order given.

    Each gets the same least height: 3 lines (the last half empty, as the gap) where they fit, else 2, else 1 (then
    they may be more than ``rows`` together), and not more than ``most``. What is left goes to the blocks in proportion
    to their sizes, except that single lines stay single.
    """
    count = len(sizes)
    if not count:
        return []
    least = next((lines for lines in (3, 2) if lines <= most and rows >= lines * count), 1)
    if least == 1:
        return [1] * count
    spare, total = rows - least * count, sum(size or 0 for size in sizes)
    if not total:
        return [least] * count
    exact = [spare * (size or 0) / total for size in sizes]
    heights = [int(share) for share in exact]
    by_rest = sorted(range(count), key=lambda index: heights[index] - exact[index])
    for index in by_rest[: spare - sum(heights)]:
        heights[index] += 1
    return [least + height for height in heights]
