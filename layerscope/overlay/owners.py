"""Owners and modes of a layer that was made without privilege: shown as they are meant, not as they lie on disk.

What is meant is kept beside the files (:mod:`layerscope.formats.override_stat`): in an attribute of files and
directories, in a side record beside the layer's directory for everything else. In a lab, what has neither and belongs
to the lab's user is root's, as in a user namespace where root is that user.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from msgspec import Struct, field

from layerscope.errors import CorruptError
from layerscope.formats.override_stat import (
    OVERRIDE,
    OVERRIDE_STAT,
    OVERRIDE_XATTR,
    SIDE_RECORD,
    SIDE_RECORD_LIMIT,
    OverrideStat,
    SideEntry,
    parse_override,
    parse_side_record,
)
from layerscope.hostfs import Directory
from layerscope.model.tree import Kind, LayerDirectory

KEPT_XATTRS = ("security.capability",)
"""The attributes that are kept beside a file that can't carry them."""


class Owners(Struct, frozen=True):
    """What is kept beside one layer, and the ids of the lab's user, which mean root; None: all ids mean themselves.

    ``attribute`` is what owner and mode are kept in.
    """

    user: int | None = None
    group: int | None = None
    side: Mapping[str, SideEntry] = field(default_factory=dict)
    attribute: str = OVERRIDE_STAT

    def shown(self, stat: os.stat_result, kept: OverrideStat | None) -> os.stat_result:
        """``stat`` as it is meant; ``kept`` is what stands beside the entry."""
        reduced: Any = stat.__reduce__()
        values, extra = list(reduced[1][0]), dict(reduced[1][1])
        values[4] = 0 if stat.st_uid == self.user else stat.st_uid
        values[5] = 0 if stat.st_gid == self.group else stat.st_gid
        if kept is not None:
            kind = modes.S_IFMT(stat.st_mode)
            if kept.type_bits and modes.S_ISREG(stat.st_mode) and not stat.st_size:
                kind = kept.type_bits
                if kind in (modes.S_IFCHR, modes.S_IFBLK):
                    extra["st_rdev"] = os.makedev(kept.major, kept.minor)
            values[0], values[4], values[5] = kind | kept.permissions, kept.uid, kept.gid
        return os.stat_result(tuple(values), extra)


def read_owners(folder: Directory, layer: str, owner: os.stat_result | None = None) -> Owners:
    """What is kept beside the layer whose directory is ``layer`` in ``folder``.

    Args:
        folder: the directory that holds the layer's.
        layer: the name of the layer's directory.
        owner: has the ids of the lab's user, which mean root; None outside a lab.

    Raises:
        CorruptError: the side record is damaged.
    """
    try:
        side = parse_side_record(folder.read(layer + SIDE_RECORD, SIDE_RECORD_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        side = {}
    return Owners(owner.st_uid if owner else None, owner.st_gid if owner else None, side)


def kept_stat(
    directory: LayerDirectory, name: str, stat: os.stat_result, path: str, owners: Owners
) -> OverrideStat | None:
    """What stands beside an entry; None if nothing does, or what does is damaged.

    Args:
        directory: the directory that holds it, as it lies on disk.
        name: its name, "" for the directory itself.
        stat: its own ``lstat``.
        path: its path in the layer.
        owners: what is kept beside the layer.
    """
    if modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode):
        try:
            value = directory.xattr(owners.attribute, name)
        except OSError:
            value = None
        if value is not None:
            try:
                return parse_override(value)
            except CorruptError:
                return None
    entry = owners.side.get(path)
    return entry.stat if entry is not None else None


class OwnedDirectory:
    """A directory of a layer with owners and modes as they are meant; satisfies ``LayerDirectory``."""

    def __init__(self, inner: LayerDirectory, owners: Owners, path: str = "") -> None:
        self._inner = inner
        self._owners = owners
        self._path = path

    def _path_of(self, name: str) -> str:
        return f"{self._path}/{name}" if self._path else name

    def scan(self) -> Iterable[tuple[str, Kind]]:
        """As it lies on disk: what stands for a device is a file."""
        return self._inner.scan()

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """``lstat`` as meant."""
        wanted = list(names)
        found = self._inner.stats(wanted)
        return [None if stat is None else self._shown(name, stat) for name, stat in zip(wanted, found, strict=True)]

    def stat(self, name: str) -> os.stat_result:
        """``lstat`` as meant."""
        return self._shown(name, self._inner.stat(name))

    def stat_self(self) -> os.stat_result:
        """``fstat`` as meant."""
        stat = self._inner.stat_self()
        return self._owners.shown(stat, kept_stat(self._inner, "", stat, self._path, self._owners))

    def _shown(self, name: str, stat: os.stat_result) -> os.stat_result:
        return self._owners.shown(stat, kept_stat(self._inner, name, stat, self._path_of(name), self._owners))

    def enter(self, name: str) -> OwnedDirectory:
        """The directory ``name``."""
        return OwnedDirectory(self._inner.enter(name), self._owners, self._path_of(name))

    def open(self, name: str) -> BinaryIO:
        """The bytes of a regular file."""
        return self._inner.open(name)

    def readlink(self, name: str) -> str:
        """The target of a symlink."""
        return self._inner.readlink(name)

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All attributes as meant: those of the lab's keeping are left out."""
        found = self._inner.xattrs(name)
        shown = {key: value for key, value in found.items() if not key.startswith(OVERRIDE)}
        for key in KEPT_XATTRS:
            value = self.xattr(key, name)
            if value is not None:
                shown[key] = value
        return shown

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of :meth:`xattrs`."""
        return frozenset(self.xattrs(name))

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One attribute as meant."""
        value = self._inner.xattr(key, name)
        if value is None and key in KEPT_XATTRS:
            value = self._inner.xattr(OVERRIDE_XATTR + key, name)
            entry = self._owners.side.get(self._path_of(name) if name else self._path)
            if value is None and entry is not None:
                value = entry.xattrs.get(key)
        return value
