"""The merged view of a stack whose levels are whole trees, or some of them: what is seen, and which level made it so.

What is seen at a level is its tree, and that is all that reading the view costs. Who made an entry what it is comes
from comparing neighbouring trees, and only for the directories that are asked about: one scan of each level there.

| asked for | for a directory that is the same in itself from one level to the next |
| --- | --- |
| the level that made an entry | the level below made it, whatever has changed further down |
| what a level holds, as a layer of changes would | it is there if something further down has changed |
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence, Set
from functools import partial
from itertools import pairwise
from typing import BinaryIO

from layerscope.model.level import LayerKind
from layerscope.overlay.compared import ComparedPart, child_or_none
from layerscope.overlay.merged import Covered, Found, MergedDirectory
from layerscope.overlay.part import MarkedKind, Part
from layerscope.overlay.view import MergedView, ViewLevel

Trees = tuple[MergedDirectory | None, ...]
"""One directory in the trees of all levels, top first; None where it is none."""


def merged_view(levels: Sequence[ViewLevel]) -> MergedView:
    """The file system that ``levels`` (base first) make together, with the level of every entry known."""
    for below, level in pairwise(levels):
        if level.kind is LayerKind.SNAPSHOT or level.over not in (None, below.number):
            return SnapshotView(levels)
    return MergedView(levels)


class SnapshotView(MergedView):
    """The file system of the topmost of several trees; what each level did is found by comparing them."""

    def __init__(self, levels: Sequence[ViewLevel], trees: Sequence[MergedView] | None = None) -> None:
        """``trees``: the file system at each of ``levels``, if it isn't these levels alone that make it."""
        super().__init__(levels[-1:])
        self.levels = tuple(levels)
        self._trees = _trees_of(levels) if trees is None else tuple(trees)
        for tree in self._trees:
            tree.report_to(self)
        roots: Trees = tuple(tree.root for tree in reversed(self._trees))
        self.unchanged: list[set[str]] = [set() for _ in levels]
        self.root_parts = tuple(parts_and_covered(self, roots)[0])
        self._roots = roots

    def report_to(self, other: MergedView) -> None:
        """Collect problems where another view does, those of all trees included."""
        super().report_to(other)
        for tree in self._trees:
            tree.report_to(self)

    @property
    def tree(self) -> MergedView:
        """The file system of the top level, its parts as they are stored."""
        return self._trees[-1]

    @property
    def root(self) -> MergedDirectory:
        """The top directory."""
        return SnapshotDirectory(self, self.tree.root, None, "", self._roots, self.root_parts)

    def cut(self, number: int) -> MergedView:
        """The file system as it was after level ``number``; 0 is empty."""
        return merged_view([level for level in self.levels if level.number <= number])

    def step(self, number: int) -> MergedView:
        """A view of level ``number`` and the tree below it, which is all that is compared."""
        kept = [level for level in self.levels if level.number <= number]
        if len(kept) < 2:
            return self.cut(number)
        return SnapshotView(kept[-2:], _trees_of(kept)[-2:])

    def only(self, number: int) -> MergedView:
        """The changes that level ``number`` made to the one below, all of the lowest level."""
        view = MergedView([level for level in self.levels if level.number == number])
        view.root_parts = tuple(part for part in self.cut(number).root_parts if part.level == number)
        return view

    def file_key(self, level: int, stat: os.stat_result) -> tuple[int, int, int]:
        """Names of one inode are one file, whichever levels gave it to them."""
        return 0, stat.st_dev, stat.st_ino

    def trusts_times(self, other: MergedView) -> bool:
        """If both grew from one tree: most of their files are copies, and to read them all takes far too long.

        So a file whose bytes changed while its size and time were kept isn't seen; docker doesn't see it either.
        """
        key = self.levels[0].key
        return bool(key) and bool(other.levels) and other.levels[0].key == key


