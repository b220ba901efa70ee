"""A search for names: in one stack, or in every layer of the root, those of no image and no container included."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Iterator

from layerscope.analysis.find import Hit, find_entries
from layerscope.errors import UsageError
from layerscope.formats.escape import escape
from layerscope.model.found import FoundEntry, Wanted
from layerscope.model.problem import Problem
from layerscope.model.subject import Subject
from layerscope.services.faults import told
from layerscope.services.session import Session
from layerscope.services.stacks import all_stacks, stack_of

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


class Search:
    """One search over a root; :attr:`problems` gathers what could not be read while :meth:`hits` is used."""

    def __init__(self, session: Session, subject: Subject | None, wanted: Wanted, xattrs: bool = False) -> None:
        """``subject``: the one stack to look through, up to its cut; None: all layers."""
        self._session = session
        self._wanted = wanted
        self._xattrs = xattrs
        self._stacks = [stack_of(session, subject)] if subject is not None else list(all_stacks(session))

    @property
    def problems(self) -> list[Problem]:
        """Directories that could not be read, and layers that are not there."""
        return list(dict.fromkeys(problem for stack in self._stacks for problem in stack.view.problems))

    def hits(self) -> Iterator[FoundEntry]:
        """What fits, by the bytes of the paths, then higher levels first.

        Raises:
            LayerscopeError: the root can no longer be read.
        """
        views = [stack.view for stack in self._stacks]
        with told("cannot look through the layers"):
            levels = [stack.levels for stack in self._stacks]
            for hit in find_entries(views, self._wanted, self._xattrs, levels):
                yield self._joined(hit)

    def _joined(self, hit: Hit) -> FoundEntry:
        entry = hit.entry
        stacks = [self._stacks[number] for number in hit.stacks]
        named = next((stack for stack in stacks if stack.ref), stacks[0])
        ref = f"{named.ref}@{entry.level}:/{entry.path}" if named.ref else ""
        return FoundEntry(entry, ref, tuple(stack.shown for stack in stacks), hit.gone)
