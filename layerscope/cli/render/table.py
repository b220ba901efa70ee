"""Columns of text: docker's own form, and one with right-aligned numbers for the tables that are ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

_GAP = 3
_DOCKER_MINIMUM = 10
_LEAST_CUT = 8
ELLIPSIS = "…"


def docker_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines as docker's command line prints a table: three spaces between, columns at least ten wide.

    Widths count characters, as Go's text/tabwriter does; the last column isn't padded.
    Source: docker/cli cli/command/formatter/formatter.go.
    """
    lines = [list(header), *(list(row) for row in rows)]
    last = len(header) - 1
    widths = [max(_DOCKER_MINIMUM, _GAP + max(len(line[column]) for line in lines)) for column in range(last)]
    for line in lines:
        yield "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) + line[last]


def aligned(
    rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset(), width: int | None = None, sign: str = ELLIPSIS
) -> Iterator[str]:
    """Lines with every column as wide as its widest cell on screen; columns of ``right`` are flush right.

    With ``width`` the last column is cut so that a line fits into so many columns, if eight are left for it;
    ``sign`` then ends it.
    """
    lines = [list(row) for row in rows]
    count = max(map(len, lines), default=0)
    widths = [max((cells(line[column]) for line in lines if column < len(line)), default=0) for column in range(count)]
    for line in lines:
        padded = []
        for column, cell in enumerate(line):
            space = " " * (widths[column] - cells(cell))
            padded.append(space + cell if column in right else cell + space)
        line_text = "  ".join(padded).rstrip(" ")
        room = 0 if width is None else width - cells("  ".join([*padded[:-1], ""]))
        if room >= _LEAST_CUT and len(line) == count and cells(line[-1]) > room:
            line_text = "  ".join([*padded[:-1], ellipsis(line[-1], room, sign)])
        yield line_text


def cells(text: str) -> int:
    """How many columns ``text`` takes on a screen: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    from layerscope.cli.render.wide import columns

    return columns(text)


def ellipsis(text: str, width: int, sign: str = ELLIPSIS) -> str:
    """``text`` cut to ``width`` columns with a final ``sign`` of one column, as docker cuts a command.

    Source: docker/cli cli/command/formatter/displayutils.go ``Ellipsis``.
    """
    if text[:width].isascii():  # what is behind needn't be looked at: no character takes less than a column
        return text if len(text) <= width else text[: width - 1] + sign
    from layerscope.cli.render.wide import cut

    return cut(text, width, sign)
