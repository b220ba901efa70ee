"""The bytes of one file: as the merged view serves them, or as a single level holds them."""

from __future__ import annotations

import errno
import io
import os
from typing import BinaryIO

from layerscope.errors import UsageError
from layerscope.overlay import MergedView


def open_copy(view: MergedView, path: str, level: int | None = None) -> BinaryIO:
    """The bytes at ``path``; with ``level`` those of the copy that this level holds, seen or not.

    Links resolve inside the view. A copy is looked for at the path that the view's links lead to.

    Raises:
        UsageError: the view has no such level.
        OSError: as ``MergedView.place`` and ``Directory.open``.
    """
    if level is None:
        return view.open(path)
    part = next((part for part in view.root_parts if part.level == level), None)
    if part is None:
        raise UsageError(f"there is no level {level} here; the levels are {view.base} to {len(view.levels)}")
    try:
        names = view.place(path, follow=True, hidden=True).path.split("/")
    except (FileNotFoundError, NotADirectoryError):
        names = [name for name in path.split("/") if name not in ("", ".")]
    for name in names[:-1]:
        if part.holds(name) != "d":
            raise UsageError(f"level {level} holds no copy of {path}")
        part = part.enter(name)
    kind = part.holds(names[-1]) if names and names[-1] else None
    if kind is None or kind == "w":
        held = "deletes it" if kind == "w" else "holds no copy of it"
        raise UsageError(f"{path}: level {level} {held}")
    if kind == "d":
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    if not part.bottom and part.directory.xattr(part.dialect.metacopy_key, names[-1]) is not None:
        raise UsageError(f"{path}: level {level} holds only its metadata; its bytes are in a level below")
    return part.directory.open(names[-1])


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file, which may lie inside of another and so have no descriptor; it stays where it is."""
    try:
        return os.fstat(file.fileno()).st_size
    except io.UnsupportedOperation:
        here = file.tell()
        size = file.seek(0, io.SEEK_END)
        file.seek(here)
        return size
