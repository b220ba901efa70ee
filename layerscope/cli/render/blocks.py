"""The layers of a stack as blocks of text, top first, as high as they are big."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from layerscope.cli.render.docker_form import size
from layerscope.cli.render.marks import COUNT_STATES, colored, mark
from layerscope.cli.render.table import cells, ellipsis
from layerscope.formats.history_text import command_title
from layerscope.model.disk_share import DiskShare
from layerscope.model.level import LevelCounts
from layerscope.model.subject import StackLevel

_SCALE_ROWS = 16
"""Rows that the whole stack would take if every level could be drawn to scale."""
_BLOCK = 12
_RAMP = (24, 25, 31, 37, 36, 42, 78, 114, 150, 186)
"""Background colours (of 256) from the base to the top of a stack."""


class Look(Struct, frozen=True):
    """What the drawing may use: characters beyond ASCII, colour, at most ``width`` columns (None: no limit).

    ``safe`` makes a recorded command fit for where the lines go.
    """

    glyphs: bool = True
    color: bool = False
    width: int | None = None
    safe: Callable[[str], str] = str


def heights(sizes: Sequence[int | None], rows: int = _SCALE_ROWS) -> list[int]:
    """Rows for each block: linear in its size, at least one; an unknown size gets one."""
    total = sum(size or 0 for size in sizes)
    return [max(1, round((size or 0) / total * rows)) if total else 1 for size in sizes]


def blocks(levels: Sequence[StackLevel], look: Look) -> Iterator[str]:
    """Lines that draw ``levels`` (top first): number, role, block, size, counts, bytes on disk if told, command.

    The upper edge of a block carries its level's text, so that a level of one row takes one line.
    """
    if not levels:
        return
    rule, side = ("─", "│") if look.glyphs else ("-", "|")
    corners = (("┌", "┐"), ("├", "┤"), ("└", "┘")) if look.glyphs else (("+", "+"),) * 3
    number_width = max(len(str(item.level.number)) for item in levels)
    indent = " " * (number_width + 7)
    sizes = [size(item.size) for item in levels]
    size_width = max(map(len, sizes))
    for index, (item, height) in enumerate(zip(levels, heights([item.size for item in levels]), strict=True)):
        left, right = corners[0 if index == 0 else 1]
        edge = left + rule * _BLOCK + right
        head = f"{item.level.number:>{number_width}} {item.level.role:<5} {edge} {sizes[index]:>{size_width}}"
        yield _with_words(head, item, look)
        for _ in range(height - 1):
            yield f"{indent}{side}{_fill(index, len(levels), look)}{side}"
    left, right = corners[2]
    yield indent + left + rule * _BLOCK + right


def _fill(index: int, count: int, look: Look) -> str:
    if not look.color:
        return " " * _BLOCK
    shade = _RAMP[(count - 1 - index) * (len(_RAMP) - 1) // max(1, count - 1)]
    return f"\x1b[48;5;{shade}m{' ' * _BLOCK}\x1b[0m"


def _with_words(head: str, item: StackLevel, look: Look) -> str:
    """``head`` with the counts, the disk and the command behind it, the command cut to what room there is."""
    disk = disk_text(item.disk)
    plain = "  ".join(filter(None, (counts_text(item.counts, Look(look.glyphs)), disk)))
    line = "  ".join(filter(None, (head, counts_text(item.counts, look), disk)))
    command = look.safe(command_title(item.level.created_by))
    if command:
        used = cells(head) + (2 + cells(plain) if plain else 0) + 2
        if look.width is not None:
            room = look.width - used
            command = ellipsis(command, room) if room > 1 else ""
            if not look.glyphs:
                command = command.replace("…", "~")
        line += f"  {command}" if command else ""
    return line


def counts_text(counts: LevelCounts | None, look: Look) -> str:
    """``+12 ~5 ↑3 ✗6 ⊘1``: what a level adds, modifies, changes in metadata only, deletes, makes opaque."""
    if counts is None:
        return ""
    numbers = ((state, getattr(counts, name)) for name, state in COUNT_STATES.items())
    return " ".join(colored(f"{mark(state, look.glyphs)}{n}", state, look.color) for state, n in numbers if n)


def disk_text(disk: DiskShare | None) -> str:
    """``219kB its own of 4.31MB``: what a level alone holds on disk, and all that its tree reaches there."""
    if disk is None or disk.exclusive is None:
        return ""
    return f"{size(disk.exclusive)} its own" + ("" if disk.referenced is None else f" of {size(disk.referenced)}")
