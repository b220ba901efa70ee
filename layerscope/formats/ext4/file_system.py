"""An ext2, ext3 or ext4 file system on a block device, for reading: inodes, directories, contents, attributes.

Nothing is written and the journal isn't replayed: what it still holds is not seen. Check values are verified where
that costs little: of the superblock and of group descriptors. What is damaged is an error where it is asked for, and
the rest is read.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from functools import partial

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice, past_the_end
from layerscope.formats.blocks.extents import Extent, ExtentBytes
from layerscope.formats.blocks.inode_tree import Listing
from layerscope.formats.ext4.directory import add_entries
from layerscope.formats.ext4.extent import extents_of
from layerscope.formats.ext4.inode import FLAG_EA_INODE, FLAG_ENCRYPTED, FLAG_INLINE, ROOT_INODE, Inode, parse_inode
from layerscope.formats.ext4.superblock import (
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET,
    Group,
    parse_group,
    parse_superblock,
)
from layerscope.formats.ext4.xattr import INLINE_CONTENTS, block_attributes, inode_attributes

_KEPT_BYTES = 4 << 20
_NO_KEY = getattr(errno, "ENOKEY", errno.EACCES)
_KEPT_INODES = 4096
_INLINE_BYTES = 60
_MAX_LINK = 1 << 16
_FAULTS_TOLD = 100
_BAD_BLOCKS = 16
"""Blocks of a directory that may be damaged before the rest of it is given up."""


class FileSystem:
    """One file system; safe to use from several threads.

    ``faults`` gathers what was found damaged on the way, a sentence each, at most a hundred.
    """

    root = ROOT_INODE

    def __init__(self, device: BlockDevice) -> None:
        """Read the superblock.

        Raises:
            CorruptError: there is none, or its numbers can't be.
            UnsupportedError: it has features that can't be read.
            OSError: it can't be read.
        """
        self.device = device
        size = min(SUPERBLOCK_BYTES, max(0, device.size - SUPERBLOCK_OFFSET))
        self.superblock = parse_superblock(device.read_at(SUPERBLOCK_OFFSET, size))
        self.faults: dict[str, None] = {}
        self._blocks: dict[int, bytes] = {}
        self._kept_blocks = max(16, _KEPT_BYTES // self.superblock.block_bytes)
        self._groups: dict[int, Group] = {}
        self._inodes: dict[int, Inode] = {}
        if not self.superblock.checks:
            self.tell("the superblock's check value is wrong")
        if self.superblock.has_errors:
            self.tell("the kernel has marked it as damaged")
        whole = self.superblock.blocks * self.superblock.block_bytes
        if whole > device.size:
            self.tell(f"it is cut short: {device.size} bytes of {whole}")

    def tell(self, fault: str) -> None:
        """Note something damaged."""
        if len(self.faults) < _FAULTS_TOLD:
            self.faults[fault] = None

    # ------------------------------------------------------------------ blocks and inodes
    def read_block(self, number: int) -> bytes:
        """One block of metadata; the last ones are kept. Raises CorruptError past the end, OSError."""
        known = self._blocks.get(number)
        if known is None:
            size = self.superblock.block_bytes
            if number >= self.superblock.blocks:
                raise CorruptError(f"ext4 block {number}: there are only {self.superblock.blocks}")
            known = self.device.read_at(number * size, size)
            if len(self._blocks) >= self._kept_blocks:
                self._blocks.clear()
            self._blocks[number] = known
        return known

    def group(self, number: int) -> Group:
        """A block group's descriptor. Raises CorruptError past the end, OSError."""
        known = self._groups.get(number)
        if known is None:
            offset = self.superblock.descriptor_offset(number)
            known = parse_group(self._metadata(offset, self.superblock.group_bytes), number, self.superblock)
            if not known.checks:
                self.tell(f"the check value of block group {number} is wrong")
            if len(self._groups) >= _KEPT_INODES:
                self._groups.clear()
            self._groups[number] = known
        return known

    def _metadata(self, offset: int, size: int) -> bytes:
        """Bytes that lie in one block."""
        block, start = divmod(offset, self.superblock.block_bytes)
        return self.read_block(block)[start : start + size]

    def inode(self, number: int) -> Inode:
        """An inode in use.

        Raises:
            CorruptError: there is no such inode, it is free, or where it lies is damaged.
            OSError: it can't be read.
        """
        known = self._inodes.get(number)
        if known is None:
            superblock = self.superblock
            if not 1 <= number <= superblock.inodes:
                raise CorruptError(f"inode {number}: there are only {superblock.inodes}")
            group, index = divmod(number - 1, superblock.inodes_per_group)
            offset = self.group(group).inode_table * superblock.block_bytes + index * superblock.inode_bytes
            known = parse_inode(self._metadata(offset, superblock.inode_bytes), number, superblock)
            if not modes.S_IFMT(known.mode):
                raise CorruptError(f"inode {number} is named, but not in use")
            if len(self._inodes) >= _KEPT_INODES:
                self._inodes.clear()
            self._inodes[number] = known
        return known

    def stat(self, inode: Inode, device: int) -> os.stat_result:
        """``lstat`` of an inode, where the file system's own device number is ``device``."""
        return inode.stat(device, self.superblock.block_bytes)

    # ------------------------------------------------------------------ contents
    def contents(self, inode: Inode) -> BlockDevice:
        """The bytes of a regular file, a long symlink or an attribute's value.

        Raises:
            CorruptError: its size can't be.
            OSError: ENOKEY for encrypted ones.
        """
        if inode.flags & FLAG_ENCRYPTED:
            raise OSError(_NO_KEY, "encrypted: its key isn't here", f"inode {inode.number}")
        if inode.flags & FLAG_INLINE:
            return InlineContents(self._inline(inode), inode.size)
        if inode.size > self.superblock.block_bytes << 32:
            raise CorruptError(f"inode {inode.number}: a size of {inode.size} bytes can't be")
        return ExtentBytes(self.device, self.superblock.block_bytes, inode.size, partial(self.extents, inode))

    def extents(self, inode: Inode) -> tuple[list[Extent], str]:
        """Where a file's blocks lie, in order, and what is damaged about that ("" for nothing)."""
        if inode.flags & FLAG_INLINE:
            return [], ""
        found: list[Extent] = []
        try:
            blocks, block_bytes = self.superblock.blocks, self.superblock.block_bytes
            found.extend(extents_of(inode, blocks, block_bytes, self.read_block))
        except CorruptError as error:
            self.tell(str(error))
            return found, str(error)
        return found, ""

    def _inline(self, inode: Inode) -> bytes:
        """The contents that lie in the inode itself."""
        return inode.block + self._attributes(inode, hidden=True).get(INLINE_CONTENTS, b"")

    def link_target(self, inode: Inode) -> bytes:
        """Where a symlink leads. Raises CorruptError, OSError."""
        if inode.size > _MAX_LINK:
            raise CorruptError(f"inode {inode.number}: a symlink of {inode.size} bytes can't be")
        if inode.size < _INLINE_BYTES and not inode.flags & (FLAG_ENCRYPTED | FLAG_EA_INODE | FLAG_INLINE):
            return inode.block[: inode.size]
        return self.contents(inode).read_at(0, inode.size)

    # ------------------------------------------------------------------ directories
    def listing(self, inode: Inode) -> Listing:
        """What a directory holds; damaged parts of it are left out and told.

        Raises:
            CorruptError: nothing of it can be read.
            OSError: it can't be read.
        """
        found = Listing()
        has_types = "filetype" in self.superblock.features
        if inode.flags & FLAG_INLINE:
            found.parent = int.from_bytes(inode.block[:4], "little")
            add_entries(found, inode.block[4:], has_types)
            add_entries(found, self._inline(inode)[_INLINE_BYTES:], has_types)
        else:
            self._list_blocks(inode, found, has_types)
        for fault in found.faults:
            self.tell(f"directory of inode {inode.number}: {fault}")
        return found

    def _list_blocks(self, inode: Inode, found: Listing, has_types: bool) -> None:
        size = self.superblock.block_bytes
        end = -(-inode.size // size)
        extents, damage = self.extents(inode)
        if damage:
            found.faults.append(damage)
        # Each block belongs to one directory once: what names blocks again and again would never end.
        taken: set[int] = set()
        for extent in extents:
            if extent.physical is None or extent.logical >= end:
                continue
            for number in range(extent.physical, extent.physical + min(extent.length, end - extent.logical)):
                if number in taken or len(found.faults) > _BAD_BLOCKS:
                    found.faults.append(f"block {number} is not read: too much before it is damaged, or it was read")
                    return
                taken.add(number)
                try:
                    add_entries(found, self.device.read_at(number * size, size), has_types)
                except CorruptError as error:
                    found.faults.append(str(error))

    # ------------------------------------------------------------------ attributes
    def attributes(self, inode: Inode) -> dict[str, bytes]:
        """All extended attributes, as a program with every right sees them; damaged ones are left out and told."""
        return self._attributes(inode)

    def _attributes(self, inode: Inode, hidden: bool = False) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        try:
            found.update(inode_attributes(inode.extra, self._attribute_value))
        except CorruptError as error:
            self.tell(f"inode {inode.number}: {error}")
        if inode.attribute_block:
            try:
                found.update(block_attributes(self.read_block(inode.attribute_block), self._attribute_value))
            except CorruptError as error:
                self.tell(f"inode {inode.number}: {error}")
        if not hidden:
            found.pop(INLINE_CONTENTS, None)
        return found

    def _attribute_value(self, number: int, size: int) -> bytes:
        inode = self.inode(number)
        if not inode.flags & FLAG_EA_INODE or inode.size != size:
            raise CorruptError(f"inode {number} is no attribute's value of {size} bytes")
        return self.contents(inode).read_at(0, size)


class InlineContents:
    """Contents that lie in an inode; satisfies ``BlockDevice``."""

    __slots__ = ("_data", "_size")

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises CorruptError past the end."""
        if offset < 0 or size < 0 or offset + size > min(self._size, len(self._data)):
            raise past_the_end(offset, size, min(self._size, len(self._data)))
        return self._data[offset : offset + size]
