"""XFS file systems, read through the library dissect.xfs where it is installed.

The library is no dependency (its licence is the AGPL); the extra ``xfs`` names it. It finds inodes, directories and the
blocks of files. Read here is what it doesn't: device numbers, space that was reserved and never written, and extended
attributes, as far as they lie in the inode (big-endian):

| where | layout |
| --- | --- |
| attribute fork | u16 bytes, u8 entries, u8 unused, then entries |
| entry | u8 length of the name, u8 length of the value, u8 flags (2: trusted, 4: security, else user), name, value |
| ``SGI_ACL_FILE``, ``SGI_ACL_DEFAULT`` | u32 entries, then u32 tag, u32 id, u16 rights, u16 unused each |
| device number | u32: major << 18, minor |

Source: Linux fs/xfs/libxfs/xfs_format.h, xfs_da_format.h; seen with kernel 6.1.
"""

from __future__ import annotations

import io
import os
import stat as modes
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from msgspec import Struct

from layerscope.errors import CorruptError, LayerscopeError, UnsupportedError
from layerscope.formats.blocks.device import BlockDevice, DeviceStream
from layerscope.formats.blocks.extents import Extent, ExtentBytes
from layerscope.formats.blocks.inode_tree import Listing
from layerscope.model.tree import Kind

MAGIC = b"XFSB"
_EXTENTS, _BTREE = 2, 3
_LOCAL_ATTRIBUTES = 1
_SECOND = 1_000_000_000
_KEPT_INODES = 4096
_FAULTS_TOLD = 100
_MAX_LINK = 1024
_MAX_FILE = 1 << 63
_SPARE_BLOCKS = 1 << 12
_HOLES = 16
"""How many blocks a directory may have for each that is mapped: emptied ones leave holes."""
_MAX_EXTENTS = 1 << 22
_TRUSTED, _SECURITY = 2, 4
_ACLS = {b"SGI_ACL_FILE": "system.posix_acl_access", b"SGI_ACL_DEFAULT": "system.posix_acl_default"}
_ACL_ENTRY = struct.Struct(">IIHH")
_SHOWN_ACL_ENTRY = struct.Struct("<HHI")
_ACL_NAMED = (2, 8)
_KINDS: dict[int, Kind] = {modes.S_IFDIR: "d", modes.S_IFREG: "f", modes.S_IFLNK: "l"}
_TROUBLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
)
"""What a parser that trusts its input may raise on a damaged one, beside its own errors."""


def is_xfs(device: BlockDevice) -> bool:
    """Whether a device begins like an XFS file system. Raises CorruptError, OSError."""
    return device.size >= len(MAGIC) and device.read_at(0, len(MAGIC)) == MAGIC


class XfsInode(Struct, frozen=True):
    """One inode; ``node`` is the library's own."""

    number: int
    mode: int
    size: int
    node: Any


