"""Every copy of every path that the levels of one stack, or of many, store; with what hides each.

Stacks that share layers are walked side by side: a directory of a layer is listed once, however many stacks stand on
it, and where several stacks hold the same directories they are looked at as one (a *strand*). Memory: one directory of
every level at a time, and those above it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from layerscope.model.problem import Problem, Severity
from layerscope.overlay.part import MarkedKind, Part
from layerscope.overlay.view import MergedView

_LOOKED_BACK = 8


class Hides(Enum):
    """How a level hides what lower ones hold under a name."""

    WHITEOUT = "whiteout"
    OPAQUE = "opaque"
    REPLACED = "replaced"


class Hider(NamedTuple):
    """What hides a copy: the nearest mark or entry above it, its level, and the path at which it stands."""

    how: Hides
    level: int
    path: str


class Held(NamedTuple):
    """One level's directory in a strand.

    ``barrier`` stands between it and the next one above (None: the two are merged, or nothing is above). ``moved``: it
    is reached through a redirect, so the path by which it is known in the view isn't its own.
    """

    part: Part
    barrier: Hider | None = None
    moved: bool = False


class Strand(NamedTuple):
    """The directories, top first, that some stacks (by their numbers) hold at one path; ``view`` is one of theirs."""

    view: MergedView
    held: tuple[Held, ...]
    stacks: tuple[int, ...]


class Copy(NamedTuple):
    """What one level stores under a name; ``kind`` ``w`` is a whiteout. ``hider`` None: it is seen in the view.

    ``barrier`` is as that of :class:`Held`, for a directory.
    """

    name: str
    held: Held
    kind: MarkedKind
    hider: Hider | None
    barrier: Hider | None

    @property
    def part(self) -> Part:
        """The directory that has the name."""
        return self.held.part


def stats_in(view: MergedView, part: Part, names: Sequence[str]) -> list[os.stat_result | None]:
    """``lstat`` of names in one level's directory, in order; None for what vanished, or can't be seen (told)."""
    try:
        return part.directory.stats(names)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        what = f"level {part.level}: cannot look at what is in this directory: {os.strerror(error.errno or 0)}"
        problem = Problem(part.path, what, "its entries of that level are not counted", severity=Severity.WARNING)
        if problem not in view.problems[-_LOOKED_BACK:]:
            view.problems.append(problem)
    return [None] * len(names)


class Folder:
    """One path that is a directory in at least one level; its directories are listed when it is made."""

    __slots__ = ("_held_by", "_holders", "_listings", "path", "strands")

    def __init__(self, path: str, strands: Sequence[Strand]) -> None:
        self.path = path
        self.strands = tuple(strands)
        self._listings: dict[int, Mapping[str, MarkedKind]] = {}
        for strand in self.strands:
            for held in strand.held:
                if id(held.part) not in self._listings:
                    self._listings[id(held.part)] = strand.view.listing_of(held.part)
        self._holders: dict[str, list[int]] | None = None
        self._held_by: dict[int, list[int]] | None = None

    def path_of(self, name: str) -> str:
        """The path of an entry, without leading slash."""
        return f"{self.path}/{name}" if self.path else name

    def names(self) -> Collection[str]:
        """Every name that any level stores here, whiteouts included, once."""
        if len(self._listings) == 1:
            return next(iter(self._listings.values())).keys()
        return set().union(*self._listings.values())

    def names_of(self, strand: Strand) -> set[str]:
        """Every name that one of the strands stores here, whiteouts included."""
        return set().union(*(self._listings[id(held.part)] for held in strand.held))

    def folders(self) -> set[str]:
        """The names that are a directory in any level."""
        return {name for listing in self._listings.values() for name, kind in listing.items() if kind == "d"}

    def listings(self) -> Iterable[tuple[Part, Mapping[str, MarkedKind]]]:
        """Every directory that any strand has here, once, with what it holds."""
        parts = {id(held.part): held.part for strand in self.strands for held in strand.held}
        return ((part, self._listings[key]) for key, part in parts.items())

    def listing(self, part: Part) -> Mapping[str, MarkedKind]:
        """What one of the directories holds."""
        return self._listings[id(part)]

    def holders(self) -> Mapping[str, Sequence[int]]:
        """By each name the directories that hold it, numbered as :meth:`listings` gives them."""
        if self._holders is None:
            found: dict[str, list[int]] = {}
            for number, listing in enumerate(self._listings.values()):
                alone = [number]  # of many names: one list serves them all
                for name in listing:
                    others = found.setdefault(name, alone)
                    if others is alone:
                        continue
                    if len(others) > 1:
                        others.append(number)
                    else:
                        found[name] = [*others, number]
            self._holders = found
        return self._holders

    def strands_with(self, name: str) -> Sequence[Strand]:
        """The strands that store something under ``name``, in their order."""
        if len(self.strands) == 1:
            return self.strands
        if self._held_by is None:
            self._held_by = {}
            for number, strand in enumerate(self.strands):
                for part in {id(held.part) for held in strand.held}:
                    self._held_by.setdefault(part, []).append(number)
        parts = list(self._listings)
        found = [self._held_by[parts[holder]] for holder in self.holders().get(name, ())]
        numbers = found[0] if len(found) == 1 else sorted(set().union(*found))
        return [self.strands[number] for number in numbers]

    def copies(self, strand: Strand, name: str) -> list[Copy]:
        """The copies of ``name`` that a strand stores, top first, each with the nearest thing above that hides it."""
        found: list[Copy] = []
        last: Hider | None = None  # the lowest mark above, on the name itself or on a directory on the way to it
        barrier: Hider | None = None  # the same, as far as no directory of the name stands between
        directory_above: int | None = None
        for position, held in enumerate(strand.held):
            if held.barrier is not None:
                last = barrier = held.barrier
                directory_above = None
            kind = self._listings[id(held.part)].get(name)
            if kind is None:
                continue
            level = held.part.level
            if kind == "d":
                found.append(Copy(name, held, kind, last, barrier))
                barrier, directory_above = None, level
                if position + 1 < len(strand.held) and self._ends_here(held.part.enter(name)):
                    last = barrier = Hider(Hides.OPAQUE, level, self.path_of(name))
                continue
            if kind != "w" and directory_above is not None:
                last = Hider(Hides.REPLACED, directory_above, self.path_of(name))
            found.append(Copy(name, held, kind, last, None))
            how = Hides.WHITEOUT if kind == "w" else Hides.REPLACED
            last = barrier = Hider(how, level, self.path_of(name))
            directory_above = None
        return found

    @staticmethod
    def _ends_here(part: Part) -> bool:
        """Whether what lower levels have under a directory's own name isn't merged into it."""
        try:
            return part.is_opaque or part.redirect is not None
        except OSError:  # a redirect that the kernel refuses
            return True

    def child(self, name: str) -> Folder | None:
        """The directory ``name``, hidden or not; None if no level has one."""
        merged: dict[tuple[tuple[int, Hider | None, bool], ...], tuple[Strand, list[int]]] = {}
        entered: dict[int, Part] = {}

        def enter(part: Part) -> Part:
            if id(part) not in entered:
                entered[id(part)] = part.enter(name)
            return entered[id(part)]

        for strand in self.strands_with(name):
            held = [
                Held(enter(copy.part), copy.barrier, copy.held.moved)
                for copy in self.copies(strand, name)
                if copy.kind == "d"
            ]
            held = self._with_moved(strand, held)
            if not held:
                continue
            key = tuple((id(one.part), one.barrier, one.moved) for one in held)
            _, stacks = merged.setdefault(key, (Strand(strand.view, tuple(held), ()), []))
            stacks.extend(strand.stacks)
        if not merged:
            return None
        return Folder(self.path_of(name), [one._replace(stacks=tuple(stacks)) for one, stacks in merged.values()])

    def _with_moved(self, strand: Strand, held: list[Held]) -> list[Held]:
        """With the directories of lower levels that the redirect of a directory in view leads to."""
        for position, one in enumerate(held):
            if one.barrier is not None:
                break
            try:
                redirect = one.part.redirect
                if redirect is None:
                    continue
                moved = [Held(part, None, moved=True) for part in self._below(strand, one.part, redirect)]
            except OSError:  # refused by the kernel, too, or just gone
                break
            return [*held[: position + 1], *moved, *held[position + 1 :]]
        return held

    def _below(self, strand: Strand, part: Part, redirect: str) -> list[Part]:
        """The lower directories that are merged into ``part``, which has another name there."""
        if redirect.startswith("/"):
            return strand.view.absolute_parts(redirect, part.level)
        found: list[Part] = []
        for held in strand.held:
            kind = self._listings[id(held.part)].get(redirect)
            if held.part.level >= part.level or (kind is None and held.barrier is None):
                continue
            if kind != "d" or held.barrier is not None:
                break
            lower = held.part.enter(redirect)
            found.append(lower)
            if lower.bottom or lower.is_opaque:
                break
            try:
                further = lower.redirect
            except OSError:
                break
            if further is not None and further.startswith("/"):
                return found + strand.view.absolute_parts(further, lower.level)
            redirect = further or redirect
        return found


def folder_of(views: Sequence[MergedView]) -> Folder:
    """The top directory of several stacks, which are numbered as they come; shared layers become shared parts."""
    shared: dict[tuple[object, ...], Part] = {}
    merged: dict[tuple[int, ...], Strand] = {}
    for number, view in enumerate(views):
        keys = {level.number: level.key for level in view.levels}
        numbers = [level.number for level in view.levels]
        held = []
        for part in view.root_parts:
            below = tuple(keys[lower] for lower in numbers if lower < part.level)
            key = (part.level, keys.get(part.level) or id(part), below)
            held.append(Held(shared.setdefault(key, part)))
        strand_key = tuple(id(one.part) for one in held)
        same = merged.get(strand_key)
        if held:
            merged[strand_key] = Strand(view, tuple(held), (*(same.stacks if same else ()), number))
    return Folder("", tuple(merged.values()))


Select = Callable[[str, Collection[str]], Iterable[str]]
"""Which names of a directory (given by its path) are wanted."""


def walk_runs(top: Folder, select: Select) -> Iterator[tuple[Folder, list[str]]]:
    """The wanted names below ``top``, with their directory, in the order of the whole paths' bytes: ``a``, ``a-b``,
    ``a/b``. Every directory is entered, wanted or not; names between which none is come together.

    No recursion: depth costs no stack.
    """
    pending = [(top, _steps(top, select))]
    while pending:
        folder, steps = pending[-1]
        run: list[str] = []
        while steps and not steps[-1].endswith("/"):
            run.append(steps.pop())
        if run:
            yield folder, run
        if not steps:
            pending.pop()
            continue
        child = folder.child(steps.pop()[:-1])
        if child is not None:
            pending.append((child, _steps(child, select)))


def _steps(folder: Folder, select: Select) -> list[str]:
    """The wanted names of a directory, and those of all directories once more with a slash, last first."""
    names = [*select(folder.path, folder.names()), *(f"{name}/" for name in folder.folders())]
    names.sort(key=None if "".join(names).isascii() else os.fsencode, reverse=True)
    return names


def walk_folders(top: Folder) -> Iterator[Folder]:
    """Every directory, parents first, in the order of their names' bytes."""
    pending: list[tuple[Folder, list[bytes]]] = []
    folder: Folder | None = top
    while True:
        if folder is not None:
            yield folder
            pending.append((folder, sorted(map(os.fsencode, folder.folders()), reverse=True)))
        while pending and not pending[-1][1]:
            pending.pop()
        if not pending:
            return
        parent, names = pending[-1]
        folder = parent.child(os.fsdecode(names.pop()))
