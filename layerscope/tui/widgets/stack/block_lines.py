"""How the lines of one block of the layer stack are drawn.

    ▌ 2 RUN apt-get install -y nginx        66.9 MB     first line
    ▌   ████████████████           +1,873  ~9           bar and what the level did
    ▌   sha256:4f2a…90bd                                 where there is room
    ▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀      half a line as the gap

A block of one line has number, title and a small bar side by side. Blocks without gaps stand on each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from msgspec import Struct
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from layerscope.tui.glyphs import MARK_LOOKS, Glyphs, Mark, bar
from layerscope.tui.look import Look
from layerscope.tui.sources.blocks import Block
from layerscope.tui.text import cell_len, crop, fit
from layerscope.tui.theme import ramp_color
from layerscope.tui.units import size_text

BRACKET_CELLS = 2
_OUTSIDE, _INSIDE, _CHOSEN = 0.05, 0.17, 0.36
_OUTSIDE_HEAD, _INSIDE_HEAD = 0.09, 0.26
"""How much of its own colour a block's ground has; the first line more, where no gap parts it from the block above."""
_LEAST_CONTRAST = 3.6
_TITLE_FROM = 36


class BlockPlace(Struct, frozen=True):
    """A line of the stack: the block it belongs to, its place in it, how many lines that block has, and whether the
    last of them is the gap."""

    index: int
    line: int
    height: int
    has_gap: bool

    @property
    def last_line(self) -> int:
        """The block's last line that isn't a gap."""
        return self.height - 1 - self.has_gap


def cells_of_bars(blocks: Sequence[Block], width: int, glyphs: Glyphs) -> float:
    """How long the bar of the largest block is, so that all bars have one scale and none runs into its counts."""
    largest = max((block.size or 0 for block in blocks), default=0)
    indent = _digits(len(blocks)) + 1
    cells = float(_room(width, indent, 0))
    for block in blocks:
        if block.size:
            used = sum(cell_len(text) for text, _ in _marks(block, glyphs))
            cells = min(cells, _room(width, indent, used) * largest / block.size)
    return cells


def _digits(levels: int) -> int:
    return max(2, len(str(levels)))


def _marks(block: Block, glyphs: Glyphs) -> list[tuple[str, Mark]]:
    return [(f" {glyphs.marks[mark]}{count:,} ", mark) for mark, count in block.marks]


def _room(width: int, indent: int, used: int) -> int:
    """The cells for a bar beside counts of ``used`` cells."""
    return max(0, width - 1 - indent - used - 1)