class LevelFinder:
    """Finds which level made an entry of a view what it is; quickest if paths of one directory follow each other."""

    def __init__(self, view: SnapshotView) -> None:
        self._view = view
        self._folder: str | None = None
        self._directory: MergedDirectory | None = None

    def level_at(self, path: str) -> int | None:
        """The level that made what is at ``path``, or took it away; links on the way aren't followed."""
        folder, _, name = path.rpartition("/")
        if folder != self._folder:
            self._folder, self._directory = folder, self._reach(folder)
        directory = self._directory
        if directory is not None:
            for part in (*directory.parts, *(covered.part for covered in directory.covered)):
                if part.touches(name) is not None:
                    return part.level
        return None

    def _reach(self, folder: str) -> MergedDirectory | None:
        directory = self._view.root
        try:
            for name in folder.split("/") if folder else ():
                directory = directory.child(name)
        except OSError:
            return None
        return directory


def _trees_of(levels: Sequence[ViewLevel]) -> tuple[MergedView, ...]:
    """The file system at each level: a whole tree, or a layer of changes over the tree of a lower level."""
    made_of: dict[int, tuple[ViewLevel, ...]] = {}
    below: int | None = None
    for level in levels:
        over = level.over if level.over in made_of else below
        stands_alone = level.kind is LayerKind.SNAPSHOT or over is None
        made_of[level.number] = (level,) if stands_alone or over is None else (*made_of[over], level)
        below = level.number
    return tuple(MergedView(made_of[level.number]) for level in levels)


def parts_and_covered(
    view: SnapshotView, trees: Trees, top_part: ComparedPart | None = None
) -> tuple[list[Part], list[Covered]]:
    """What each level did in a directory: down to the level that made it, and what was there before, now gone."""
    parts: list[Part] = []
    covered: list[Covered] = []
    hider: int | None = None
    top = len(trees) - 1
    for position, tree in enumerate(trees):
        number = view.levels[top - position].number
        if tree is None:
            hider = hider if covered else number
            continue
        part = top_part if position == 0 else None
        if part is None:
            part = ComparedPart(number, tree, partial(_next, trees, position), view.unchanged[top - position])
        if hider is None:
            parts.append(part)
        else:
            covered.append(Covered(part, hider))
    return parts, covered


def _next(trees: Trees, position: int) -> MergedDirectory | None:
    return trees[position + 1] if position + 1 < len(trees) else None


