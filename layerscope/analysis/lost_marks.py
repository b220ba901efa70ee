"""Marks that a layer's own record names but its directory doesn't show.

A layer's tar-split record keeps the name of every entry of its tar, whiteouts (``.wh.NAME``) and opaque marks
(``.wh..wh..opq``) included. Without privilege ``trusted.*`` attributes are invisible, and a copy made without devices
or attributes has lost them: then the directory shows files that a mount would hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerscope.formats.tar.split import FileEntry, Segment
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, Dialect
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.part import Part


def lost_marks(
    entries: Iterable[Segment | FileEntry], top: LayerDirectory, dialect: Dialect
) -> Iterator[tuple[str, str]]:
    """Path in the layer and what is lost there (``whiteout`` or ``opaque mark``), in the order of the tar."""
    for entry in entries:
        if isinstance(entry, Segment):
            continue
        folder, _, name = entry.name.rstrip("/").removeprefix("./").strip("/").rpartition("/")
        if not name.startswith(NAME_PREFIX):
            continue
        part = _enter(top, dialect, folder)
        if name == NAME_OPAQUE:
            if folder and (part is None or not _shows_opaque(part)):
                yield folder, "opaque mark"
        elif not name.startswith(NAME_PREFIX * 2):
            removed = name.removeprefix(NAME_PREFIX)
            if part is None or not _shows_whiteout(part, removed):
                yield f"{folder}/{removed}" if folder else removed, "whiteout"


def _enter(top: LayerDirectory, dialect: Dialect, folder: str) -> Part | None:
    part = Part(1, top, "", dialect, bottom=False)
    for name in folder.split("/") if folder else ():
        if name in ("", ".", "..") or part.kind(name) != "d":
            return None
        part = part.enter(name)
    return part


def _shows_opaque(part: Part) -> bool:
    try:
        return part.is_opaque
    except OSError:
        return False


def _shows_whiteout(part: Part, name: str) -> bool:
    """A name that the same layer makes anew is no lost whiteout: the tar had both."""
    try:
        return part.kind(name) is not None
    except OSError:
        return False
