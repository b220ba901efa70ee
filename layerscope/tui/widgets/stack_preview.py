"""The stack of an image to be: its blocks to scale, the new one on top in its colour. Only to be looked at."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events

from layerscope.model.change import Change
from layerscope.model.container import Container
from layerscope.model.level import Level, LevelCounts, Role
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.services.layer_preview import NewLayer, Place
from layerscope.tui.glyphs import Mark
from layerscope.tui.sources.blocks import Block, blocks_of
from layerscope.tui.sources.change_rows import mark_of_change
from layerscope.tui.widgets.stack import LayerStack


class StackPreview(LayerStack, can_focus=False):
    """Blocks without a cursor that could be moved."""

    DEFAULT_CSS = """
    StackPreview { background: $surface; }
    """

    def on_click(self, event: events.Click) -> None:
        """Nothing is chosen here."""
        event.stop()


def counts_of(changes: Iterable[Change]) -> LevelCounts:
    """How many changes a block tells of, by mark."""
    counts = dict.fromkeys(Mark, 0)
    for change in changes:
        counts[mark_of_change(change)] += 1
    return LevelCounts(
        added=counts[Mark.ADDED],
        modified=counts[Mark.MODIFIED],
        metadata=counts[Mark.COPIED],
        deleted=counts[Mark.WHITEOUT],
        opaque=counts[Mark.OPAQUE],
    )


def marks_of(counts: LevelCounts) -> list[tuple[Mark, int]]:
    """Marks with their counts, those without any left out."""
    return Block(Level(0, Role.IMAGE, None), "", "", None, counts=counts).marks


def old_blocks(session: Session, container: Container, place: Place) -> list[Block]:
    """The image's levels, top first."""
    view = session.view(Subject(None, container))
    readable = frozenset(level.number for level in view.levels)
    return blocks_of(Subject(None, container), place.levels, readable)


def new_block(place: Place, layer: NewLayer | None, title: str) -> Block:
    """The layer that would be made; without ``layer`` its size isn't known yet."""
    size, diff_id = (layer.size, layer.diff_id) if layer is not None else (None, None)
    level = Level(place.number, Role.IMAGE, None, diff_id=diff_id, size=size)
    return Block(level, title, "new", size, counts=counts_of(place.changes))