class SnapshotDirectory(MergedDirectory):
    """A directory of a :class:`SnapshotView`; ``tree`` is the same one in the top level's tree, None if it is gone.

    ``parts`` and ``covered`` say what each level did in it; they are found when first asked for. Everything that is
    read comes from ``tree``.
    """

    __slots__ = ("_name", "_parent", "_top", "_trees", "tree")

    view: SnapshotView

    def __init__(
        self,
        view: SnapshotView,
        tree: MergedDirectory | None,
        parent: SnapshotDirectory | None,
        name: str,
        trees: Trees | None = None,
        parts: tuple[Part, ...] | None = None,
    ) -> None:
        self.view = view
        self.path = name if parent is None else parent.path_of(name)
        self.tree = tree
        self._parent = parent
        self._name = name
        self._trees = trees
        self._top: ComparedPart | None = None
        if parts is not None:
            self.parts, self.covered = parts, ()
            assert isinstance(parts[0], ComparedPart)
            self._top = parts[0]

    def __getattr__(self, name: str) -> object:
        """``parts`` and ``covered``, which are slots that nobody has filled yet."""
        if name in ("parts", "covered"):
            top = self.top if self.tree is not None else None
            parts, covered = parts_and_covered(self.view, self._all_trees(), top)
            self.parts, self.covered = tuple(parts), tuple(covered)
            return self.parts if name == "parts" else self.covered
        raise AttributeError(name)

    def _all_trees(self) -> Trees:
        """This directory in all trees. No recursion: depth costs no stack."""
        unknown: list[SnapshotDirectory] = []
        node: SnapshotDirectory | None = self
        while node is not None and node._trees is None:
            unknown.append(node)
            node = node._parent
        found: Trees = () if node is None or node._trees is None else node._trees
        for node in reversed(unknown):
            found = (node.tree, *(child_or_none(tree, node._name) for tree in found[1:]))
            node._trees = found
        return found

    @property
    def top(self) -> ComparedPart:
        """The first of ``parts``, which needs no look at the levels below."""
        if self._top is None:
            assert self.tree is not None
            number = self.view.levels[-1].number
            self._top = ComparedPart(number, self.tree, lambda: _next(self._all_trees(), 0), self.view.unchanged[-1])
        return self._top

    # ------------------------------------------------------------------ what is seen
    @property
    def level(self) -> int:
        """The level that made the directory what it is (of a hidden one: its topmost copy)."""
        return self.copies[0].level if self.tree is not None else self.covered[0].part.level

    @property
    def hidden(self) -> bool:
        """Whether the directory isn't in the view, only in trees below."""
        return self.tree is None

    def stat(self) -> os.stat_result:
        """``lstat`` of the directory."""
        return self.tree.stat() if self.tree is not None else self.covered[0].part.directory.stat_self()

    def visible(self) -> Iterator[tuple[str, Part, MarkedKind]]:
        """Every visible name, once, with the top level's part; one scan of the top level's directory, in no order."""
        if self.tree is not None:
            for name, _, kind in self.tree.visible():
                yield name, self.top, kind

    def lookup(self, name: str) -> Found | None:
        """The top level's part, or None if the view has no such name."""
        found = self.tree.lookup(name) if self.tree is not None else None
        return None if found is None else Found(self.top, found.kind)

    def lookup_all(self, names: Set[str]) -> dict[str, Found]:
        """Several names at once, those that the view has."""
        found = self.tree.lookup_all(names) if self.tree is not None else {}
        return {name: Found(self.top, place.kind) for name, place in found.items() if place.kind != "w"}

    def child(self, name: str) -> MergedDirectory:
        """The directory ``name``, also one that is gone: then ``tree`` is None. Raises as ``MergedDirectory.child``."""
        found = self.tree.lookup(name) if self.tree is not None else None
        if self.tree is not None and found is not None and found.kind == "d":
            return SnapshotDirectory(self.view, self.tree.child(name), self, name)
        gone = SnapshotDirectory(self.view, None, self, name)
        if found is not None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", gone.path)
        if not gone.covered:
            raise FileNotFoundError(errno.ENOENT, "no such entry", gone.path)
        return gone

    def open(self, name: str) -> BinaryIO:
        """The bytes of the regular file ``name``. Raises as ``MergedDirectory.open``."""
        if self.tree is None:
            raise FileNotFoundError(errno.ENOENT, "no such entry", self.path_of(name))
        return self.tree.open(name)

    def data_of(self, part: Part, name: str) -> tuple[Part, str]:
        """Every level has its data itself."""
        return part, name

    # ------------------------------------------------------------------ whose work it is
    @property
    def copies(self) -> Sequence[Part]:
        """Of ``parts`` the two topmost whose level changed the directory itself, not only what is in it."""
        found: list[Part] = []
        for part in self.parts:
            if part.touched_itself:
                found.append(part)
                if len(found) == 2:
                    break
        return found

    def attributed(self) -> Iterator[tuple[str, Part, MarkedKind]]:
        """Every visible name, once, with the part of the level that made the entry what it is."""
        seen: set[str] = set()
        for part in self.parts:
            for name, kind in self.view.touched_of(part).items():
                if name not in seen:
                    seen.add(name)
                    if kind != "w":
                        yield name, part, kind

    def origin(self, name: str) -> Found | None:
        """The part of the level that made the entry what it is, or None if the view has no such name."""
        for part in self.parts:
            kind = part.touches(name)
            if kind is not None:
                return None if kind == "w" else Found(part, kind)
        return None

    def server(self, part: Part) -> Part:
        """The top level's part: the view serves everything from there."""
        return self.top
