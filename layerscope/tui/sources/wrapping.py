"""Long texts in several lines."""

from __future__ import annotations

from layerscope.tui.text import cell_len, crop


def wrapped(text: str, width: int, most: int, ellipsis: str) -> list[str]:
    """``text`` (escaped) in lines of at most ``width`` cells, at most ``most`` of them; broken at blanks and slashes
    where one is in the last third of a line."""
    lines: list[str] = []
    while cell_len(text) > width and len(lines) < most - 1:
        piece = crop(text, width, ellipsis="")
        if not piece:
            break
        last = max(piece.rfind(" "), piece.rfind("/"), piece.rfind(",")) + 1
        if last > len(piece) * 2 // 3:
            piece = piece[:last]
        lines.append(piece.rstrip(" "))
        text = text[len(piece) :]
    lines.append(crop(text, width, ellipsis=ellipsis))
    return lines
