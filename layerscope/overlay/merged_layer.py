"""A merged directory as one directory of a layer: for those who want a tree's files, and not how it is put together."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import BinaryIO, cast

from layerscope.model.tree import Kind, LayerDirectory
from layerscope.overlay.merged import Found, MergedDirectory


def layer_of(directory: MergedDirectory) -> LayerDirectory:
    """The directory's own files if it is a single one without marks, else what its parts show together."""
    if len(directory.parts) == 1 and not directory.parts[0].dialect.prefix and not directory.parts[0].dialect.names:
        return directory.parts[0].directory
    return MergedLayer(directory)


class MergedLayer:
    """What a merged directory shows; satisfies :class:`layerscope.model.tree.LayerDirectory`."""

    __slots__ = ("_merged",)

    def __init__(self, merged: MergedDirectory) -> None:
        self._merged = merged

    def __repr__(self) -> str:
        return f"MergedLayer({self._merged.path!r})"

    def _found(self, name: str) -> Found:
        found = self._merged.lookup(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such entry", self._merged.path_of(name))
        return found

    def scan(self) -> list[tuple[str, Kind]]:
        """Name and kind of each entry."""
        return [(name, cast("Kind", kind)) for name, _, kind in self._merged.visible()]

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """``lstat`` of several entries, in order; None for one that is not there."""
        wanted = list(names)
        found = self._merged.lookup_all(set(wanted))
        stats: dict[str, os.stat_result | None] = {}
        for part in self._merged.parts:
            here = [name for name, place in found.items() if place.part is part and place.kind != "w"]
            stats.update(zip(here, part.directory.stats(here), strict=True))
        return [stats.get(name) for name in wanted]

    def stat(self, name: str) -> os.stat_result:
        """``lstat`` of one entry."""
        return self._found(name).part.directory.stat(name)

    def stat_self(self) -> os.stat_result:
        """``fstat`` of the directory, as its topmost part has it."""
        return self._merged.stat()

    def enter(self, name: str) -> LayerDirectory:
        """The directory ``name``."""
        return MergedLayer(self._merged.child(name))

    def open(self, name: str) -> BinaryIO:
        """The bytes of the regular file ``name``."""
        return self._merged.open(name)

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``."""
        return self._found(name).part.directory.readlink(name)

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All extended attributes of an entry, the overlay's own left out."""
        part = self._found(name).part if name else self._merged.parts[0]
        return {key: value for key, value in part.directory.xattrs(name).items() if not part.dialect.is_own(key)}

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of all extended attributes of an entry, the overlay's own left out."""
        part = self._found(name).part if name else self._merged.parts[0]
        return frozenset(key for key in part.directory.xattr_names(name) if not part.dialect.is_own(key))

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One extended attribute, or None."""
        part = self._found(name).part if name else self._merged.parts[0]
        return None if part.dialect.is_own(key) else part.directory.xattr(key, name)
