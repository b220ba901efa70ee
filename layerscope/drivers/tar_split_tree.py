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
_MOST_ENTRIES = 4_000_000
_BOOKKEEPING = NAME_PREFIX * 2


class _Node:
    """An entry of the tar, or a directory that is only named on the way to one."""

    __slots__ = ("attributes", "children", "stat", "target")

    def __init__(self, stat: os.stat_result, target: str = "", attributes: dict[str, bytes] | None = None) -> None:
        self.stat = stat
        self.target = target
        self.attributes = attributes
        self.children: dict[str, _Node] | None = {} if modes.S_ISDIR(stat.st_mode) else None


class TarSplitTree:
    """The tree of one layer; its record is read when a directory is first looked at.

    Args:
        open_record: opens the record, compressed as it is kept; None if it is gone.
        why: in one sentence why there are no contents, for those who try to read some.
        device: a number for ``st_dev``, another one for each tree of a view.
    """

    def __init__(self, open_record: Callable[[], BinaryIO | None], why: str, device: int) -> None:
        self.why = why
        self._open_record = open_record
        self._device = device
        self._root: _Node | None = None
        self._checksums: dict[str, int] | None = None
        self._lock = threading.Lock()

    def top(self) -> TarSplitDirectory:
        """The top directory; nothing is read yet."""
        return TarSplitDirectory(self, None, "")

    def root(self) -> _Node:
        """The top node.

        Raises:
            OSError: EIO if the record is gone or damaged at its beginning; of one damaged later the good part is shown.
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
        root = self._directory(1)
        inode = 1
        with record:
            try:
                for header in headers(record):
                    inode += 1
                    if inode > _MOST_ENTRIES:
                        break
                    self._add(root, header, inode)
            except CorruptError as error:
                if inode == 1:
                    raise OSError(errno.EIO, f"the record of the layer's tar: {error}") from None
        return root

    def _directory(self, inode: int) -> _Node:
        return _Node(made_stat(modes.S_IFDIR | 0o755, inode=inode, device=self._device, links=2))

    def _add(self, root: _Node, header: TarHeader, inode: int) -> None:
        *folders, name = header.path.split("/")
        if not folders and name.startswith(_BOOKKEEPING) and name != NAME_OPAQUE:
            return
        parent = root
        for folder in folders:
            parent = self._enter(parent, folder)
        children = parent.children
        assert children is not None
        if header.type == "1":
            target = _find(root, header.linkname)
            if target is not None and target.children is None:
                children[name] = target
                target.stat = _with_one_link_more(target.stat)
            return
        node = self._node(header, inode)
        if node is None:
            return
        if not header.path:
            root.stat, root.attributes = node.stat, node.attributes
            return
        before = children.get(name)
        if before is not None and before.children is not None and node.children is not None:
            node.children = before.children
        children[name] = node

    def _enter(self, parent: _Node, name: str) -> _Node:
        children = parent.children
        assert children is not None
        child = children.get(name)
        if child is None or child.children is None:
            child = children[name] = self._directory(0)
        return child

    def _node(self, header: TarHeader, inode: int) -> _Node | None:
        kind = _TYPES.get("0" if header.type in "7S" else header.type)
        if kind is None:
            return None
        size = header.size if kind == modes.S_IFREG else 0
        target = header.linkname if kind == modes.S_IFLNK else ""
        if target:
            size = len(os.fsencode(target))
        is_device = kind in (modes.S_IFCHR, modes.S_IFBLK)
        stat = made_stat(
            kind | header.permissions,
            inode=inode,
            device=self._device,
            uid=header.uid,
            gid=header.gid,
            size=size,
            mtime_ns=header.mtime_ns,
            rdev=_device_number(header) if is_device else 0,
        )
        return _Node(stat, target, header.xattrs or None)


def _device_number(header: TarHeader) -> int:
    try:
        return os.makedev(header.devmajor, header.devminor)
    except (OverflowError, ValueError):
        return 0


def _with_one_link_more(stat: os.stat_result) -> os.stat_result:
    return made_stat(
        stat.st_mode,
        inode=stat.st_ino,
        device=stat.st_dev,
        links=stat.st_nlink + 1,
        uid=stat.st_uid,
        gid=stat.st_gid,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        rdev=stat.st_rdev,
    )


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
        return [(name, _KINDS.get(modes.S_IFMT(child.stat.st_mode), "o")) for name, child in self._children().items()]

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """Facts of several entries, in order; None for one that is not there."""
        children = self._node().children or {}
        return [children[name].stat if name in children else None for name in names]

    def stat(self, name: str) -> os.stat_result:
        """Facts of one entry."""
        return self._entry(name).stat

    def stat_self(self) -> os.stat_result:
        """Facts of the directory itself."""
        return self._node().stat

    def enter(self, name: str) -> TarSplitDirectory:
        """The directory ``name``."""
        return TarSplitDirectory(self._tree, self, name)

    def open(self, name: str) -> BinaryIO:
        """Raises ContentsAbsent for a regular file, else as ``Directory.open``."""
        mode = self._entry(name).stat.st_mode
        if modes.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", name)
        if not modes.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        raise ContentsAbsent(self._tree.why, name)

    def content_key(self, name: str) -> tuple[int, int] | None:
        """Size and CRC-64 of the regular file ``name``, as recorded."""
        stat = self._entry(name).stat
        if not stat.st_size:
            return 0, 0
        checksum = self._tree.checksum("/".join([*self._names(), name]))
        return None if checksum is None else (stat.st_size, checksum)

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``."""
        node = self._entry(name)
        if not modes.S_ISLNK(node.stat.st_mode):
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
