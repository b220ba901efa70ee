"""A layer's tree as the headers of its tar describe it: what the directories of such trees have in common.

It is what the tar holds, so a layer of changes with marks that are names, whatever a storage driver makes of it. Later
entries of a name replace earlier ones, but directories are joined; directories that are only named on the way to an
entry are made up. Of several headers of one file the last says whose it is, its mode and its time. No name leads out of
the layer.

Source: moby pkg/archive/diff.go ``UnpackLayer``, archive.go ``createTarFile``; seen with 20.10.24.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterable
from typing import BinaryIO, Protocol, Self

from layerscope.formats.tar.header import TarHeader
from layerscope.formats.tar.types import MODE_OF_TYPE
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX
from layerscope.model.stat import made_stat
from layerscope.model.tree import Kind

_KINDS: dict[int, Kind] = {modes.S_IFREG: "f", modes.S_IFDIR: "d", modes.S_IFLNK: "l"}
MOST_ENTRIES = 2_000_000
LONGEST_PATH = 4096
_LATEST = (1 << 63) - 1
_BOOKKEEPING = NAME_PREFIX * 2


class TarNode:
    """An entry of the tar, or a directory that is only named on the way to one.

    ``content`` tells where the bytes of a regular file are, for those who know them.
    """

    __slots__ = (
        "attributes",
        "children",
        "content",
        "gid",
        "inode",
        "links",
        "mode",
        "mtime_ns",
        "rdev",
        "size",
        "target",
        "uid",
    )

    def __init__(self, mode: int, inode: int) -> None:
        self.mode = mode
        self.inode = inode
        self.links = 2 if modes.S_ISDIR(mode) else 1
        self.uid = self.gid = self.size = self.mtime_ns = self.rdev = 0
        self.target = ""
        self.content: object = None
        self.attributes: dict[str, bytes] | None = None
        self.children: dict[str, TarNode] | None = {} if modes.S_ISDIR(mode) else None

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


def top_node() -> TarNode:
    """The top of a tree that has nothing in it yet."""
    return TarNode(modes.S_IFDIR | 0o755, 1)


def add(root: TarNode, header: TarHeader, inode: int) -> TarNode | None:
    """Put an entry into the tree; its new node, or (for a hard link) that of what it links to.

    None for what has no place in a tree: bookkeeping of aufs, types that no file system has, and hard links to what
    isn't there.
    """
    *folders, name = header.path.split("/")
    if not folders and name.startswith(_BOOKKEEPING) and name != NAME_OPAQUE:
        return None
    parent = root
    for folder in folders:
        parent = _enter(parent, folder)
    children = parent.children
    assert children is not None
    if header.type == "1":
        target = _find(root, header.linkname)
        if target is None or target.children is not None or not name:
            return None
        before = children.get(name)
        if before is not target:
            children[name] = target
            target.links += 1
        _take_over(target, header)
        return target
    node = _node(header, inode)
    if node is None:
        return None
    if not name:
        if node.children is None:
            return None
        node.children, root.children = root.children, None
        for slot in TarNode.__slots__:
            setattr(root, slot, getattr(node, slot))
        return root
    before = children.get(name)
    if before is not None and before.children is not None and node.children is not None:
        node.children = before.children
    children[name] = node
    return node


def _take_over(target: TarNode, header: TarHeader) -> None:
    """Set what the header of a further name sets on what it links to: all engines do so when they unpack it."""
    target.uid, target.gid = header.uid, header.gid
    if not modes.S_ISLNK(target.mode):
        target.mode = modes.S_IFMT(target.mode) | header.permissions
        target.mtime_ns = _settable(header.mtime_ns)
    if header.xattrs:
        target.attributes = {**(target.attributes or {}), **header.xattrs}


def _settable(mtime_ns: int) -> int:
    """The time that docker sets where a header says ``mtime_ns``."""
    return mtime_ns if 0 <= mtime_ns <= _LATEST else 0


def _enter(parent: TarNode, name: str) -> TarNode:
    """The directory ``name``; one that the tar doesn't have is made up."""
    children = parent.children
    assert children is not None
    child = children.get(name)
    if child is None or child.children is None:
        child = children[name] = TarNode(modes.S_IFDIR | 0o755, 0)
    return child


def _node(header: TarHeader, inode: int) -> TarNode | None:
    kind = MODE_OF_TYPE.get("0" if header.type in "7S" else header.type)
    if kind is None:
        return None
    node = TarNode(kind | header.permissions, inode)
    node.uid, node.gid = header.uid, header.gid
    node.mtime_ns = _settable(header.mtime_ns)
    node.attributes = header.xattrs or None
    if kind == modes.S_IFREG:
        node.size = header.size
    elif kind == modes.S_IFLNK:
        node.mode = kind | 0o777  # whatever the tar says: Linux has no other
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


def _find(root: TarNode, path: str) -> TarNode | None:
    """What lies at a tar's name for an entry of its own; no symlink is followed."""
    node: TarNode | None = root
    for name in path.split("/"):
        if name in ("", "."):
            continue
        if node is None or node.children is None:
            return None
        node = node.children.get(name)
    return node


class NodeTree(Protocol):
    """What a directory needs of its tree."""

    @property
    def device(self) -> int:
        """The number for ``st_dev``."""

    def root(self) -> TarNode:
        """The top node; OSError if nothing can be read."""

    def open_node(self, node: TarNode, name: str) -> BinaryIO:
        """The bytes of a regular file."""


class TarDirectory:
    """One directory of a tree; satisfies :class:`layerscope.model.tree.LayerDirectory`."""

    __slots__ = ("_name", "_parent", "_tree")

    def __init__(self, tree: NodeTree, parent: Self | None = None, name: str = "") -> None:
        self._tree = tree
        self._parent = parent
        self._name = name

    def names(self) -> list[str]:
        """The names on the way here from the top."""
        found: list[str] = []
        directory: TarDirectory = self
        while directory._parent is not None:
            found.append(directory._name)
            directory = directory._parent
        return found[::-1]

    def _node(self) -> TarNode:
        node = self._tree.root()
        for name in self.names():
            children = node.children
            if children is None:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", name)
            if name not in children:
                raise FileNotFoundError(errno.ENOENT, "no such entry", name)
            node = children[name]
        return node

    def _children(self) -> dict[str, TarNode]:
        children = self._node().children
        if children is None:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", self._name)
        return children

    def entry(self, name: str) -> TarNode:
        """The node of an entry ("" = the directory itself)."""
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
        return self.entry(name).stat(self._tree.device)

    def stat_self(self) -> os.stat_result:
        """Facts of the directory itself."""
        return self._node().stat(self._tree.device)

    def enter(self, name: str) -> Self:
        """The directory ``name``."""
        return type(self)(self._tree, self, name)

    def open(self, name: str) -> BinaryIO:
        """The bytes of the regular file ``name``. Raises as ``Directory.open``."""
        node = self.entry(name)
        mode = node.mode
        if modes.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", name)
        if not modes.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        return self._tree.open_node(node, name)

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``."""
        node = self.entry(name)
        if not modes.S_ISLNK(node.mode):
            raise OSError(errno.EINVAL, "not a symlink", name)
        return node.target

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All extended attributes of an entry that the tar has."""
        return dict(self.entry(name).attributes or {})

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of those."""
        return frozenset(self.entry(name).attributes or ())

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One extended attribute, or None."""
        return (self.entry(name).attributes or {}).get(key)