class XfsFileSystem:
    """One file system; safe to use from several threads, which take turns.

    ``faults`` gathers what was found damaged or can't be read, a sentence each, at most a hundred.
    """

    def __init__(self, device: BlockDevice) -> None:
        """Read the superblock.

        Raises:
            UnsupportedError: the library isn't installed.
            CorruptError: the file system can't be opened.
            OSError: it can't be read.
        """
        try:
            library = import_module("dissect.xfs")
            own_error = import_module("dissect.xfs.exceptions").Error
        except ImportError:
            raise UnsupportedError(
                "xfs inside: its files can't be read without dissect.xfs (pip install 'layerscope[xfs]' adds it)"
            ) from None
        self.device = device
        self.faults: dict[str, None] = {}
        self._trouble: tuple[type[BaseException], ...] = (own_error, *_TROUBLE)
        self._turn = threading.RLock()
        self._inodes: dict[int, XfsInode] = {}
        with self._reading("its superblock"):
            self._xfs = library.XFS(io.BufferedReader(DeviceStream(device)))
            self.block_bytes = int(self._xfs.block_size)
            self.root = int(self._xfs.sb.sb_rootino)
            self._blocks = int(self._xfs.sb.sb_dblocks)
            directory_shift = int(self._xfs.sb.sb_dirblklog)
        if directory_shift:
            # The library takes directories to have blocks of the file system's own size, and misreads these.
            raise UnsupportedError(
                f"xfs with directory blocks of {self.block_bytes << directory_shift} bytes can't be read"
            )

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """One turn with the library; whatever it raises becomes a CorruptError."""
        with self._turn:
            try:
                yield
            except LayerscopeError:
                raise
            except self._trouble as error:
                raise CorruptError(f"xfs: {what} can't be read: {str(error) or type(error).__name__}") from None

    def tell(self, fault: str) -> None:
        """Note something damaged."""
        if len(self.faults) < _FAULTS_TOLD:
            self.faults[fault] = None

    # ------------------------------------------------------------------ inodes
    def inode(self, number: int) -> XfsInode:
        """An inode in use. Raises CorruptError, OSError."""
        known = self._inodes.get(number)
        if known is None:
            with self._reading(f"inode {number}"):
                node = self._xfs.get_inode(number)
                known = XfsInode(number, int(node.inode.di_mode), int(node.size), node)
            if not modes.S_IFMT(known.mode):
                raise CorruptError(f"xfs: inode {number} is named, but not in use")
            if known.size >= _MAX_FILE:
                raise CorruptError(f"xfs: inode {number}: a size of {known.size} bytes can't be")
            if len(self._inodes) >= _KEPT_INODES:
                self._inodes.clear()
            self._inodes[number] = known
        return known

    def stat(self, inode: XfsInode, device: int) -> os.stat_result:
        """``lstat`` of an inode, where the file system's own device number is ``device``."""
        with self._reading(f"inode {inode.number}"):
            core = inode.node.inode
            times = [_signed(inode.node, name) for name in ("atime_ns", "mtime_ns", "ctime_ns")]
            number = 0
            if modes.S_ISCHR(inode.mode) or modes.S_ISBLK(inode.mode):
                raw = int.from_bytes(inode.node.datafork().read(4), "big")
                number = os.makedev(raw >> 18, raw & 0x3FFFF)
            sectors = int(core.di_nblocks) * (self.block_bytes // 512)
            owner = (int(core.di_nlink), int(core.di_uid), int(core.di_gid))
        atime, mtime, ctime = times
        return os.stat_result(
            (inode.mode, inode.number, device, *owner, inode.size, *(t // _SECOND for t in times)),
            {
                "st_atime": atime / _SECOND,
                "st_mtime": mtime / _SECOND,
                "st_ctime": ctime / _SECOND,
                "st_atime_ns": atime,
                "st_mtime_ns": mtime,
                "st_ctime_ns": ctime,
                "st_blksize": self.block_bytes,
                "st_blocks": sectors,
                "st_rdev": number,
            },
        )

    # ------------------------------------------------------------------ directories and contents
    def listing(self, inode: XfsInode) -> Listing:
        """What a directory holds. Raises CorruptError, OSError."""
        found = Listing()
        with self._reading(f"the directory of inode {inode.number}"):
            if inode.node.inode.di_format in (_EXTENTS, _BTREE):
                mapped = sum(extent.length for extent in self._extents(inode))
                if inode.size // self.block_bytes > _SPARE_BLOCKS + _HOLES * mapped:
                    raise CorruptError(f"xfs: a directory of {inode.size} bytes in {mapped} blocks can't be")
            for entry in inode.node.iterdir():
                kind = None if entry._filetype is None else _KINDS.get(modes.S_IFMT(entry._filetype), "o")
                found.add(os.fsencode(entry.filename), int(entry.inum), kind)
        for fault in found.faults:
            self.tell(f"xfs: directory of inode {inode.number}: {fault}")
        return found

    def _extents(self, inode: XfsInode) -> list[Extent]:
        """Where a file's blocks lie, in order."""
        found: list[Extent] = []
        end = 0
        shift, per_group = int(self._xfs.sb.sb_agblklog), int(self._xfs.sb.sb_agblocks)
        for logical, block, length, unwritten in inode.node._iter_blocks():
            physical = (block >> shift) * per_group + (block & ((1 << shift) - 1))
            if logical < end or not length or physical + length > self._blocks or len(found) == _MAX_EXTENTS:
                raise CorruptError(f"xfs: inode {inode.number}: a damaged map of its blocks")
            end = logical + length
            found.append(Extent(logical, None if unwritten else physical, length))
        return found

    def contents(self, inode: XfsInode) -> BlockDevice:
        """The bytes of a regular file. Raises CorruptError, OSError."""
        with self._reading(f"the map of inode {inode.number}"):
            extents = self._extents(inode)
        return ExtentBytes(self.device, self.block_bytes, inode.size, lambda: (extents, ""))

    def link_target(self, inode: XfsInode) -> bytes:
        """Where a symlink leads. Raises CorruptError, OSError."""
        if inode.size > _MAX_LINK:
            raise CorruptError(f"xfs: inode {inode.number}: a symlink of {inode.size} bytes can't be")
        with self._reading(f"the target of symlink {inode.number}"):
            return os.fsencode(inode.node.link)

    # ------------------------------------------------------------------ attributes
    def attributes(self, inode: XfsInode) -> dict[str, bytes]:
        """The extended attributes that lie in the inode; others are told, and not given."""
        with self._reading(f"the attributes of inode {inode.number}"):
            core = inode.node.inode
            if not core.di_forkoff or (core.di_aformat == _EXTENTS and not inode.node.attr_extents):
                return {}
            if core.di_aformat != _LOCAL_ATTRIBUTES:
                self.tell(f"xfs: extended attributes of inode {inode.number} lie outside of it and are not shown")
                return {}
            fork = inode.node.attrfork().read()
            return dict(_attributes(fork))


def _signed(node: Any, name: str) -> int:
    """A time; older file systems keep seconds and nanoseconds as signed numbers of 32 bits each."""
    value = int(getattr(node, name))
    if not node._has_bigtime():
        seconds, nanoseconds = divmod(value, _SECOND)
        if seconds >= 1 << 31:
            seconds -= 1 << 32
        return seconds * _SECOND + nanoseconds
    return value


def _attributes(fork: bytes) -> Iterator[tuple[str, bytes]]:
    size, count = struct.unpack_from(">HB", fork)
    offset = 4
    for _ in range(count):
        name_length, value_length, flags = fork[offset : offset + 3]
        name = fork[offset + 3 : offset + 3 + name_length]
        offset += 3 + name_length + value_length
        if offset > min(size, len(fork)):
            raise CorruptError(f"an attribute that ends at byte {offset} of {size}")
        value = fork[offset - value_length : offset]
        if flags & _TRUSTED and name in _ACLS:
            yield _ACLS[name], _shown_acl(value)
        prefix = "trusted." if flags & _TRUSTED else "security." if flags & _SECURITY else "user."
        yield prefix + os.fsdecode(name), value


def _shown_acl(stored: bytes) -> bytes:
    """An access control list in the form that programs see."""
    count = int.from_bytes(stored[:4], "big")
    if len(stored) != 4 + count * _ACL_ENTRY.size:
        raise CorruptError(f"an access control list of {count} entries in {len(stored)} bytes")
    shown = [struct.pack("<I", 2)]
    for tag, owner, rights, _unused in _ACL_ENTRY.iter_unpack(stored[4:]):
        shown.append(_SHOWN_ACL_ENTRY.pack(tag, rights, owner if tag in _ACL_NAMED else 0xFFFFFFFF))
    return b"".join(shown)
