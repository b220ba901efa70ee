"""The first block of a thin pool's metadata, and the check value that every metadata block carries.

Little-endian throughout, blocks of 4096 bytes. Superblock, at block 0:

| offset | type | field |
| --- | --- | --- |
| 0 | u32 | check value |
| 4 | u32 | flags; bit 0: the pool needs a check |
| 8 | u64 | own block number |
| 16 | 16 bytes | uuid (zeros) |
| 32 | u64 | magic 27022010 |
| 40 | u32 | version, 1 or 2 |
| 44 | u32 | time: one more at each snapshot |
| 48 | u64 | transaction, set by the pool's user |
| 56 | u64 | block of a frozen copy of this block, 0 for none |
| 64, 192 | 128 bytes each | root of the data, of the metadata space map: blocks, allocated, bitmaps, counts (u64) |
| 320, 328 | u64 | root of the mapping tree, of the device details tree |
| 336, 340 | u32 | data block size, metadata block size, in sectors of 512 bytes |
| 344 | u64 | metadata blocks |
| 352 | 3 × u32 | compatible, read-only compatible, incompatible features |

The check value is CRC-32C (all ones at the start, not inverted) over the 4092 bytes behind it, XORed with a number of
the kind of block.

Source: Linux drivers/md/dm-thin-metadata.c, drivers/md/persistent-data/; seen with kernel 6.1 and thin_restore 0.9.0.
"""

from __future__ import annotations

import struct
from enum import Enum

from msgspec import Struct

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks.crc32c import crc32c

BLOCK_BYTES = 4096
SECTOR_BYTES = 512
MAGIC = 27022010
_LAYOUT = struct.Struct("<IIQ16sQIIQQ128s128sQQIIQIII")
_SPACE_MAP = struct.Struct("<4Q")
_CHECK = struct.Struct("<I")
_NEEDS_CHECK = 1
_MIN_SECTORS, _MAX_SECTORS = 128, 1 << 21
"""The kernel takes data blocks from 64 KiB to 1 GiB."""


class BlockKind(Enum):
    """What a metadata block is; the value is what its check value is XORed with."""

    SUPERBLOCK = 160774
    BTREE = 121107
    INDEX = 160478
    BITMAP = 240779


class SpaceMapRoot(Struct, frozen=True):
    """Where a space map begins: ``blocks`` it covers, how many are ``allocated``, roots of its two trees."""

    blocks: int
    allocated: int
    bitmap_root: int
    count_root: int


class Superblock(Struct, frozen=True):
    """What the pool says of itself. Roots are metadata block numbers, ``held_root`` is 0 for none."""

    needs_check: bool
    version: int
    time: int
    transaction: int
    held_root: int
    data_space: SpaceMapRoot
    metadata_space: SpaceMapRoot
    mapping_root: int
    details_root: int
    data_block_bytes: int


def verify_block(block: bytes, number: int, own_number: int, kind: BlockKind) -> None:
    """Check what a metadata block says of itself.

    Raises:
        CorruptError: it is another block, or its check value is wrong.
    """
    name = f"thin-pool metadata block {number}"
    if own_number != number:
        raise CorruptError(f"{name}: says it is block {own_number}")
    stored = _CHECK.unpack_from(block)[0]
    computed = crc32c(memoryview(block)[4:]) ^ kind.value
    if stored != computed:
        raise CorruptError(f"{name}: check value {stored:#010x}, expected {computed:#010x} ({kind.name.lower()})")


def parse_superblock(block: bytes) -> Superblock:
    """The superblock in the first 4096 bytes of the metadata.

    Raises:
        CorruptError: it isn't one, or it is damaged.
        UnsupportedError: a newer format.
    """
    if len(block) != BLOCK_BYTES:
        raise CorruptError(f"thin-pool metadata: {len(block)} bytes, expected at least {BLOCK_BYTES}")
    (
        _check,
        flags,
        own_number,
        _uuid,
        magic,
        version,
        time,
        transaction,
        held_root,
        data_space,
        metadata_space,
        mapping_root,
        details_root,
        data_sectors,
        _metadata_sectors,
        _metadata_blocks,
        _compatible,
        _read_only_compatible,
        incompatible,
    ) = _LAYOUT.unpack_from(block)
    if magic != MAGIC:
        raise CorruptError(f"thin-pool metadata: magic {magic:#x} at offset 32, expected {MAGIC:#x}")
    verify_block(block, 0, own_number, BlockKind.SUPERBLOCK)
    if version not in (1, 2) or incompatible:
        raise UnsupportedError(
            f"thin-pool metadata of version {version} with incompatible features {incompatible:#x};"
            " versions 1 and 2 without any are known"
        )
    return Superblock(
        needs_check=bool(flags & _NEEDS_CHECK),
        version=version,
        time=time,
        transaction=transaction,
        held_root=held_root,
        data_space=SpaceMapRoot(*_SPACE_MAP.unpack_from(data_space)),
        metadata_space=SpaceMapRoot(*_SPACE_MAP.unpack_from(metadata_space)),
        mapping_root=mapping_root,
        details_root=details_root,
        data_block_bytes=block_bytes(data_sectors),
    )


def block_bytes(sectors: int) -> int:
    """The size of data blocks from their number of sectors.

    Raises:
        CorruptError: no pool has such blocks.
    """
    if sectors % _MIN_SECTORS or not _MIN_SECTORS <= sectors <= _MAX_SECTORS:
        raise CorruptError(
            f"thin-pool metadata: data blocks of {sectors} sectors, expected a multiple of {_MIN_SECTORS}"
            f" up to {_MAX_SECTORS}"
        )
    return sectors * SECTOR_BYTES
