"""The superblock of an ext2, ext3 or ext4 file system, and where its block groups keep their inodes.

Little-endian, 1024 bytes at byte 1024:

| offset | type | field |
| --- | --- | --- |
| 0, 4 | u32 | inodes, blocks (low half; high half at 336) |
| 20, 24 | u32 | first data block, block size as 1024 << n |
| 32, 40 | u32 | blocks per group, inodes per group |
| 56, 58 | u16 | magic 0xEF53, state |
| 76, 88 | u32, u16 | revision, inode size (revision 0: 128) |
| 92, 96, 100 | u32 | features: compatible, incompatible, read-only compatible |
| 104 | 16 bytes | uuid |
| 254 | u16 | size of a group descriptor (with 64bit) |
| 260 | u32 | first group whose descriptors lie in the group itself (with meta_bg), in blocks of descriptors |
| 588 | 2 × u32 | the groups with a superblock copy (with sparse_super2) |
| 624 | u32 | seed of check values (with csum_seed) |
| 1020 | u32 | check value (with metadata_csum): CRC-32C of the 1020 bytes before it, not inverted |

Group descriptor, 32 or more bytes: u32 block bitmap, inode bitmap, inode table (high halves at 32, 36, 40), u16 check
value at 30.

Source: Linux fs/ext4/ext4.h, super.c ``descriptor_loc``; Documentation/filesystems/ext4.
"""

from __future__ import annotations

import struct

from msgspec import Struct

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks.crc32c import crc32c
from layerscope.formats.blocks.device import BlockDevice

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_BYTES = 1024
MAGIC = 0xEF53
_MAGIC_OFFSET = 56
OLD_INODE_BYTES = 128

