"""A thin pool: its devices, each one's block map, and what they share; read from the pool's metadata.

| tree | key | value |
| --- | --- | --- |
| details | device id | u64 mapped blocks, u64 transaction at creation, u32 creation time, u32 last snapshotted time |
| mapping, upper | device id | u64 root of that device's own tree |
| mapping, lower | virtual block | u64: the data block in the upper 40 bits, the time in the lower 24 |

Time goes up by one at each snapshot; the origin's snapshotted time and both times of the snapshot become the new time.
A mapping's time is the pool's when the block was written, so one below a device's creation time was inherited.

Source: Linux drivers/md/dm-thin-metadata.c; seen with kernel 6.1 and thin_restore 0.9.0.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Protocol

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice
from layerscope.formats.thinpool.block_map import BlockMap, Run, UseCounts
from layerscope.formats.thinpool.btree import Damage, MetadataBlocks, Node
from layerscope.formats.thinpool.superblock import BLOCK_BYTES, Superblock, parse_superblock

MAX_DEVICE_ID = (1 << 24) - 1
_DETAILS = struct.Struct("<QQII")
_POINTER_BYTES = 8
_TIME_BITS = 24
_TIME_MASK = (1 << _TIME_BITS) - 1
_KEPT_MAPS = 64
_TOLD = 100


class ThinDevice(Struct, frozen=True):
    """What a pool records of one device. Times count snapshots of the pool, ``transaction`` docker's changes to it."""

    device_id: int
    mapped_blocks: int
    transaction: int
    creation_time: int
    snapshotted_time: int


class Pool(Protocol):
    """What is asked of a pool, however its metadata was handed over.

    ``faults`` says, one sentence each, what is damaged in the pool as a whole; a device's own damage is in its map.
    """

    block_bytes: int
    time: int
    transaction: int
    data_blocks: int
    needs_check: bool
    faults: list[str]

    @property
    def devices(self) -> Mapping[int, ThinDevice]:
        """Every device, by its id."""

    def block_map(self, device_id: int) -> BlockMap:
        """The map of one device. Raises CorruptError if there is no such device, OSError."""

    def uses(self) -> UseCounts:
        """By how many devices each data block is mapped; damaged parts count for nothing. Raises OSError."""

    def is_current(self) -> bool:
        """Whether the metadata is still that which was opened. Raises OSError."""


