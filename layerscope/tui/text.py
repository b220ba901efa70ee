"""Names as a terminal may see them: nothing that moves the cursor, hides or reorders text, and a known width in cells.

File names are data from a hostile root; :mod:`layerscope.formats.escape` makes them one line of harmless text.
Widths are those of rich (``cell_len``): 2 for wide characters, 0 for combining ones.
"""

from __future__ import annotations

from typing import Literal

from rich.cells import cell_len, get_character_cell_size

from layerscope.formats.escape import escape

__all__ = ["cell_len", "crop", "crop_image", "escape", "fit", "without_host"]

Keep = Literal["start", "end"]
_IMPLIED_HOSTS = ("localhost/", "docker.io/library/", "docker.io/")


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


def without_host(text: str) -> str:
    """An image's name without the host that podman and docker put before names without one."""
    return next((text.removeprefix(host) for host in _IMPLIED_HOSTS if text.startswith(host)), text)


def crop_image(text: str, width: int, *, ellipsis: str = "…") -> str:
    """An image's name in ``width`` cells: as much of its end as fits, cut between its parts where that can be.

    The host that podman and docker put before names without one goes first, and nothing tells of it; then come
    registry and repository. The last part, with the tag, is cut only if it doesn't fit alone.
    """
    if cell_len(text) <= width:
        return text
    text = without_host(text)
    if cell_len(text) <= width:
        return text
    rest = text
    while "/" in rest:
        rest = rest.partition("/")[2]
        if cell_len(ellipsis) + 1 + cell_len(rest) <= width:
            return f"{ellipsis}/{rest}"
    return crop(text, width, ellipsis=ellipsis, keep="end")


def fit(
    text: str, width: int, *, ellipsis: str = "…", keep: Keep = "start", align: Literal["left", "right"] = "left"
) -> str:
    """``text`` cropped and padded to exactly ``width`` cells (for the parameters see :func:`crop`)."""
    cropped = crop(text, width, ellipsis=ellipsis, keep=keep)
    blanks = " " * (width - (len(cropped) if cropped.isascii() else cell_len(cropped)))
    return cropped + blanks if align == "left" else blanks + cropped
