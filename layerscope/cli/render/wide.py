"""Text beyond ASCII on a screen: how many columns it takes, and where it is cut.

Apart from the tables, most of which are ASCII: Unicode's own tables take a while to load.
"""

from __future__ import annotations

import unicodedata


def columns(text: str) -> int:
    """How many columns ``text`` takes: wide characters two, combining ones none."""
    return sum(0 if unicodedata.combining(character) else _width(character) for character in text)


def _width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int, sign: str) -> str:
    """``text`` cut to ``width`` columns with a final ``sign`` of one column; combining characters take one, too."""
    if sum(map(_width, text)) <= width:
        return text
    taken = 0
    for position, character in enumerate(text):
        taken += _width(character)
        if taken > width - 1:
            return text[:position] + sign
    return text
