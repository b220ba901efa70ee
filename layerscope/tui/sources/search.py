"""Finding names in a view: what is searched for, what was found, and the walk that finds it."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from layerscope.overlay import MergedDirectory, MergedView
from layerscope.tui.sources.file_row import FileRow

MOST_HITS = 5_000
"""A search ends when it has found that many."""
_BATCH = 0.25
_WILDCARDS = frozenset("*?[")
_NOTHING: frozenset[str] = frozenset()


class SearchedFiles(Protocol):
    """What is searched: a view of which some directories were read."""

    @property
    def view(self) -> MergedView:
        """All levels up to the cut."""

    @property
    def number(self) -> int:
        """The cut."""

    @property
    def layer_only(self) -> bool:
        """Whether only the top level counts."""

    def listed(self) -> list[str]:
        """The directories that were read."""

    def rows(self, path: str) -> list[FileRow] | None:
        """What was read of one of them."""

    def read_missing(self, paths: Iterable[str]) -> None:
        """Read those that weren't, as far as they can be."""


class Matcher:
    """What a filter's text means: a part of a name, or a pattern of the shell if it has ``*``, ``?`` or ``[``; with a
    slash in it, of the whole path. Capitals count only if there are any in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.whole_path = "/" in text
        flags = 0 if text != text.lower() else re.IGNORECASE
        wanted = text.strip("/") if self.whole_path and _WILDCARDS & set(text) else text
        self._is_pattern = bool(_WILDCARDS & set(text))
        if self._is_pattern:
            self._search = re.compile(fnmatch.translate(wanted), flags).match
        else:
            self._search = re.compile(re.escape(wanted), flags).search

    def matches(self, folder: str, name: str) -> bool:
        """Whether the name in that directory is a hit."""
        if not self.whole_path:
            return self._search(name) is not None
        path = f"{folder}/{name}" if folder else name
        return self._search(path if self._is_pattern else "/" + path) is not None

    def span(self, name: str) -> tuple[int, int] | None:
        """Which part of a name is what was searched for."""
        if self._is_pattern or self.whole_path:
            return None
        found = self._search(name)
        return found.span() if found else None


class Hits:
    """What was found: paths, and per directory the names to show: hits, and directories on the way to hits."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.count = 0
        self._hits: dict[str, set[str]] = {}
        self._shown: dict[str, set[str]] = {}

    def add(self, folder: str, names: set[str]) -> list[str]:
        """Take hits in one directory; returns the directories that are to be unfolded because of them."""
        known = self._hits.setdefault(folder, set())
        self.count += len(names - known)
        known |= names
        self._shown.setdefault(folder, set()).update(names)
        way: list[str] = []
        while folder:
            way.append(folder)
            folder, _, name = folder.rpartition("/")
            self._shown.setdefault(folder, set()).add(name)
        return way

    def folders(self) -> list[str]:
        """Every directory with something to show."""
        return list(self._shown)

    def names_in(self, folder: str) -> frozenset[str] | set[str]:
        """The names to show in a directory."""
        return self._shown.get(folder, _NOTHING)

    def is_hit(self, path: str) -> bool:
        """Whether the path itself was found."""
        folder, _, name = path.rpartition("/")
        return name in self._hits.get(folder, _NOTHING)

    def covers(self, folder: str) -> bool:
        """Whether a directory was found, or one that it lies in: then all of it is shown."""
        while folder:
            if self.is_hit(folder):
                return True
            folder = folder.rpartition("/")[0]
        return False


def find_names(source: SearchedFiles, hits: Hits) -> Iterator[tuple[set[str], bool]]:
    """Fill ``hits``: from what was read already, then by a walk through everything. May run on a thread.

    Yields several times a second, when there is more to show, the directories to unfold for it (which are read
    by then) and whether that was all.
    """
    opened: set[str] = set()
    for folder in source.listed():
        names = {row.name for row in source.rows(folder) or () if hits.matcher.matches(folder, row.name)}
        if names:
            opened.update(hits.add(folder, names))
    told = time.monotonic()
    shown = hits.count
    if shown:
        source.read_missing(hits.folders())
        yield opened, False
    top = source.view.cut(source.number).root
    for folder, found in walk_names(top, source.number if source.layer_only else None):
        names = {name for name in found if hits.matcher.matches(folder, name)}
        if names:
            opened.update(hits.add(folder, names))
        if hits.count >= MOST_HITS:
            break
        if hits.count > shown and time.monotonic() - told > _BATCH:
            source.read_missing(hits.folders())
            yield opened, False
            shown, told = hits.count, time.monotonic()
    source.read_missing(hits.folders())
    yield opened, True


def walk_names(
    top: MergedDirectory, only_level: int | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, list[str]]]:
    """Every directory below and including ``top`` with the names in it, removed and hidden ones too, parents first.

    Names only: one scan of each directory of each level, no look at the entries. With ``only_level`` just that level.
    What can't be read is left out.
    """
    pending = [top]
    while pending and not cancelled():
        directory = pending.pop()
        parts = [*directory.parts, *(hidden.part for hidden in directory.covered)]
        if only_level is not None:
            parts = [part for part in parts[:1] if part.level == only_level]
        folders: dict[str, bool] = {}
        for part in parts:
            for name, kind in directory.view.listing_of(part).items():
                folders[name] = folders.get(name, False) or kind == "d"
        yield directory.path, list(folders)
        for name, is_folder in folders.items():
            if is_folder:
                try:
                    pending.append(directory.child(name))
                except OSError:
                    continue
