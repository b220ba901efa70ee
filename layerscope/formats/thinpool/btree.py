"""The B-trees of a thin pool's metadata.

| offset in a node | type | field |
| --- | --- | --- |
| 0 | u32 | check value |
| 4 | u32 | 1: internal node, 2: leaf |
| 8 | u64 | own block number |
| 16, 20 | u32 | entries, room for entries |
| 24, 28 | u32 | bytes of one value, padding |
| 32 | u64 × room | keys, rising |
| 32 + 8 × room | value × room | values; of an internal node: the children's block numbers (u64) |

A child's keys are not below the key beside it and not above the next one. Nodes are shared between trees: a snapshot is
a second reference to the same root, and writing copies the nodes on the way down.

Source: Linux drivers/md/persistent-data/dm-btree-internal.h, dm-btree-spine.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice
from layerscope.formats.thinpool.superblock import BLOCK_BYTES, BlockKind, verify_block

KEY_END = 1 << 64
"""One more than the highest key."""
_HEADER = struct.Struct("<IIQIIII")
_INTERNAL, _LEAF = 1, 2
_CHILD_BYTES = 8
_MAX_DEPTH = 16
"""Levels of nodes in one tree. The kernel's trees stay below eight."""
_KEPT_NODES = 1024


class Node(Struct, frozen=True):
    """One node; ``values`` are the used ones, one after the other."""

    number: int
    is_leaf: bool
    keys: tuple[int, ...]
    values: bytes

    @property
    def children(self) -> tuple[int, ...]:
        """The block numbers in an internal node."""
        return struct.unpack(f"<{len(self.keys)}Q", self.values)


class Damage(Struct, frozen=True):
    """Keys from ``first`` to before ``end`` that can't be known, and why."""

    first: int
    end: int
    reason: str


class MetadataBlocks:
    """The blocks of one metadata device, each verified when it is read. The last thousand nodes are kept."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self.count = device.size // BLOCK_BYTES
        self._nodes: dict[tuple[int, int], Node] = {}

    def read(self, number: int, own_number_at: int, kind: BlockKind) -> bytes:
        """A block that says which one it is in the u64 at ``own_number_at``.

        Raises:
            CorruptError: it lies past the end, or is damaged.
            OSError: it can't be read.
        """
        if number >= self.count:
            raise CorruptError(f"thin-pool metadata block {number}: there are only {self.count} blocks")
        block = self._device.read_at(number * BLOCK_BYTES, BLOCK_BYTES)
        verify_block(block, number, int.from_bytes(block[own_number_at : own_number_at + 8], "little"), kind)
        return block

    def node(self, number: int, value_bytes: int) -> Node:
        """A node of a tree whose leaves have values of ``value_bytes``. Raises as :meth:`read`."""
        known = self._nodes.get((number, value_bytes))
        if known is not None:
            return known
        node = _parse_node(self.read(number, 8, BlockKind.BTREE), number, value_bytes)
        if len(self._nodes) >= _KEPT_NODES:
            self._nodes.clear()
        self._nodes[number, value_bytes] = node
        return node

    def leaves(self, root: int, value_bytes: int) -> Iterator[Node | Damage]:
        """The leaves of a tree in the order of their keys, and in the place of a damaged part what is wrong with it.

        A block reached twice in one tree is damage, so every walk ends.
        """
        pending = [(root, 0, KEY_END, 0)]
        seen: set[int] = set()
        while pending:
            number, first, end, depth = pending.pop()
            try:
                if number in seen:
                    raise CorruptError(f"thin-pool metadata block {number}: reached twice in one tree")
                seen.add(number)
                node = self.node(number, value_bytes)
                if depth == _MAX_DEPTH:
                    raise CorruptError(f"thin-pool metadata block {number}: more than {_MAX_DEPTH} levels down")
                if node.keys and not first <= node.keys[0] <= node.keys[-1] < end:
                    raise CorruptError(
                        f"thin-pool metadata block {number}: keys {node.keys[0]} to {node.keys[-1]},"
                        f" expected {first} to {end - 1}"
                    )
            except CorruptError as error:
                yield Damage(first, end, str(error))
                continue
            if node.is_leaf:
                yield node
                continue
            bounds = (*node.keys, end)
            below = [(child, bounds[i], bounds[i + 1], depth + 1) for i, child in enumerate(node.children)]
            pending.extend(reversed(below))


def _parse_node(block: bytes, number: int, value_bytes: int) -> Node:
    _check, flags, _own, entries, room, stored_bytes, _padding = _HEADER.unpack_from(block)
    name = f"thin-pool metadata block {number}"
    if flags not in (_INTERNAL, _LEAF):
        raise CorruptError(f"{name}: node flags {flags:#x}, expected 1 (internal) or 2 (leaf)")
    is_leaf = flags == _LEAF
    expected = value_bytes if is_leaf else _CHILD_BYTES
    if stored_bytes != expected:
        raise CorruptError(f"{name}: values of {stored_bytes} bytes, expected {expected}")
    if entries > room or _HEADER.size + room * (8 + expected) > BLOCK_BYTES:
        raise CorruptError(f"{name}: {entries} entries in room for {room} of {8 + expected} bytes don't fit")
    if not entries and not is_leaf:
        raise CorruptError(f"{name}: an internal node without children")
    keys = struct.unpack_from(f"<{entries}Q", block, _HEADER.size)
    if any(key >= following for key, following in pairwise(keys)):
        raise CorruptError(f"{name}: its keys don't rise")
    values = _HEADER.size + room * 8
    return Node(number, is_leaf, keys, block[values : values + entries * expected])