_COMPATIBLE_SPARSE_SUPER2 = 0x200
_INCOMPATIBLE = {
    0x1: "compression",
    0x2: "filetype",
    0x4: "needs_recovery",
    0x8: "journal_dev",
    0x10: "meta_bg",
    0x40: "extent",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x1000: "dirdata",
    0x2000: "csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
_UNREADABLE = {"compression", "journal_dev", "dirdata"}
_READ_ONLY_SPARSE_SUPER = 0x1
_READ_ONLY_HUGE_FILE = 0x8
_READ_ONLY_METADATA_CSUM = 0x400
_STATE_ERRORS = 2
_GROUP_BYTES = 32
_GROUP_BYTES_64 = 64


class Superblock(Struct, frozen=True):
    """What a file system says of itself. ``features`` are the incompatible ones by name."""

    inodes: int
    blocks: int
    block_bytes: int
    first_data_block: int
    blocks_per_group: int
    inodes_per_group: int
    inode_bytes: int
    group_bytes: int
    first_meta_group: int
    features: frozenset[str]
    has_metadata_csum: bool
    has_huge_files: bool
    has_errors: bool
    sparse_super: bool
    super_copies: tuple[int, int] | None
    uuid: bytes
    seed: int
    checks: bool
    """Whether its own check value is right, or it has none."""

    @property
    def groups(self) -> int:
        """How many block groups there are."""
        return -(-(self.blocks - self.first_data_block) // self.blocks_per_group)

    @property
    def needs_recovery(self) -> bool:
        """Whether the journal holds changes that were not yet made."""
        return "needs_recovery" in self.features

    def descriptor_offset(self, group: int) -> int:
        """The byte at which a group's descriptor begins."""
        per_block = self.block_bytes // self.group_bytes
        index, position = divmod(group, per_block)
        if "meta_bg" not in self.features or index < self.first_meta_group:
            block = SUPERBLOCK_OFFSET // self.block_bytes + 1 + index
        else:
            first = index * per_block
            block = self.first_data_block + first * self.blocks_per_group + self._has_copy(first)
            if self.block_bytes == SUPERBLOCK_OFFSET and index == 0 and self.first_data_block == 0:
                block += 1
        return block * self.block_bytes + position * self.group_bytes

    def _has_copy(self, group: int) -> bool:
        """Whether a group begins with a copy of the superblock."""
        if group == 0:
            return True
        if self.super_copies is not None:
            return group in self.super_copies
        return not self.sparse_super or group == 1 or any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    power = base
    while power < number:
        power *= base
    return power == number


def is_ext4(device: BlockDevice) -> bool:
    """Whether a device begins like an ext2, ext3 or ext4 file system. Raises CorruptError, OSError."""
    offset = SUPERBLOCK_OFFSET + _MAGIC_OFFSET
    return device.size >= offset + 2 and device.read_at(offset, 2) == MAGIC.to_bytes(2, "little")


def parse_superblock(data: bytes) -> Superblock:
    """The superblock in the 1024 bytes that begin at byte 1024.

    Raises:
        CorruptError: it isn't one, or its numbers can't be.
        UnsupportedError: it has features that change what lies where.
    """
    u16, u32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from
    if len(data) != SUPERBLOCK_BYTES or u16(data, _MAGIC_OFFSET)[0] != MAGIC:
        raise CorruptError(f"no ext4 superblock: no magic {MAGIC:#x} at byte {SUPERBLOCK_OFFSET + _MAGIC_OFFSET}")
    compatible, incompatible, read_only = struct.unpack_from("<III", data, 92)
    features = frozenset(name for bit, name in _INCOMPATIBLE.items() if incompatible & bit)
    unknown = incompatible & ~sum(_INCOMPATIBLE)
    if unknown or features & _UNREADABLE:
        names = sorted(features & _UNREADABLE) + ([f"{unknown:#x}"] if unknown else [])
        raise UnsupportedError(f"this ext4 file system has features that can't be read: {', '.join(names)}")
    old = u32(data, 76)[0] == 0
    uuid = data[104:120]
    has_csum = bool(read_only & _READ_ONLY_METADATA_CSUM)
    wide = "64bit" in features
    shift = u32(data, 24)[0]
    found = Superblock(
        inodes=u32(data, 0)[0],
        blocks=u32(data, 4)[0] | (u32(data, 336)[0] << 32 if wide else 0),
        block_bytes=1024 << min(shift, 32),
        first_data_block=u32(data, 20)[0],
        blocks_per_group=u32(data, 32)[0],
        inodes_per_group=u32(data, 40)[0],
        inode_bytes=OLD_INODE_BYTES if old else u16(data, 88)[0],
        group_bytes=u16(data, 254)[0] if wide else _GROUP_BYTES,
        first_meta_group=u32(data, 260)[0],
        features=features,
        has_metadata_csum=has_csum,
        has_huge_files=bool(read_only & _READ_ONLY_HUGE_FILE),
        has_errors=bool(u16(data, 58)[0] & _STATE_ERRORS),
        sparse_super=bool(read_only & _READ_ONLY_SPARSE_SUPER),
        super_copies=struct.unpack_from("<2I", data, 588) if compatible & _COMPATIBLE_SPARSE_SUPER2 else None,
        uuid=uuid,
        seed=u32(data, 624)[0] if "csum_seed" in features else crc32c(uuid),
        checks=not has_csum or u32(data, 1020)[0] == crc32c(memoryview(data)[:1020]),
    )
    _check(found)
    return found


def _check(found: Superblock) -> None:
    bits = found.block_bytes * 8
    demands = {
        f"block size {found.block_bytes}": found.block_bytes <= 1 << 16,
        f"inode size {found.inode_bytes}": found.inode_bytes in _powers(OLD_INODE_BYTES, found.block_bytes),
        f"{found.blocks_per_group} blocks per group": 0 < found.blocks_per_group <= bits << 16,
        f"{found.inodes_per_group} inodes per group": 0 < found.inodes_per_group <= bits,
        f"group descriptors of {found.group_bytes} bytes": found.group_bytes == _GROUP_BYTES
        or found.group_bytes in _powers(_GROUP_BYTES_64, found.block_bytes),
        f"first data block {found.first_data_block}": found.first_data_block <= 1,
        f"{found.blocks} blocks": found.first_data_block < found.blocks < 1 << 48,
    }
    wrong = [what for what, fits in demands.items() if not fits]
    if wrong:
        raise CorruptError(f"ext4 superblock: {', '.join(wrong)} can't be")
    if found.inodes != found.groups * found.inodes_per_group:
        raise CorruptError(
            f"ext4 superblock: {found.inodes} inodes in {found.groups} groups of {found.inodes_per_group} can't be"
        )


def _powers(least: int, most: int) -> list[int]:
    return [1 << bit for bit in range(least.bit_length() - 1, most.bit_length()) if 1 << bit <= most]


class Group(Struct, frozen=True):
    """Where a block group keeps its two bitmaps and its inodes, as block numbers."""

    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    checks: bool
    """Whether its check value is right, or it has none."""


def parse_group(data: bytes, number: int, superblock: Superblock) -> Group:
    """The descriptor of block group ``number`` in ``data``, which is as long as this file system's are."""
    low = struct.unpack_from("<3I", data)
    high = struct.unpack_from("<3I", data, 32) if len(data) >= _GROUP_BYTES_64 else (0, 0, 0)
    block_bitmap, inode_bitmap, inode_table = (part | top << 32 for part, top in zip(low, high, strict=True))
    checks = True
    if superblock.has_metadata_csum:
        value = crc32c(struct.pack("<I", number), superblock.seed)
        value = crc32c(data[:30] + b"\0\0" + data[32:], value)
        checks = value & 0xFFFF == struct.unpack_from("<H", data, 30)[0]
    return Group(block_bitmap, inode_bitmap, inode_table, checks)
