"""The layers of many images as one tree: images that share a prefix of their chains share its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from layerscope.cli.render.docker_form import short_id, size
from layerscope.formats.history_text import command_title
from layerscope.model.digest import ChainID


class TreeLayer(Struct):
    """A layer of the tree: its own size in bytes, its command, and the names of the images that end with it."""

    chain_id: ChainID
    size: int | None
    created_by: str
    images: list[str] = field(default_factory=list)
    above: dict[ChainID, TreeLayer] = field(default_factory=dict)


class LayerTree(Struct):
    """All chains that were added. ``bare`` are the names of images without a layer."""

    bases: dict[ChainID, TreeLayer] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)

    def add(self, name: str, chain: Iterable[TreeLayer]) -> None:
        """Add an image with its layers, base first."""
        room, top = self.bases, None
        for layer in chain:
            top = room.setdefault(layer.chain_id, layer)
            room = top.above
        (self.bare if top is None else top.images).append(name)


def tree_lines(tree: LayerTree, glyphs: bool = True) -> Iterator[tuple[str, TreeLayer]]:
    """The layers, base first, each with the guide in front of it.

    Where only one layer follows, it stands right below with a line in front; only a fork indents, so that depth costs
    no width.
    """
    branch, last, line = ("├─", "└─", "│ ") if glyphs else ("|-", "`-", "| ")
    start, follow = ("● ", "│ ") if glyphs else ("* ", "| ")
    waiting = [(start, "", layer) for layer in reversed(tree.bases.values())]
    while waiting:
        guide, below, layer = waiting.pop()
        yield guide, layer
        above = list(layer.above.values())
        if len(above) == 1:
            waiting.append((below + follow, below, above[0]))
        else:
            for position, child in enumerate(reversed(above)):
                first, rest = (last, "  ") if position == 0 else (branch, line)
                waiting.append((below + first + start, below + rest, child))


def tree_row(guide: str, layer: TreeLayer) -> list[str]:
    """The cells of one row: layer, size, images, command."""
    images = ", ".join(layer.images)
    return [guide + short_id(layer.chain_id), size(layer.size), images, command_title(layer.created_by)]
