"""A layer's tree without its files: names, types, owners, times and sizes, from the record that is kept of its tar.

For layers whose contents aren't there: datasets of a pool that isn't mounted, directories that were lost. It is what
the layer's tar held, so a layer of changes with marks that are names, whatever the storage driver makes of it.

Source of the record: :mod:`layerscope.formats.tarsplit`.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat as modes
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from layerscope.errors import CorruptError
from layerscope.formats.tarheader import TarHeader
from layerscope.formats.tarsplit import FileEntry, headers, read_entries
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX
from layerscope.model.stat import made_stat
from layerscope.model.tree import ContentsAbsent, Kind

_TYPES = {
    "0": modes.S_IFREG,
    "2": modes.S_IFLNK,
    "3": modes.S_IFCHR,
    "4": modes.S_IFBLK,
    "5": modes.S_IFDIR,
    "6": modes.S_IFIFO,
}
_KINDS: dict[int, Kind] = {modes.S_IFREG: "f", modes.S_IFDIR: "d", modes.S_IFLNK: "l"}
_MOST_ENTRIES = 2_000_000
_LONGEST_PATH = 4096
_LATEST = (1 << 63) - 1
_BOOKKEEPING = NAME_PREFIX * 2


class _Node:
    """An entry of the tar, or a directory that is only named on the way to one."""

    __slots__ = ("attributes", "children", "gid", "inode", "links", "mode", "mtime_ns", "rdev", "size", "target", "uid")

    def __init__(self, mode: int, inode: int) -> None:
        self.mode = mode
        self.inode = inode
        self.links = 2 if modes.S_ISDIR(mode) else 1
        self.uid = self.gid = self.size = self.mtime_ns = self.rdev = 0
        self.target = ""
        self.attributes: dict[str, bytes] | None = None
        self.children: dict[str, _Node] | None = {} if modes.S_ISDIR(mode) else None

    def stat(self, device: int) -> os.stat_result:
        """Its facts as ``lstat`` gives them."""
        return made_stat(
            self.mode,
            inode=self.inode,
            device=device,
            links=self.links,
            uid=self.uid,
            gid=self.gid,
            size=self.size,
            mtime_ns=self.mtime_ns,
            rdev=self.rdev,
        )


class TarSplitTree:
    """The tree of one layer; its record is read when a directory is first looked at.

    Args:
        open_record: opens the record, compressed as it is kept; None if it is gone.
        why: in one sentence why there are no contents, for those who try to read some.
        device: a number for ``st_dev``, another one for each tree of a view.

    ``tell`` is called, once, with what is wrong with the record if only a part of it can be read.
    """

    def __init__(self, open_record: Callable[[], BinaryIO | None], why: str, device: int) -> None:
        self.why = why
        self.device = device
        self.tell: Callable[[str], None] = lambda what: None
        self._open_record = open_record
        self._root: _Node | None = None
        self._checksums: dict[str, int] | None = None
        self._lock = threading.Lock()

    def top(self) -> TarSplitDirectory:
        """The top directory; nothing is read yet."""
        return TarSplitDirectory(self, None, "")

    def root(self) -> _Node:
        """The top node.

        Raises:
            OSError: EIO if nothing of the record can be read.
        """
        with self._lock:
            if self._root is None:
                self._root = self._read()
            return self._root

    def checksum(self, path: str) -> int | None:
        """CRC-64 of the file that the tar has at ``path``; None if it has none there, or none is kept."""
        with self._lock:
            if self._checksums is None:
                self._checksums = dict(self._read_checksums())
            return self._checksums.get(path)

    def _read_checksums(self) -> Iterator[tuple[str, int]]:
        record = self._open_record()
        if record is None:
            return
        with record:
            try:
                for entry in read_entries(record):
                    if isinstance(entry, FileEntry) and entry.crc64 is not None:
                        yield posixpath.normpath("/" + entry.name.lstrip("/"))[1:], entry.crc64
            except CorruptError:
                return

    def _read(self) -> _Node:
        record = self._open_record()
        if record is None:
            raise OSError(errno.EIO, "the record of the layer's tar is gone")
        root = _Node(modes.S_IFDIR | 0o755, 1)
        inode = 1
        with record:
            try:
                for header in headers(record):
                    inode += 1
                    if inode > _MOST_ENTRIES:
                        raise CorruptError(f"more than {_MOST_ENTRIES} entries")
                    if len(header.path) <= _LONGEST_PATH:
                        _add(root, header, inode)
            except CorruptError as error:
                if inode == 1:
                    raise OSError(errno.EIO, f"the record of the layer's tar: {error}") from None
                self.tell(str(error))
        return root


def _add(root: _Node, header: TarHeader, inode: int) -> None:
    *folders, name = header.path.split("/")
    if not folders and name.startswith(_BOOKKEEPING) and name != NAME_OPAQUE:
        return
    parent = root
    for folder in folders:
        parent = _enter(parent, folder)
    children = parent.children
    assert children is not None
    if header.type == "1":
        target = _find(root, header.linkname)
        if target is not None and target.children is None:
            children[name] = target
            target.links += 1
        return
    node = _node(header, inode)
    if node is None:
        return
    if not name:
        node.children, root.children = root.children, None
        for slot in _Node.__slots__:
            setattr(root, slot, getattr(node, slot))
        return
    before = children.get(name)
    if before is not None and before.children is not None and node.children is not None:
        node.children = before.children
    children[name] = node


def _enter(parent: _Node, name: str) -> _Node:
    """The directory ``name``; one that the tar doesn't have is made up."""
    children = parent.children
    assert children is not None
    child = children.get(name)
    if child is None or child.children is None:
        child = children[name] = _Node(modes.S_IFDIR | 0o755, 0)
    return child


