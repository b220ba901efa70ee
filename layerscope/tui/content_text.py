"""Lines of a file's content as a terminal may see them: tabs as blanks, everything else that it would obey spelled out.

Unlike a name, a line of text keeps its backslashes: what is spelled out (``\\x1b``) is told apart by its style.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from layerscope.tui.look import Look
from layerscope.tui.text import cell_len, escape

TAB_CELLS = 8

Run = tuple[str, Style]
"""A piece of a line, raw (decoded with surrogateescape, without newline), and its style."""


def content_strip(runs: Iterable[Run], look: Look, skip: int, width: int) -> Strip:
    """The line that ``runs`` make, without its first ``skip`` cells, at most ``width`` cells of it."""
    odd = look.style("muted", italic=True, underline=look.no_color)
    segments: list[Segment] = []
    cell = 0
    for text, style in runs:
        for piece, is_odd in _pieces(text, cell, look.glyphs.ascii_only):
            if cell >= skip + width:  # what follows isn't seen
                return Strip(segments, cell).crop(skip, skip + width)
            segments.append(Segment(piece, style + odd if is_odd else style))
            cell += cell_len(piece)
    return Strip(segments, cell).crop(skip, skip + width)


def _pieces(text: str, cell: int, ascii_only: bool) -> Iterator[tuple[str, bool]]:
    """The parts of a text that begins at ``cell``, and whether each is spelled out."""
    for number, plain in enumerate(text.split("\t")):
        if number:
            blanks = TAB_CELLS - cell % TAB_CELLS
            cell += blanks
            yield " " * blanks, False
        for piece, odd in _spelled(plain, ascii_only):
            cell += cell_len(piece)
            yield piece, odd


def _spelled(text: str, ascii_only: bool) -> Iterator[tuple[str, bool]]:
    if text.isascii() and text.isprintable():
        if text:
            yield text, False
        return
    start = 0
    for place, character in enumerate(text):
        spelled = character if character == "\\" else escape(character, ascii_only=ascii_only)
        if spelled != character:
            if place > start:
                yield text[start:place], False
            yield spelled, True
            start = place + 1
    if start < len(text):
        yield text[start:], False
