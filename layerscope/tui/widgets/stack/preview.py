"""The stack of an image to be: its blocks to scale, the new one on top in its colour. Only to be looked at."""

from __future__ import annotations

from textual import events

from layerscope.analysis.counts import level_counts
from layerscope.model.container import Container
from layerscope.model.level import Level, LevelCounts, Role
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services import Session
from layerscope.services.lab.preview import NewLayer, Place
from layerscope.tui.glyphs import Mark
from layerscope.tui.sources.blocks import Block, blocks_of
from layerscope.tui.widgets.stack.blocks import LayerStack


class StackPreview(LayerStack, can_focus=False):
    """Blocks without a cursor that could be moved."""

    DEFAULT_CSS = """
    StackPreview { background: $surface; }
    """

    def on_click(self, event: events.Click) -> None:
        """Nothing is chosen here."""
        event.stop()


def counts_of(session: Session, container: Container) -> LevelCounts:
    """What the new layer will hold, counted as for any other block: the writable layer's entries over the image's.

    These are not the lines of docker's diff: of a directory that a whiteout or an opaque one hides, that lists every
    entry as deleted, while the layer has one mark. The init layer is left out, as no image has it.

    Raises:
        LayerscopeError: the layers can't be read.
    """
    subject = Subject(None, container)
    levels, view = session.levels(subject), session.view(subject)
    init = {level.number for level in levels if level.role is Role.INIT}
    if type(view) is MergedView:
        view = MergedView([level for level in view.levels if level.number not in init])
    return level_counts(view, levels[-1].number)


def marks_of(counts: LevelCounts) -> list[tuple[Mark, int]]:
    """Marks with their counts, those without any left out."""
    return Block(Level(0, Role.IMAGE, None), "", "", None, counts=counts).marks


def old_blocks(session: Session, container: Container, place: Place) -> list[Block]:
    """The image's levels, top first."""
    view = session.view(Subject(None, container))
    readable = frozenset(level.number for level in view.levels)
    return blocks_of(Subject(None, container), place.levels, readable)


def new_block(place: Place, counts: LevelCounts | None, layer: NewLayer | None, title: str) -> Block:
    """The layer that would be made; without ``layer`` its size isn't known yet."""
    size, diff_id = (layer.size, layer.diff_id) if layer is not None else (None, None)
    level = Level(place.number, Role.IMAGE, None, diff_id=diff_id, size=size)
    return Block(level, title, "new", size, counts=counts)
