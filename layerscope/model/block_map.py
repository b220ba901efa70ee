"""The blocks of a thin device: which level wrote each of them, who shares it, and where it lies in the pool.

A stack of thin devices has, below its levels, the base device: an empty file system that bottom layers are snapshots
of. It is level 0 here. Times count snapshots of the pool, not seconds. Blocks are the pool's, 64 KiB if docker made it.
"""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.digest import CacheID

BASE_LEVEL = 0
BASE_ROLE = "base"


class ThinLevel(Struct, frozen=True):
    """One level of a stack as a thin device; numbers are None where the device or its map isn't known as a whole.

    ``own`` blocks lie elsewhere than the parent's: ``copied`` ones which the parent maps, too, and ``new`` ones which
    it doesn't; ``unmapped`` ones only the parent maps. They are None where the parent isn't known. ``exclusive`` blocks
    are mapped by this device alone: what its removal would give back; ``shared`` the others; both None where the map of
    some device of the pool isn't known. ``mapped`` is their sum.
    """

    level: int
    role: str
    cache_id: CacheID | None
    device_id: int | None = None
    size_bytes: int | None = None
    transaction: int | None = None
    creation_time: int | None = None
    snapshotted_time: int | None = None
    mapped: int | None = None
    copied: int | None = None
    new: int | None = None
    unmapped: int | None = None
    exclusive: int | None = None
    shared: int | None = None

    @property
    def own(self) -> int | None:
        """How many blocks this level wrote itself."""
        return None if self.copied is None or self.new is None else self.copied + self.new


class BlockRun(Struct, frozen=True):
    """``length`` virtual blocks from ``virtual`` on, at ``data`` and behind it in the pool, written at ``time``.

    ``owner`` is the level that wrote them (None: it isn't known, only that the device inherited them); ``inherited``
    tells that it isn't this device, and ``as_of`` then the time of the snapshot by which they were passed on. ``uses``
    is the number of devices of the pool that map them.
    """

    virtual: int
    data: int
    length: int
    time: int
    uses: int
    owner: int | None
    inherited: bool
    as_of: int | None


class PoolFacts(Struct, frozen=True):
    """The pool as a whole; ``allocated`` data blocks are mapped by some device."""

    block_bytes: int
    time: int
    transaction: int
    data_blocks: int
    allocated: int
    needs_check: bool


class DeviceBlocks(Struct, frozen=True):
    """The block map of a stack's top device. ``levels`` top first, the base device last; ``runs`` by virtual block."""

    pool: PoolFacts
    levels: tuple[ThinLevel, ...]
    runs: tuple[BlockRun, ...]

    @property
    def device(self) -> ThinLevel:
        """The device whose map it is."""
        return self.levels[0]


class BlockStep(Struct, frozen=True):
    """What one level maps a virtual block to: ``data`` None if it doesn't map it, or nothing is known of it.

    ``note``: ``written here``, ``same block`` (as the device that is read), ``older copy``, ``not mapped`` or
    ``unknown``.
    """

    level: int
    role: str
    cache_id: CacheID | None
    device_id: int | None
    data: int | None
    time: int | None
    uses: int | None
    note: str


class BlockUse(Struct, frozen=True):
    """What a device's file system keeps in a block: ``kind`` in words; ``path`` in the view, with a leading slash.

    ``path`` is None for the file system's own blocks. Files beside the layer's (``in_layer`` false) are in no view:
    theirs is the path in the device.
    """

    kind: str
    path: str | None = None
    in_layer: bool = True


class BlockRead(Struct, frozen=True):
    """How one virtual block is read: ``steps`` from the device itself down to the base.

    ``data`` and ``data_offset`` (bytes) say where it lies in the pool's data, None if it isn't mapped: then it reads as
    zeros. ``owner`` is the level that wrote it. ``holds`` is what lies in it, None where that can't be told.
    """

    virtual: int
    block_bytes: int
    data: int | None
    time: int | None
    uses: int | None
    owner: int | None
    steps: tuple[BlockStep, ...]
    holds: tuple[BlockUse, ...] | None

    @property
    def offset(self) -> int:
        """The block's first byte in the device."""
        return self.virtual * self.block_bytes

    @property
    def data_offset(self) -> int | None:
        """Its first byte in the pool's data."""
        return None if self.data is None else self.data * self.block_bytes
