"""Names as a terminal may see them: nothing that moves the cursor, hides or reorders text, and a known width in cells.

File names are data from a hostile root. What :func:`escape` returns holds printable characters only and can be read
back without doubt:

    \\\\          a backslash
    \\n \\t \\r    newline, tab, carriage return
    \\x1b        a byte: control characters below 0x80, and bytes that are not UTF-8 (decoded with surrogateescape)
    \\u202e      a code point that has no glyph, changes the direction or the width of others, or looks like a blank

Widths are those of rich (``cell_len``): 2 for wide characters, 0 for combining ones.
"""

from __future__ import annotations

from typing import Literal

from rich.cells import cell_len, get_character_cell_size

__all__ = ["cell_len", "crop", "escape", "fit"]

Keep = Literal["start", "end"]

_SHORT = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


def escape(text: str, *, ascii_only: bool = False) -> str:
    """``text`` with every character spelled out that a terminal would obey, swallow or draw with a doubtful width.

    With ``ascii_only`` everything beyond ASCII is spelled out too.
    """
    if text.isprintable() and "\\" not in text and (text.isascii() or not (ascii_only or _has_selector(text))):
        return text
    return "".join(_spell(character, ascii_only) for character in text)


def _has_selector(text: str) -> bool:
    return any(ord(character) in _VARIATION_SELECTORS for character in text)


def _spell(character: str, ascii_only: bool) -> str:
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x80:
        return character if character.isprintable() else f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte itself
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() and not ascii_only and code not in _VARIATION_SELECTORS:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