class BlockPainter(Struct, frozen=True):
    """Draws blocks ``width`` cells wide, of a stack of ``levels`` whose largest has ``largest`` bytes.

    ``bar_cells``: as long is the bar of the largest, on the lines that bars share with counts (:func:`cells_of_bars`).
    """

    look: Look
    width: int
    levels: int
    largest: int
    ground: Color
    focused: bool
    bar_cells: float

    def line(self, block: Block, place: BlockPlace, *, chosen: bool, outside: bool) -> Iterable[Segment]:
        """One line of a block. ``outside``: the level isn't part of what is shown."""
        color = Color.parse(ramp_color(self.look.palette, block.number, self.levels))
        head = not place.has_gap and not place.line and place.height > 1
        strength = (_OUTSIDE_HEAD if head else _OUTSIDE) if outside else (_INSIDE_HEAD if head else _INSIDE)
        fill = self.ground.blend(color, _CHOSEN if chosen else strength)
        if place.has_gap and place.line == place.height - 1:
            half = "▀" if not self.look.glyphs.ascii_only else " "
            yield Segment(half * self.width, _style(fill, self.ground))
            return
        edge = self.ground.blend(color, 0.5) if outside else color
        text = Color.parse(self.look.palette["muted" if outside else "foreground"])
        glyphs = self.look.glyphs
        yield Segment(glyphs.bar_full if chosen else glyphs.stripe, _style(edge, fill))
        pen = _Pen(self.look, fill, text, edge, outside, chosen)
        if place.height == 1:
            yield from self._single(block, pen)
        elif place.line == 0:
            yield from self._title(block, pen)
        elif place.line == 1:
            yield from self._bar(block, pen)
        else:
            rest = block.identity if place.line == 2 else ""
            line = " " * len(self._number(block)) + self.look.text(rest)
            yield pen.muted(fit(crop(line, self.width - 2, ellipsis=glyphs.ellipsis), self.width - 1))

    def _share(self, block: Block) -> float:
        return (block.size or 0) / self.largest if self.largest else 0.0

    def _number(self, block: Block) -> str:
        return f"{block.number:>{_digits(self.levels)}} "

    def _size(self, block: Block) -> str:
        if block.missing:
            return "missing"
        if block.size is None:
            return "?" if block.unknown else self.look.glyphs.ellipsis
        return size_text(block.size)

    def _title(self, block: Block, pen: _Pen) -> Iterator[Segment]:
        number, size = self._number(block), self._size(block)
        badge = f"{block.badge} " if block.badge else ""
        room = self.width - 1 - len(number) - len(badge) - len(size) - 2
        yield pen.edge(number, bold=True)
        yield pen.edge(badge, italic=True)
        yield pen.text(fit(self.look.text(block.title), room, ellipsis=self.look.glyphs.ellipsis), bold=pen.chosen)
        yield pen.text(f" {size} ", bold=not block.missing)

    def _bar(self, block: Block, pen: _Pen) -> Iterator[Segment]:
        indent = len(self._number(block))
        glyphs = self.look.glyphs
        marks = _marks(block, glyphs)
        used = sum(cell_len(text) for text, _ in marks)
        room = _room(self.width, indent, used)
        drawn = bar(self._share(block) * self.bar_cells / room if room else 0, room, glyphs)
        yield pen.text(" " * indent)
        yield pen.edge(fit(drawn, room))
        for text, mark in marks:
            yield pen.mark(text, mark)
        yield pen.text(" " * (self.width - 1 - indent - room - used))

    def _single(self, block: Block, pen: _Pen) -> Iterator[Segment]:
        glyphs = self.look.glyphs
        head = f"{glyphs.pointer if pen.chosen else ' '}{self._number(block)}"
        size = f"{self._size(block):>8} "
        yield pen.edge(head, bold=True)
        room = self.width - 1 - len(head) - len(size)
        bar_cells = max(0, room - 5) if self.width < _TITLE_FROM else max(6, room // 4)
        title = block.badge if self.width < _TITLE_FROM else " ".join(filter(None, (block.badge, block.title)))
        title_cells = max(0, room - bar_cells)
        cut = crop(self.look.text(title), max(0, title_cells - 1), ellipsis=glyphs.ellipsis)
        yield pen.text(fit(cut, title_cells), bold=pen.chosen)
        yield pen.edge(fit(bar(self._share(block), max(0, bar_cells), glyphs), max(0, bar_cells)))
        yield pen.text(size, bold=pen.chosen)


class _Pen(Struct, frozen=True):
    """Writes on the ground of one block."""

    look: Look
    fill: Color
    ink: Color
    edge_color: Color
    outside: bool
    chosen: bool

    def text(self, text: str, *, bold: bool = False) -> Segment:
        return Segment(text, _style(self.ink, self.fill, bold=bold))

    def muted(self, text: str) -> Segment:
        return Segment(text, _style(self._readable("muted"), self.fill))

    def edge(self, text: str, *, bold: bool = False, italic: bool = False) -> Segment:
        return Segment(text, _style(self.edge_color, self.fill, bold=bold, italic=italic))

    def mark(self, text: str, mark: Mark) -> Segment:
        color = self._readable("muted" if self.outside else MARK_LOOKS[mark].color)
        return Segment(text, _style(color, self.fill))

    def _readable(self, name: str) -> Color:
        """The colour of that name, or plain ink where it would drown in the block's ground."""
        color = Color.parse(self.look.palette[name])
        return color if contrast(self.fill, color) >= _LEAST_CONTRAST else self.ink


@lru_cache(maxsize=4096)
def contrast(one: Color, other: Color) -> float:
    """How far two colours stand apart in brightness, 1 to 21 (WCAG 2, contrast ratio)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    parts = [code / 12.92 if code <= 0.03928 else ((code + 0.055) / 1.055) ** 2.4 for code in color.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@lru_cache(maxsize=4096)
def _style(color: Color, ground: Color, *, bold: bool = False, italic: bool = False) -> Style:
    return Style(color=color.rich_color, bgcolor=ground.rich_color, bold=bold or None, italic=italic or None)
