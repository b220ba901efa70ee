"""What a tar of a view holds, in its order: depth first, names sorted by their bytes, a directory before its entries.

Most entries are short files. All that is needed of one, its bytes included, is had by one look, many at once.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from typing import NamedTuple

from layerscope.hostfs import Directory
from layerscope.hostfs.short_files import Look, look
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part

CAPABILITY = "security.capability"
_SHORT = 60_000
"""The longest file that is read when its directory is, in bytes."""
_AT_ONCE = 32
"""Entries of a directory that are looked at together: that bounds the bytes in memory."""


class ViewEntry(NamedTuple):
    """The entry ``name`` of a directory of the view, the part that serves it, and what was seen of it.

    ``whole`` is its path as bytes, below what the walk was told to put in front.
    """

    directory: MergedDirectory
    name: str
    whole: bytes
    part: Part
    look: Look

    @property
    def path(self) -> str:
        """Its path in the view, without leading slash."""
        return self.directory.path_of(self.name)

    @property
    def content(self) -> bytes | None:
        """All bytes that the view serves, where a look gave them; None: the file must be opened for them."""
        _, content, _, keys = self.look
        if not isinstance(content, bytes):
            return None
        dialect = self.part.dialect
        return None if keys and dialect.prefix and dialect.metacopy_key in keys else content


def entries_below(top: MergedDirectory, front: bytes, problems: list[Problem]) -> Iterator[ViewEntry]:
    """Everything below a directory; ``problems`` gets what can't be looked at. No recursion: depth costs no stack.

    ``front`` ends in a slash or is empty. A directory is read when the entry after it is asked for; what vanishes
    meanwhile is left out.
    """
    pending = [_entries(top, front, problems)]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        yield found
        if modes.S_ISDIR(found.look.stat.st_mode):
            try:
                pending.append(_entries(found.directory.child(found.name), found.whole + b"/", problems))
            except FileNotFoundError:
                continue
            except OSError as error:
                _tell(problems, found.path, error, "what is in it is left out")


def entry_at(directory: MergedDirectory, name: str) -> ViewEntry | None:
    """One entry; None if there is none.

    Raises:
        OSError: it can't be looked at.
    """
    found = directory.lookup(name)
    if found is None:
        return None
    return ViewEntry(directory, name, os.fsencode(name), found.part, Look(found.part.directory.stat(name)))


def _entries(directory: MergedDirectory, front: bytes, problems: list[Problem]) -> Iterator[ViewEntry]:
    """The visible entries of one directory."""
    listed = sorted((os.fsencode(name), name, part) for name, part, _ in directory.visible())
    for start in range(0, len(listed), _AT_ONCE):
        some = listed[start : start + _AT_ONCE]
        looks: dict[str, Look | OSError | None] = {}
        for part in {part for _, _, part in some}:
            looks.update(_looks(part.directory, [name for _, name, server in some if server is part]))
        for key, name, part in some:
            seen = looks[name]
            if isinstance(seen, OSError):
                _tell(problems, directory.path_of(name), seen, "it is left out")
            elif seen is not None and not part.is_ghost(name, seen.stat):
                yield ViewEntry(directory, name, front + key, part, seen)


def _looks(directory: LayerDirectory, names: list[str]) -> Iterator[tuple[str, Look | OSError | None]]:
    try:
        yield from zip(names, _look(directory, names), strict=True)
    except OSError:
        for name in names:  # which one it is
            try:
                yield name, _look(directory, [name])[0]
            except OSError as error:
                yield name, error


def _look(directory: LayerDirectory, names: list[str]) -> list[Look | None]:
    if isinstance(directory, Directory):
        return look(directory, names, _SHORT, CAPABILITY)
    return [None if stat is None else Look(stat) for stat in directory.stats(names)]


def _tell(problems: list[Problem], path: str, error: OSError, effect: str) -> None:
    what = f"cannot read: {os.strerror(error.errno or 0)}"
    problems.append(Problem(path, what, effect, severity=Severity.WARNING))
