"""Names as a terminal may see them: nothing that moves the cursor, hides or reorders text, and a known width in cells.

File names are data from a hostile root; :mod:`layerscope.formats.escape` makes them one line of harmless text.
Widths are those of rich (``cell_len``): 2 for wide characters, 0 for combining ones.
"""

from __future__ import annotations

from typing import Literal

from rich.cells import cell_len, get_character_cell_size

from layerscope.formats.escape import escape

__all__ = ["cell_len", "crop", "escape", "fit"]

Keep = Literal["start", "end"]


def crop(text: str, width: int, *, ellipsis: str = "…", keep: Keep = "start") -> str:
    """``text`` if it fits into ``width`` cells, else its ``keep`` side with ``ellipsis`` for the rest.

    The result may be a cell narrower than ``width``, where a wide character had to go as a whole. ``text`` must be
    escaped already. A width below that of the ellipsis gives the part of the ellipsis that fits.
    """
    if width <= 0:
        return ""
    if (len(text) if text.isascii() else cell_len(text)) <= width:
        return text
    room = width - cell_len(ellipsis)
    if room <= 0:
        return ellipsis if room == 0 else ellipsis[:width]
    if text.isascii():
        return text[:room] + ellipsis if keep == "start" else ellipsis + text[-room:]
    used = count = 0
    for character in text if keep == "start" else reversed(text):
        used += get_character_cell_size(character)
        if used > room:
            break
        count += 1
    if keep == "start":
        return text[:count] + ellipsis
    # A combining mark without its base would land on the ellipsis.
    tail = text[len(text) - count :]
    while tail and get_character_cell_size(tail[0]) == 0:
        tail = tail[1:]
    return ellipsis + tail


def fit(
    text: str, width: int, *, ellipsis: str = "…", keep: Keep = "start", align: Literal["left", "right"] = "left"
) -> str:
    """``text`` cropped and padded to exactly ``width`` cells (for the parameters see :func:`crop`)."""
    cropped = crop(text, width, ellipsis=ellipsis, keep=keep)
    blanks = " " * (width - (len(cropped) if cropped.isascii() else cell_len(cropped)))
    return cropped + blanks if align == "left" else blanks + cropped
