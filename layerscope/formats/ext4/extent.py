"""Where a file's blocks lie: extent trees of ext4 and indirect blocks of ext2 and ext3.

| extent tree node | type | field |
| --- | --- | --- |
| 0 | u16 × 4, u32 | magic 0xF30A, entries, room, depth (0: leaf), generation |
| 12 + 12 n, leaf | u32, u16, u16, u32 | first logical block, length (32768 more: never written), block high, low |
| 12 + 12 n, else | u32, u32, u16, u16 | first logical block, block of the node below low, high, unused |

Without extents the 60 bytes are fifteen block numbers: twelve blocks, then the first block of numbers one, two and
three levels deep. A number 0 is a hole.

Source: Linux fs/ext4/ext4_extents.h, extents.c; fs/ext4/indirect.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from layerscope.errors import CorruptError
from layerscope.formats.blocks.extents import Extent
from layerscope.formats.ext4.inode import FLAG_EXTENTS, Inode

_MAGIC = 0xF30A
_HEADER = struct.Struct("<HHHHI")
_LEAF = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_ENTRY_BYTES = 12
_MAX_DEPTH = 5
_NEVER_WRITTEN = 32768
_MAX_LOGICAL = 1 << 32
_DIRECT = 12
_NUMBER_BYTES = 4

ReadBlock = Callable[[int], bytes]
"""A block by its number; raises CorruptError past the end."""


def extents_of(inode: Inode, blocks: int, block_bytes: int, read_block: ReadBlock) -> Iterator[Extent]:
    """A file's blocks in the order of the file; what isn't covered is a hole.

    Args:
        inode: the file's inode, without inline contents.
        blocks: how many blocks the file system has.
        block_bytes: how long each of them is.
        read_block: reads one.

    Raises:
        CorruptError: the map is damaged at this point; what was given before holds.
        OSError: a block can't be read.
    """
    has_tree = inode.flags & FLAG_EXTENTS
    found = _extent_tree(inode, read_block) if has_tree else _block_map(inode, block_bytes, read_block)
    end = 0
    for extent in found:
        if extent.logical < end:
            raise CorruptError(f"inode {inode.number}: its blocks from {extent.logical} on are mapped twice")
        end = extent.logical + extent.length
        if end > _MAX_LOGICAL or (extent.physical is not None and extent.physical + extent.length > blocks):
            raise CorruptError(f"inode {inode.number}: blocks {extent.physical} + {extent.length} lie past the end")
        yield extent


def _extent_tree(inode: Inode, read_block: ReadBlock) -> Iterator[Extent]:
    node, depth = inode.block, -1
    pending: list[tuple[int, int]] = []
    seen: set[int] = set()
    name = f"inode {inode.number}: extent node"
    while True:
        magic, entries, room, found_depth, _generation = _HEADER.unpack_from(node)
        if magic != _MAGIC or entries > room or _HEADER.size + room * _ENTRY_BYTES > len(node):
            raise CorruptError(f"{name} has magic {magic:#x} and {entries} of {room} entries")
        if found_depth > _MAX_DEPTH or found_depth != (depth if depth >= 0 else found_depth):
            raise CorruptError(f"{name} of depth {found_depth}, expected {depth if depth >= 0 else _MAX_DEPTH}")
        if found_depth:
            below = []
            for index in range(entries):
                _logical, low, high, _unused = _INDEX.unpack_from(node, _HEADER.size + index * _ENTRY_BYTES)
                below.append((low | high << 32, found_depth - 1))
            pending.extend(reversed(below))
        else:
            for index in range(entries):
                logical, length, high, low = _LEAF.unpack_from(node, _HEADER.size + index * _ENTRY_BYTES)
                if length > _NEVER_WRITTEN:
                    yield Extent(logical, None, length - _NEVER_WRITTEN)
                elif length:
                    yield Extent(logical, low | high << 32, length)
                else:
                    raise CorruptError(f"{name} with an extent of no blocks")
        if not pending:
            return
        number, depth = pending.pop()
        if number in seen:
            raise CorruptError(f"{name} at block {number} is reached twice")
        seen.add(number)
        name = f"inode {inode.number}: extent node at block {number}"
        node = read_block(number)


def _block_map(inode: Inode, block_bytes: int, read_block: ReadBlock) -> Iterator[Extent]:
    run: tuple[int, int, int] | None = None
    for logical, physical in _numbered(inode, block_bytes // _NUMBER_BYTES, read_block):
        if run and run[0] + run[2] == logical and run[1] + run[2] == physical:
            run = (run[0], run[1], run[2] + 1)
            continue
        if run:
            yield Extent(*run)
        run = (logical, physical, 1)
    if run:
        yield Extent(*run)


def _numbered(inode: Inode, per_block: int, read_block: ReadBlock) -> Iterator[tuple[int, int]]:
    """Every mapped block as (logical, physical), in order; ``per_block`` numbers are in a block of numbers."""
    numbers = struct.unpack("<15I", inode.block)
    yield from ((logical, number) for logical, number in enumerate(numbers[:_DIRECT]) if number)
    base = _DIRECT
    seen: set[int] = set()
    for level, top in enumerate(numbers[_DIRECT:], 1):
        pending = [(top, level, base)] if top else []
        while pending:
            number, depth, first = pending.pop()
            if number in seen:
                raise CorruptError(f"inode {inode.number}: the block of numbers {number} is reached twice")
            seen.add(number)
            below = struct.unpack(f"<{per_block}I", read_block(number))
            if depth == 1:
                yield from ((first + index, child) for index, child in enumerate(below) if child)
            else:
                step = per_block ** (depth - 1)
                children = [(child, depth - 1, first + i * step) for i, child in enumerate(below) if child]
                pending.extend(reversed(children))
        base += per_block**level
