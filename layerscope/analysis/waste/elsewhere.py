"""The files of other stacks' layers, as candidates for content that one stack stores too."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from layerscope.analysis.waste.copies import Folder, Strand, folder_of, stats_in, walk_folders
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.view import MergedView

_NAMES_AT_ONCE = 2048


class OtherFile(NamedTuple):
    """A regular file of a layer that the one stack doesn't have: the number of that layer counts down from -1."""

    size: int
    layer: int
    path: bytes


class OtherLayers:
    """The layers of ``views`` that are none of ``own``; each is read once, though several stacks stand on it.

    ``tops`` are their top directories by number, ``holders`` the first stack that has each, and its level there; both
    grow while :meth:`files` is used.
    """

    def __init__(self, views: Sequence[MergedView], own: MergedView) -> None:
        self._views = views
        self._own = {level.key for level in own.levels}
        self._numbers: dict[str, int] = {}
        self.tops: dict[int, LayerDirectory] = {}
        self.holders: dict[int, tuple[int, int]] = {}

    def files(self, cancelled: Callable[[], bool]) -> Iterator[OtherFile]:
        """Every regular file with bytes that is in view in at least one of the stacks."""
        for folder in walk_folders(folder_of(self._views)):
            if cancelled():
                return
            told: set[tuple[int, str]] = set()
            for strand in folder.strands:
                for number, names in self._shown(folder, strand, told).items():
                    yield from self._measured(folder, strand, number, names)

    def _shown(self, folder: Folder, strand: Strand, told: set[tuple[int, str]]) -> dict[int, list[str]]:
        """The names of files in view by the position of their directory in the strand, each once a folder."""
        found: dict[int, list[str]] = {}
        for name in folder.names_of(strand):
            for copy in folder.copies(strand, name):
                place = (id(copy.part), name)
                if copy.hider is None and copy.kind == "f" and not copy.held.moved and place not in told:
                    told.add(place)
                    found.setdefault(strand.held.index(copy.held), []).append(name)
        return found

    def _measured(self, folder: Folder, strand: Strand, position: int, names: list[str]) -> Iterator[OtherFile]:
        part = strand.held[position].part
        layer = self._number(strand, part.level)
        if layer is None:
            return
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = names[start : start + _NAMES_AT_ONCE]
            for name, stat in zip(some, stats_in(strand.view, part, some), strict=True):
                if stat is not None and modes.S_ISREG(stat.st_mode) and stat.st_size:
                    path = f"{part.path}/{name}" if part.path else name
                    yield OtherFile(stat.st_size, layer, os.fsencode(path))

    def _number(self, strand: Strand, level: int) -> int | None:
        """The number of the layer that a strand has at a level; None for the one stack's own."""
        key = next((one.key for one in strand.view.levels if one.number == level), "")
        if key in self._own:
            return None
        if key not in self._numbers:
            number = self._numbers[key] = -1 - len(self._numbers)
            self.tops[number] = next(part.directory for part in strand.view.root_parts if part.level == level)
            self.holders[number] = (strand.stacks[0], level)
        return self._numbers[key]
