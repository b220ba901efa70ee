"""Thin pools of device-mapper: their metadata, or a dump of it, and their devices' bytes."""

from __future__ import annotations

from layerscope.formats.blocks.device import BlockDevice
from layerscope.formats.thinpool.block_map import BlockMap, Piece, Run, UseCounts
from layerscope.formats.thinpool.device import ThinBlocks
from layerscope.formats.thinpool.dump import DumpedPool
from layerscope.formats.thinpool.pool import MetadataPool, Pool, ThinDevice

__all__ = [
    "BlockMap",
    "DumpedPool",
    "MetadataPool",
    "Piece",
    "Pool",
    "Run",
    "ThinBlocks",
    "ThinDevice",
    "UseCounts",
    "open_pool",
]


def open_pool(file: BlockDevice) -> Pool:
    """The pool described by ``file``: the pool's metadata device (or a copy of it), or the XML of ``thin_dump``.

    Raises:
        CorruptError: it is neither, or damaged.
        UnsupportedError: a newer format.
        OSError: it can't be read.
    """
    beginning = file.read_at(0, min(64, file.size)).lstrip(b"\xef\xbb\xbf \t\r\n")
    return DumpedPool(file) if beginning.startswith(b"<") else MetadataPool(file)
