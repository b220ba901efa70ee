"""The data space map of a thin pool: how many entries point at each data block, by the pool's own account.

The kernel keeps it up to date with every change, so it is a witness for what is read of the devices' trees.

| what | layout |
| --- | --- |
| bitmap tree | key: number of a bitmap; value: u64 block of the bitmap, u32 free entries, u32 first that may be free |
| bitmap | 16 bytes (check value u32, unused u32, own block number u64), then 2 bits for each of 16320 data blocks |
| count tree | key: data block; value: u32 count, for blocks whose two bits say 3 |

The first bit of a pair is the high one. Counted are entries of distinct leaves, not devices: snapshots share leaves.

Source: Linux drivers/md/persistent-data/dm-space-map-common.c.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from layerscope.errors import CorruptError
from layerscope.formats.thinpool.btree import Damage
from layerscope.formats.thinpool.pool import MetadataPool
from layerscope.formats.thinpool.superblock import BLOCK_BYTES, BlockKind

_HEADER_BYTES = 16
_PER_BITMAP = (BLOCK_BYTES - _HEADER_BYTES) * 4
_BITMAP_ENTRY = struct.Struct("<QII")
_COUNT = struct.Struct("<I")
_OVERFLOW = 3
_TIME_BITS = 24
_PAIRS = tuple(tuple((byte >> 2 * k & 1) << 1 | byte >> 2 * k + 1 & 1 for k in range(4)) for byte in range(256))
"""The counts of the four pairs in each byte."""


def recorded_counts(pool: MetadataPool) -> Iterator[tuple[int, int]]:
    """Each data block with a count above 0 and that count, in order.

    Raises:
        CorruptError: the space map is damaged (nothing follows then).
        OSError: the metadata can't be read.
    """
    root = pool.superblock.data_space
    large: dict[int, int] = {}
    for leaf in pool.blocks.leaves(root.count_root, _COUNT.size):
        if isinstance(leaf, Damage):
            raise CorruptError(f"data space map, counts: {leaf.reason}")
        large.update(zip(leaf.keys, (count for (count,) in _COUNT.iter_unpack(leaf.values)), strict=True))
    read: set[int] = set()
    for leaf in pool.blocks.leaves(root.bitmap_root, _BITMAP_ENTRY.size):
        if isinstance(leaf, Damage):
            raise CorruptError(f"data space map, bitmaps: {leaf.reason}")
        for index, (number, _free, _first_free) in zip(leaf.keys, _BITMAP_ENTRY.iter_unpack(leaf.values), strict=True):
            if number in read or index * _PER_BITMAP >= root.blocks:
                raise CorruptError(f"data space map: metadata block {number} as bitmap {index}, which can't be")
            read.add(number)
            bitmap = pool.blocks.read(number, 8, BlockKind.BITMAP)
            yield from _counts_in(bitmap, index * _PER_BITMAP, root.blocks, large)


def _counts_in(bitmap: bytes, first: int, blocks: int, large: dict[int, int]) -> Iterator[tuple[int, int]]:
    for position, byte in enumerate(memoryview(bitmap)[_HEADER_BYTES:]):
        if not byte:
            continue
        for offset, count in enumerate(_PAIRS[byte]):
            block = first + 4 * position + offset
            if not count or block >= blocks:
                continue
            if count == _OVERFLOW and block not in large:
                raise CorruptError(f"data space map: data block {block:#x} has no count in the tree of large counts")
            yield block, large[block] if count == _OVERFLOW else count


def wrong_counts(pool: MetadataPool) -> list[tuple[int, int, int]]:
    """Data blocks whose recorded count isn't what the mappings give, as (block, recorded, found), in order.

    Raises:
        CorruptError: the space map is damaged.
        OSError: the metadata can't be read.
    """
    found = entry_counts(pool)
    recorded = dict(recorded_counts(pool))
    return sorted(
        (block, recorded.get(block, 0), found[block])
        for block in recorded.keys() | found.keys()
        if recorded.get(block, 0) != found[block]
    )


def entry_counts(pool: MetadataPool) -> Counter[int]:
    """How many entries of distinct leaves of the devices' trees point at each data block."""
    counts: Counter[int] = Counter()
    pending, seen = list(pool.roots.values()), set()
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        node = pool.blocks.node(number, 8)
        if node.is_leaf:
            counts.update(value >> _TIME_BITS for value in node.children)
        else:
            pending.extend(node.children)
    return counts