def _node(header: TarHeader, inode: int) -> _Node | None:
    kind = _TYPES.get("0" if header.type in "7S" else header.type)
    if kind is None:
        return None
    node = _Node(kind | header.permissions, inode)
    node.uid, node.gid = header.uid, header.gid
    node.mtime_ns = header.mtime_ns if 0 <= header.mtime_ns <= _LATEST else 0  # as docker does when it unpacks
    node.attributes = header.xattrs or None
    if kind == modes.S_IFREG:
        node.size = header.size
    elif kind == modes.S_IFLNK:
        node.target = header.linkname
        node.size = len(os.fsencode(header.linkname))
    elif kind in (modes.S_IFCHR, modes.S_IFBLK):
        node.rdev = _device_number(header)
    return node


def _device_number(header: TarHeader) -> int:
    try:
        return os.makedev(header.devmajor, header.devminor)
    except (OverflowError, ValueError):
        return 0


def _find(root: _Node, path: str) -> _Node | None:
    """What lies at a tar's name for an entry of its own; no symlink is followed."""
    node: _Node | None = root
    for name in path.split("/"):
        if name in ("", "."):
            continue
        if node is None or node.children is None:
            return None
        node = node.children.get(name)
    return node


class TarSplitDirectory:
    """One directory of the tree; satisfies :class:`layerscope.model.tree.LayerDirectory`.

    ``open`` raises :class:`~layerscope.model.tree.ContentsAbsent`: there are no contents.
    """

    __slots__ = ("_name", "_parent", "_tree")

    def __init__(self, tree: TarSplitTree, parent: TarSplitDirectory | None, name: str) -> None:
        self._tree = tree
        self._parent = parent
        self._name = name

    def _names(self) -> list[str]:
        """The names on the way here from the top."""
        names: list[str] = []
        directory = self
        while directory._parent is not None:
            names.append(directory._name)
            directory = directory._parent
        return names[::-1]

    def _node(self) -> _Node:
        node = self._tree.root()
        for name in self._names():
            children = node.children
            if children is None:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", name)
            if name not in children:
                raise FileNotFoundError(errno.ENOENT, "no such entry", name)
            node = children[name]
        return node

    def _children(self) -> dict[str, _Node]:
        children = self._node().children
        if children is None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", self._name)
        return children

    def _entry(self, name: str) -> _Node:
        child = self._children().get(name) if name else self._node()
        if child is None:
            raise FileNotFoundError(errno.ENOENT, "no such entry", name)
        return child

    def scan(self) -> list[tuple[str, Kind]]:
        """Name and kind of each entry."""
        return [(name, _KINDS.get(modes.S_IFMT(child.mode), "o")) for name, child in self._children().items()]

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """Facts of several entries, in order; None for one that is not there."""
        children = self._node().children or {}
        return [children[name].stat(self._tree.device) if name in children else None for name in names]

    def stat(self, name: str) -> os.stat_result:
        """Facts of one entry."""
        return self._entry(name).stat(self._tree.device)

    def stat_self(self) -> os.stat_result:
        """Facts of the directory itself."""
        return self._node().stat(self._tree.device)

    def enter(self, name: str) -> TarSplitDirectory:
        """The directory ``name``."""
        return TarSplitDirectory(self._tree, self, name)

    def open(self, name: str) -> BinaryIO:
        """Raises ContentsAbsent for a regular file, else as ``Directory.open``."""
        mode = self._entry(name).mode
        if modes.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", name)
        if not modes.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        raise ContentsAbsent(self._tree.why, name)

    def content_key(self, name: str) -> tuple[int, int] | None:
        """Size and CRC-64 of the regular file ``name``, as recorded."""
        size = self._entry(name).size
        if not size:
            return 0, 0
        checksum = self._tree.checksum("/".join([*self._names(), name]))
        return None if checksum is None else (size, checksum)

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``."""
        node = self._entry(name)
        if not modes.S_ISLNK(node.mode):
            raise OSError(errno.EINVAL, "not a symlink", name)
        return node.target

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All extended attributes of an entry that the tar has."""
        return dict(self._entry(name).attributes or {})

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of those."""
        return frozenset(self._entry(name).attributes or ())

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One extended attribute, or None."""
        return (self._entry(name).attributes or {}).get(key)
