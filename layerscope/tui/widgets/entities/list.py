"""The list of containers and images."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment

from layerscope.tui.glyphs import DOT_COLORS
from layerscope.tui.sources.entities import EntityRow
from layerscope.tui.text import cell_len, crop, crop_image, without_host
from layerscope.tui.units import size_text
from layerscope.tui.widgets.rows.line_view import LineView

_LEAST_NOTE = 6


class EntityList(LineView[EntityRow]):
    """Containers and images of one root, each group below its heading."""

    def selectable(self, index: int) -> bool:
        """Headings and gaps are passed over."""
        return self.rows[index].subject is not None

    def show(self, rows: list[EntityRow], key: str) -> None:
        """Show other rows, with the cursor on the subject of that key, else on the first."""
        self.set_rows(rows, next((index for index, row in enumerate(rows) if row.key == key), 0))

    def measured(self, key: str, row: EntityRow) -> None:
        """Put another row in the place of the one with that key, if it is still there."""
        for index, known in enumerate(self.rows):
            if known.key == key:
                self.rows[index] = row
                self.refresh_row(index)
                return

    def draw_row(self, index: int, row: EntityRow, width: int) -> Iterable[Segment]:
        """Dot, name, what it comes from, size."""
        look = self.look
        if row.kind == "gap":
            return
        if row.kind == "heading":
            used = cell_len(row.name) + 2 + len(row.note) + 1
            yield Segment(f" {row.name} ", look.style("secondary", bold=True))
            yield Segment(look.glyphs.rule * max(0, width - used - 1), look.style("faint"))
            yield Segment(f" {row.note} ", look.style("muted"))
            return
        dot = "problem" if row.damaged else row.dot
        size = "" if row.size is None else size_text(row.size)
        room = max(4, width - 3 - len(size) - 2)
        shorten = crop_image if row.kind == "image" else crop
        name = shorten(look.text(row.name), room, ellipsis=look.glyphs.ellipsis)
        nameless = row.kind == "image" and row.subject is not None and not _named(row)
        yield Segment(f" {look.glyphs.dots[dot]} ", look.style(DOT_COLORS[dot]))
        yield Segment(name, look.style("muted" if nameless else "foreground", bold=index == self.cursor))
        left = room - cell_len(name)
        note = self._note(row, left - 2)
        note = f"  {note}" if note else ""
        yield Segment(note + " " * (left - cell_len(note)), look.style("muted"))
        yield Segment(f" {size} ", look.style("foreground" if row.kind == "container" else "muted"))

    def _note(self, row: EntityRow, room: int) -> str:
        """What fits of the note: of a container's its image's name, of an image's whole parts only (``3 layers``)."""
        note = self.look.text(row.note)
        if row.kind == "image":
            return next((part for part in (note, note.partition(",")[0]) if cell_len(part) <= room), "")
        note = note if cell_len(note) <= room else without_host(note)
        return crop(note, room, ellipsis=self.look.glyphs.ellipsis) if room >= min(_LEAST_NOTE, cell_len(note)) else ""


def _named(row: EntityRow) -> bool:
    image = row.subject.image if row.subject else None
    return image is not None and bool(image.names)
