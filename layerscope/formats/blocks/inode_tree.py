"""The directories of a file system that is read by inodes, as the files of a layer are reached.

A hostile file system can name a directory from two places, or below itself, so that a walk never ends. A directory is
therefore entered only from the one that its own ``..`` entry names, and under one name.
"""

from __future__ import annotations

import errno
import io
import os
import stat as modes
from collections.abc import Iterable
from typing import BinaryIO, Generic, Protocol, TypeVar, cast

from msgspec import Struct, field

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice, DeviceStream
from layerscope.model.digest import is_file_name
from layerscope.model.tree import Kind

_KIND_OF_MODE: dict[int, Kind] = {modes.S_IFDIR: "d", modes.S_IFREG: "f", modes.S_IFLNK: "l"}
_READ_BYTES = 1 << 17


class Listing(Struct):
    """What a directory holds: its parent's inode as it says, and name to (inode, kind if it is told).

    ``faults`` are sentences about what could not be taken in. A name that occurs twice counts once, and so does a
    directory that is named twice.
    """

    parent: int = 0
    entries: dict[str, tuple[int, Kind | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _directories: set[int] = field(default_factory=set)

    def add(self, raw: bytes, inode: int, kind: Kind | None) -> None:
        """Take in one entry, whose name is ``raw``."""
        if raw == b"..":
            self.parent = inode
        elif raw != b".":
            name = os.fsdecode(raw)
            if not is_file_name(name):
                self.faults.append(f"an entry whose name can't be one: {raw[:40]!r}")
            elif name in self.entries:
                self.faults.append(f"two entries of one name: {raw[:40]!r}")
            elif not self.learn(name, inode, kind):
                self.faults.append(f"a second name for a directory: {raw[:40]!r}")

    def learn(self, name: str, inode: int, kind: Kind | None) -> bool:
        """Enter a name, or the kind of one that didn't tell it; False if it is a second name for a directory."""
        if kind == "d":
            if inode in self._directories:
                return False
            self._directories.add(inode)
        self.entries[name] = (inode, kind)
        return True


class Node(Protocol):
    """An inode in use."""

    @property
    def number(self) -> int:
        """Which one it is."""

    @property
    def mode(self) -> int:
        """Type and rights."""


_N = TypeVar("_N", bound=Node)


class InodeFileSystem(Protocol[_N]):
    """A file system as directories are made from it. Every method raises CorruptError for what is damaged, OSError."""

    root: int

    def inode(self, number: int) -> _N:
        """The inode of a number."""

    def stat(self, inode: _N, device: int) -> os.stat_result:
        """``lstat`` of it, where the file system's own device number is ``device``."""

    def listing(self, inode: _N) -> Listing:
        """What a directory holds."""

    def contents(self, inode: _N) -> BlockDevice:
        """The bytes of a regular file."""

    def link_target(self, inode: _N) -> bytes:
        """Where a symlink leads."""

    def attributes(self, inode: _N) -> dict[str, bytes]:
        """All extended attributes."""

    def tell(self, fault: str) -> None:
        """Note something damaged."""


class InodeDirectory(Generic[_N]):
    """One directory; satisfies :class:`layerscope.model.tree.LayerDirectory`. Read when it is first used.

    What is damaged is an OSError, EIO; ``stats`` gives None for it and the file system's ``faults`` tell.
    """

    __slots__ = ("_device", "_file_system", "_inode", "_listing", "_name", "_parent")

    def __init__(
        self, file_system: InodeFileSystem[_N], device: int, parent: InodeDirectory[_N] | None = None, name: str = ""
    ) -> None:
        """The top of ``file_system`` (no ``parent``), or a directory in another; ``device`` is its ``st_dev``."""
        self._file_system = file_system
        self._device = device
        self._parent = parent
        self._name = name
        self._inode: _N | None = None
        self._listing: Listing | None = None

    def __repr__(self) -> str:
        return f"InodeDirectory({self._name!r})"

    # ------------------------------------------------------------------ finding it
    def _resolved(self) -> tuple[_N, Listing]:
        """The inode and the entries of this directory; those above it are found first, without recursion."""
        if self._inode is None or self._listing is None:
            chain = [self]
            while (above := chain[-1]._parent) is not None and above._listing is None:
                chain.append(above)
            for directory in reversed(chain):
                directory._resolve()
        assert self._inode is not None
        assert self._listing is not None
        return self._inode, self._listing

    def _resolve(self) -> None:
        try:
            if self._parent is None:
                inode = self._file_system.inode(self._file_system.root)
            else:
                inode = self._parent._entry(self._name)
            if not modes.S_ISDIR(inode.mode):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", self._name)
            listing = self._file_system.listing(inode)
        except CorruptError as error:
            raise OSError(errno.EIO, str(error), self._name) from None
        if self._parent is not None:
            self._check_parent(self._parent, inode, listing)
        self._inode, self._listing = inode, listing

    def _check_parent(self, parent: InodeDirectory[_N], inode: _N, listing: Listing) -> None:
        """Refuse a directory that is reached from another one than its own parent; the top has none."""
        assert parent._inode is not None
        above, told = parent._inode.number, listing.parent
        if told == above and inode.number != self._file_system.root:
            return
        fault = f"directory of inode {inode.number}: its parent is inode {told}, not {above}"
        if not told and listing.faults:
            fault = f"directory of inode {inode.number}: {listing.faults[0]}"
        elif told == above:
            fault = f"{self._name!r} names the top directory"
        self._file_system.tell(fault)
        raise OSError(errno.EIO, fault, self._name)

    def _entry(self, name: str) -> _N:
        """The inode of the entry ``name``. Raises OSError, CorruptError."""
        if not is_file_name(name):
            raise OSError(errno.EINVAL, "not a file name", name)
        listing = self._resolved()[1]
        found = listing.entries.get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such entry", name)
        number, told = found
        inode = self._file_system.inode(number)
        kind = _kind(inode)
        if told is not None and told != kind:
            raise CorruptError(f"inode {number} is not of the kind that its directory entry {name!r} tells")
        if told is None and not listing.learn(name, number, kind):
            raise CorruptError(f"{name!r} is a second name for the directory of inode {number}")
        return inode

    def _inode_of(self, name: str) -> _N:
        try:
            return self._entry(name)
        except CorruptError as error:
            self._file_system.tell(str(error))
            raise OSError(errno.EIO, str(error), name) from None

    # ------------------------------------------------------------------ the directory
    def scan(self) -> list[tuple[str, Kind]]:
        """Name and kind of each entry, in the order of the disk; one whose kind can't be told is left out."""
        found: list[tuple[str, Kind]] = []
        for name, (_number, kind) in list(self._resolved()[1].entries.items()):
            if kind is None:
                try:
                    kind = _kind(self._inode_of(name))
                except OSError:
                    continue
            found.append((name, kind))
        return found

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """``lstat`` of several entries, in order; None for one that isn't there, or whose inode is damaged."""
        self._resolved()
        found: list[os.stat_result | None] = []
        for name in names:
            try:
                found.append(self._stat(self._inode_of(name)))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EIO):
                    raise
                found.append(None)
        return found

    def stat(self, name: str) -> os.stat_result:
        """``lstat`` of one entry."""
        return self._stat(self._inode_of(name))

    def stat_self(self) -> os.stat_result:
        """``fstat`` of this directory."""
        return self._stat(self._resolved()[0])

    def _stat(self, inode: _N) -> os.stat_result:
        return self._file_system.stat(inode, self._device)

    def enter(self, name: str) -> InodeDirectory[_N]:
        """The directory ``name``; nothing is read before it is used."""
        if not is_file_name(name):
            raise OSError(errno.EINVAL, "not a file name", name)
        return InodeDirectory(self._file_system, self._device, self, name)

    # ------------------------------------------------------------------ one entry
    def open(self, name: str) -> BinaryIO:
        """The bytes of the regular file ``name``, read as they are asked for; EISDIR, EINVAL for what isn't one."""
        inode = self._inode_of(name)
        if modes.S_ISDIR(inode.mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", name)
        if not modes.S_ISREG(inode.mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        try:
            stream = DeviceStream(self._file_system.contents(inode))
        except CorruptError as error:
            raise OSError(errno.EIO, str(error), name) from None
        return cast(BinaryIO, io.BufferedReader(stream, _READ_BYTES))

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``; EINVAL for what isn't one."""
        inode = self._inode_of(name)
        if not modes.S_ISLNK(inode.mode):
            raise OSError(errno.EINVAL, "not a symlink", name)
        try:
            target = self._file_system.link_target(inode)
        except CorruptError as error:
            raise OSError(errno.EIO, str(error), name) from None
        if not target or b"\0" in target:
            raise OSError(errno.EIO, "a symlink's target that can't be one", name)
        return os.fsdecode(target)

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All extended attributes of an entry ("" = this directory), as root sees them."""
        try:
            return self._file_system.attributes(self._inode_of(name) if name else self._resolved()[0])
        except CorruptError as error:
            raise OSError(errno.EIO, str(error), name) from None

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of all extended attributes of an entry ("" = this directory)."""
        return frozenset(self.xattrs(name))

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One extended attribute, or None."""
        return self.xattrs(name).get(key)


def _kind(inode: Node) -> Kind:
    return _KIND_OF_MODE.get(modes.S_IFMT(inode.mode), "o")