class MetadataPool:
    """A pool whose metadata device, or a copy of it, can be read. Satisfies :class:`Pool`.

    Opening reads the superblock, the details and the list of devices; maps are read when asked for.
    """

    def __init__(self, device: BlockDevice) -> None:
        """Read what ``device`` holds.

        Raises:
            CorruptError: the superblock is not one or is damaged.
            UnsupportedError: a newer format.
            OSError: it can't be read.
        """
        self._device = device
        self._first_block = device.read_at(0, min(BLOCK_BYTES, device.size))
        self.superblock: Superblock = parse_superblock(self._first_block)
        self.blocks = MetadataBlocks(device)
        self.block_bytes = self.superblock.data_block_bytes
        self.time = self.superblock.time
        self.transaction = self.superblock.transaction
        self.data_blocks = self.superblock.data_space.blocks
        self.needs_check = self.superblock.needs_check
        self.faults: list[str] = []
        self._maps: dict[int, BlockMap] = {}
        self._details = self._read_details()
        self.roots = self._read_roots()
        """Device id to the block in which its own tree begins."""

    @property
    def devices(self) -> Mapping[int, ThinDevice]:
        """Every device that has details or a tree, by its id."""
        return self._details

    def is_current(self) -> bool:
        """Whether no commit has changed the superblock since this was opened."""
        return self._device.read_at(0, min(BLOCK_BYTES, self._device.size)) == self._first_block

    def _read_details(self) -> dict[int, ThinDevice]:
        found = {}
        for leaf in self.blocks.leaves(self.superblock.details_root, _DETAILS.size):
            if isinstance(leaf, Damage):
                self._tell(f"device details: {leaf.reason}")
                continue
            for device_id, fields in zip(leaf.keys, _DETAILS.iter_unpack(leaf.values), strict=True):
                if self._is_id(device_id, leaf):
                    found[device_id] = ThinDevice(device_id, *fields)
        return found

    def _read_roots(self) -> dict[int, int]:
        found = {}
        for leaf in self.blocks.leaves(self.superblock.mapping_root, _POINTER_BYTES):
            if isinstance(leaf, Damage):
                self._tell(f"mappings of devices {leaf.first} to {min(leaf.end - 1, MAX_DEVICE_ID)}: {leaf.reason}")
                continue
            for device_id, root in zip(leaf.keys, leaf.children, strict=True):
                if self._is_id(device_id, leaf):
                    found[device_id] = root
                    if device_id not in self._details:
                        self._tell(f"device {device_id} has mappings but no details")
                        self._details[device_id] = ThinDevice(device_id, 0, 0, 0, 0)
        for device_id in self._details.keys() - found.keys():
            self._tell(f"device {device_id} has details but no mappings")
        return found

    def _is_id(self, device_id: int, leaf: Node) -> bool:
        if device_id <= MAX_DEVICE_ID:
            return True
        self._tell(f"metadata block {leaf.number}: device id {device_id}, expected at most {MAX_DEVICE_ID}")
        return False

    def _tell(self, fault: str) -> None:
        if len(self.faults) < _TOLD:
            self.faults.append(fault)

    # ------------------------------------------------------------------ maps
    def block_map(self, device_id: int) -> BlockMap:
        """The map of one device; the last ones read are kept.

        Raises:
            CorruptError: the pool has no such device, or nothing is known of its mappings.
            OSError: the metadata can't be read.
        """
        known = self._maps.get(device_id)
        if known is not None:
            return known
        root = self.roots.get(device_id)
        if root is None:
            raise CorruptError(f"thin device {device_id} has no mappings in the pool's metadata")
        damages: list[Damage] = []
        runs = self._runs(self.blocks.leaves(root, _POINTER_BYTES), damages)
        found = BlockMap(runs, damages)
        if len(self._maps) >= _KEPT_MAPS:
            self._maps.clear()
        self._maps[device_id] = found
        return found

    def _runs(self, leaves: Iterator[Node | Damage], damages: list[Damage]) -> Iterator[Run]:
        for leaf in leaves:
            if isinstance(leaf, Damage):
                damages.append(leaf)
                continue
            for run in runs_of(leaf):
                left = self.data_blocks - run.data
                if left < run.length:
                    reason = f"data block {run.data + max(left, 0):#x} lies past the pool's {self.data_blocks} blocks"
                    damages.append(Damage(run.virtual + max(left, 0), run.virtual + run.length, reason))
                if left > 0:
                    yield run if left >= run.length else run._replace(length=left)

    def uses(self) -> UseCounts:
        """By how many devices each data block is mapped.

        A leaf that many devices share is read once; through how many devices it is reached is counted on the way down,
        so this takes time in proportion to the metadata, however many devices there are.
        """
        spans, reached, complete = self._leaf_spans()
        counted = (
            (start, length, reached[leaf])
            for leaf, flat in spans.items()
            for start, length in zip(flat[::2], flat[1::2], strict=True)
        )
        return UseCounts(counted, complete)

    def _leaf_spans(self) -> tuple[dict[int, array[int]], Counter[int], bool]:
        """Each leaf's (data block, length) pairs, flat; by how many devices each node is reached; if that is all."""
        children: dict[int, tuple[int, ...]] = {}
        spans: dict[int, array[int]] = {}
        reached = Counter(self.roots.values())
        order = self._children_first(children, spans)
        for number in reversed(order):
            for child in children.get(number, ()):
                reached[child] += reached[number]
        complete = len(self.roots) == len(self.devices) and len(children) + len(spans) == len(order)
        return spans, reached, complete

    def _children_first(self, children: dict[int, tuple[int, ...]], spans: dict[int, array[int]]) -> list[int]:
        """All nodes of all devices' trees, each behind those below it; fills both mappings. Loops are cut."""
        order: list[int] = []
        open_nodes: set[int] = set()
        done: set[int] = set()
        for root in dict.fromkeys(self.roots.values()):
            pending = [(root, False)]
            while pending:
                number, is_read = pending.pop()
                if is_read:
                    open_nodes.discard(number)
                    done.add(number)
                    order.append(number)
                    continue
                if number in done or number in open_nodes:
                    continue
                open_nodes.add(number)
                pending.append((number, True))
                try:
                    node = self.blocks.node(number, _POINTER_BYTES)
                except CorruptError:
                    continue  # told by the map of each device that reaches it
                if node.is_leaf:
                    limit = self.data_blocks
                    spans[number] = array(
                        "Q", (part for run in runs_of(node) if run.data + run.length <= limit for part in run[1:3])
                    )
                else:
                    children[number] = node.children
                    pending.extend((child, False) for child in node.children)
        return order


def runs_of(leaf: Node) -> Iterator[Run]:
    """The mappings in a leaf of a device's tree, adjoining ones together."""
    if not leaf.keys:
        return
    first_key, first_data, length, time = leaf.keys[0], -1, 0, -1
    for key, value in zip(leaf.keys, leaf.children, strict=True):
        data = value >> _TIME_BITS
        if length and key == first_key + length and data == first_data + length and (value & _TIME_MASK) == time:
            length += 1
            continue
        if length:
            yield Run(first_key, first_data, length, time)
        first_key, first_data, length, time = key, data, 1, value & _TIME_MASK
    yield Run(first_key, first_data, length, time)
