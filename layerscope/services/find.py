"""A search for names: in one stack, or in every layer of the root, those of no image and no container included."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from layerscope.analysis.find.names import Hit, LayerIDs, Run, find_runs
from layerscope.analysis.find.shared_levels import SharedLevels, problems_of
from layerscope.analysis.hard_links import HardLinks
from layerscope.errors import UsageError
from layerscope.formats.escape import escape
from layerscope.model.entry import Entry
from layerscope.model.found import FoundEntry, FoundRun, Wanted
from layerscope.model.problem import Problem
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services.faults import told
from layerscope.services.session import Session
from layerscope.services.stacks import SearchedStack, all_stacks, stack_of

_ANY_DEPTH = "**"


Select = Callable[[str, Collection[str]], Iterable[str]]


def names_like(pattern: str, regex: bool = False, ignore_case: bool = False) -> Select:
    """What a pattern means: from a directory's path and the names in it, those that fit.

    A glob without a slash is held against the whole name; one with a slash against the whole path, where ``*`` and
    ``?`` match no slash and ``**`` anything. A regular expression may match anywhere in the path, which begins with a
    slash.

    Raises:
        UsageError: it is no regular expression.
    """
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    try:
        if regex:
            return _by_path(re.compile(pattern, flags).search)
        if "/" in pattern:
            anchored = pattern if pattern.startswith(("/", _ANY_DEPTH)) else "/" + pattern
            return _by_path(re.compile(_path_glob(anchored), flags).fullmatch)
        if not ignore_case and not set(pattern) & set("*?["):
            return lambda folder, names: (pattern,) if pattern in names else ()
        if pattern == "*":
            return lambda folder, names: names
        fits = re.compile(fnmatch.translate(pattern), flags).match
        return lambda folder, names: filter(fits, names)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{escape(pattern)!r} can't be used as a pattern: {error}") from None


def _by_path(fits: Callable[[str], re.Match[str] | None]) -> Select:
    def select(folder: str, names: Collection[str]) -> Iterable[str]:
        start = f"/{folder}/" if folder else "/"
        return (name for name in names if fits(start + name))

    return select


def _path_glob(pattern: str) -> str:
    """The regular expression of a glob over whole paths."""
    found = []
    for piece in re.split(r"(\*\*|\*|\?|\[!?\]?[^\]/]*\])", pattern):
        if piece == _ANY_DEPTH:
            found.append(".*")
        elif piece in ("*", "?"):
            found.append("[^/]" + piece.replace("?", ""))
        elif piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
            found.append(fnmatch.translate(piece).removeprefix("(?s:").rpartition(")")[0])
        else:
            found.append(re.escape(piece))
    return "".join(found)


class _Sought(NamedTuple):
    """What is kept of a stack: its names, its view, and the layers of its levels.

    ``shown`` is "" where only its top directory names it: that is most of a root with very many.
    """

    ref: str
    shown: str
    view: MergedView
    layers: tuple[LayerIDs, ...]

    @property
    def holder(self) -> str:
        """What it is called."""
        return self.shown or _of_directory(self.layers)


def _of_directory(layers: Sequence[LayerIDs]) -> str:
    return f"unclaimed {layers[-1][1]}" if layers else ""


class Search:
    """One search over a root; :attr:`problems` gathers what could not be read while :meth:`hits` is used."""

    def __init__(self, session: Session, subject: Subject | None, wanted: Wanted, details: bool = False) -> None:
        """``subject``: the one stack to look through, up to its cut; None: all layers.

        ``details``: also attributes, and the first names of files with several links.
        """
        self._session = session
        self._wanted = wanted
        self._details = details
        self._links: dict[int, HardLinks] = {}
        self._holders: dict[tuple[int, ...], tuple[int, tuple[str, ...]]] = {}
        self._stacks: list[_Sought] = []
        self._gather([stack_of(session, subject)] if subject is not None else all_stacks(session))

    def _gather(self, stacks: Iterable[SearchedStack]) -> None:
        """Keep of each stack what is needed: there may be as many as the root has directories."""
        shared, nobodys = SharedLevels(), MergedView(())
        known: dict[LayerIDs, LayerIDs] = {}
        for stack in stacks:
            view = shared.lean(stack.view, None if stack.ref else nobodys)
            layers: list[LayerIDs] = [(None, None)] * max(stack.levels, default=0)
            for number, level in stack.levels.items():
                ids = level.chain_id, level.cache_id
                layers[number - 1] = known.setdefault(ids, ids)
            shown = "" if stack.shown == _of_directory(layers) else stack.shown
            self._stacks.append(_Sought(stack.ref, shown, view, tuple(layers)))

    @property
    def problems(self) -> list[Problem]:
        """Directories that could not be read, and layers that are not there."""
        return problems_of([stack.view for stack in self._stacks])

    def hits(self) -> Iterator[FoundEntry]:
        """What fits, by the bytes of the paths, then higher levels first.

        Raises:
            LayerscopeError: the root can no longer be read.
        """
        for found in self.runs():
            if isinstance(found, FoundRun):
                yield from found.entries()
            else:
                yield found

    def runs(self) -> Iterator[FoundRun | FoundEntry]:
        """As :meth:`hits`, what lies together in one piece."""
        views = [stack.view for stack in self._stacks]
        with told("cannot look through the layers"):
            layers = [stack.layers for stack in self._stacks]
            for found in find_runs(views, self._wanted, self._details, layers):
                yield self._run(found) if isinstance(found, Run) else self._joined(found)

    def _run(self, run: Run) -> FoundRun:
        named, holders = self._known(run.stacks)
        stack, copies = self._stacks[named], run.copies
        links: dict[str, str] = {}
        if self._details and copies.hidden_by is None:
            for name, stat, _ in copies.rows:
                if stat.st_nlink > 1:
                    first = self._first_name(named, copies.level, stat)
                    if first is not None and first != copies.path(name):
                        links[name] = first
        return FoundRun(copies, links, f"{stack.ref}@{copies.level}:/" if stack.ref else "", holders, run.gone)

    def _joined(self, hit: Hit) -> FoundEntry:
        entry = hit.entry
        named, holders = self._known(hit.stacks)
        stack = self._stacks[named]
        if self._details:
            entry = self._linked(named, entry)
        ref = f"{stack.ref}@{entry.level}:/{entry.path}" if stack.ref else ""
        return FoundEntry(entry, ref, holders, hit.gone)

    def _known(self, stacks: tuple[int, ...]) -> tuple[int, tuple[str, ...]]:
        """That of some stacks which stands for them, the first that other verbs can be told of; and what all are."""
        known = self._holders.get(stacks)
        if known is None:
            named = next((number for number in stacks if self._stacks[number].ref), stacks[0])
            known = self._holders[stacks] = named, tuple(self._stacks[number].holder for number in stacks)
        return known

    def _linked(self, stack: int, entry: Entry) -> Entry:
        """An entry, with ``link_to`` if it is in view and not the first name of its inode there."""
        if entry.hidden or entry.stat.st_nlink < 2:
            return entry
        first = self._first_name(stack, entry.level, entry.stat)
        return entry if first is None or first == entry.path else replace(entry, link_to=first)

    def _first_name(self, stack: int, level: int, stat: os.stat_result) -> str | None:
        links = self._links.get(stack)
        if links is None:
            links = self._links[stack] = HardLinks(self._stacks[stack].view)
        return links.first_name(level, stat)
