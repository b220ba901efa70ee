"""Mutated pools, dumps and file systems: only our own errors, in bounded time and memory.

300 inputs for each format in every run, 10,000 with ``-m full``. The mutations are of a seeded source, so a failure
names the input that shows it.
"""

from __future__ import annotations

import gzip
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_device import MemoryDevice
from thin_samples import dump_path, metadata

from layerscope.errors import LayerscopeError
from layerscope.formats.blocks.crc32c import crc32c
from layerscope.formats.blocks.inode_tree import InodeDirectory
from layerscope.formats.ext4 import FileSystem
from layerscope.formats.thinpool import DumpedPool, MetadataPool
from layerscope.model.tree import LayerDirectory

_DATA = Path(__file__).parents[1] / "data"
_SECONDS = 5.0
_MEMORY = 64 << 20
_POOL_BLOCK = 4096
_BTREE = 121107
_INTERESTING = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, source: random.Random, places: list[int]) -> bytearray:
    """``data`` with one to eight changes, each at one of ``places`` or a little behind it."""
    copy = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 3, 8))):
        at = min(source.choice(places) + source.randrange(64), len(copy) - 8)
        how = source.randrange(5)
        if how == 0:
            copy[at] ^= 1 << source.randrange(8)
        elif how == 1:
            copy[at] = source.randrange(256)
        elif how == 2:
            struct.pack_into("<H", copy, at & ~1, source.choice(_INTERESTING) & 0xFFFF)
        elif how == 3:
            struct.pack_into("<I", copy, at & ~3, source.choice(_INTERESTING))
        else:
            other = source.choice(places)
            length = min(source.choice((4, 8, 16, 64)), len(copy) - max(at, other))
            copy[at : at + length] = copy[other : other + length]
    return copy


def used_places(data: bytes, step: int) -> list[int]:
    """Offsets of every piece of ``step`` bytes that isn't zero."""
    return [at for at in range(0, len(data) - step, step) if any(data[at : at + step])]


def read_pool(data: bytes) -> None:
    pool = MetadataPool(MemoryDevice(data))
    for number in list(pool.devices)[:40]:
        try:
            block_map = pool.block_map(number)
            list(block_map)
            for virtual in (0, 0x44F, 0x94F, 1 << 40):
                block_map.lookup(virtual)
            list(block_map.pieces(0, 5000))
        except LayerscopeError:
            pass
    assert pool.uses().allocated >= 0


def read_dump(data: bytes) -> None:
    pool = DumpedPool(MemoryDevice(data))
    for number in pool.devices:
        try:
            list(pool.block_map(number))
        except LayerscopeError:
            pass
    pool.uses()


def read_file_system(data: bytes) -> None:
    system = FileSystem(MemoryDevice(data))
    pending: list[LayerDirectory] = [InodeDirectory(system, 1)]
    directories = 0
    while pending:
        directory = pending.pop()
        directories += 1
        assert directories < 500, "a walk that doesn't end"
        try:
            listed = dict(directory.scan())
            directory.stats(listed)
            directory.xattrs()
        except OSError:
            continue
        for name, kind in listed.items():
            assert "/" not in name
            try:
                directory.stat(name)
                directory.xattrs(name)
                if kind == "d":
                    pending.append(directory.enter(name))
                elif kind == "l":
                    directory.readlink(name)
                elif kind == "f":
                    with directory.open(name) as file:
                        file.read(1 << 17)
                        file.seek(-1 << 10, 2)
                        file.read(1 << 10)
            except (OSError, ValueError) as error:
                # A file shorter than what is looked back for; everything else is damage, told as EIO.
                assert isinstance(error, OSError) or "before the beginning" in str(error)


def pool_image(source: random.Random) -> bytes:
    """A pool of which one block in two has its check value made right again, so that damage is read, not refused."""
    data = mutated(metadata("seed-figure")[: 64 * _POOL_BLOCK], source, _POOL_PLACES)
    if source.randrange(4):
        for number in range(len(data) // _POOL_BLOCK):
            at = number * _POOL_BLOCK
            for kind in (160774, _BTREE, 240779, 160478):
                original = metadata("seed-figure")[at : at + _POOL_BLOCK]
                if struct.unpack_from("<I", original)[0] == crc32c(original[4:]) ^ kind:
                    check = crc32c(memoryview(data)[at + 4 : at + _POOL_BLOCK]) ^ kind
                    struct.pack_into("<I", data, at, check)
    return bytes(data)


_POOL_PLACES = used_places(metadata("seed-figure")[: 64 * _POOL_BLOCK], 16)
_SMALL = gzip.decompress((_DATA / "ext4" / "small.img.gz").read_bytes())
_EXT2 = gzip.decompress((_DATA / "ext4" / "ext2.img.gz").read_bytes())
_LOOPS = gzip.decompress((_DATA / "ext4" / "loops.img.gz").read_bytes())
_PLACES = {id(data): used_places(data, 16) for data in (_SMALL, _EXT2, _LOOPS)}
_DUMP = dump_path("seed-figure").read_bytes()


def file_system_image(source: random.Random) -> bytes:
    data = source.choice((_SMALL, _EXT2, _LOOPS))
    places = _PLACES[id(data)]
    image = mutated(data, source, places)
    if not source.randrange(10):
        del image[source.randrange(2048, len(image)) :]
    return bytes(image)


def dump_text(source: random.Random) -> bytes:
    text = bytearray(_DUMP)
    for _ in range(source.choice((1, 2, 4))):
        at = source.randrange(len(text))
        how = source.randrange(4)
        if how == 0:
            text[at] = source.randrange(256)
        elif how == 1:
            del text[at : at + source.randrange(1, 80)]
        elif how == 2:
            other = source.randrange(len(text))
            text[at:at] = text[other : other + source.randrange(1, 200)]
        else:
            text[at:at] = source.choice((b"999999999999999999999", b"<ref name='1'/>", b"&a;", b"-", b"\xff"))
    return bytes(text)


_FORMATS: dict[str, tuple[Callable[[random.Random], bytes], Callable[[bytes], None]]] = {
    "pool": (pool_image, read_pool),
    "dump": (dump_text, read_dump),
    "ext4": (file_system_image, read_file_system),
}


def survive(name: str, seeds: range) -> None:
    """Read one mutated input for each seed."""
    make, read = _FORMATS[name]
    refused = 0
    for seed in seeds:
        data = make(random.Random(f"{name} {seed}"))
        began = time.process_time()
        try:
            read(data)
        except LayerscopeError:
            refused += 1
        except BaseException as error:
            error.add_note(f"seed {seed} of {name}")
            raise
        assert time.process_time() - began < _SECONDS, f"seed {seed} of {name} takes too long"
    assert refused < len(seeds), "no input is read at all: the mutations are too coarse"


@pytest.mark.parametrize("name", _FORMATS)
def test_300_mutated_inputs_raise_only_our_own_errors(name: str) -> None:
    survive(name, range(300))


@pytest.mark.parametrize("name", _FORMATS)
def test_mutated_inputs_take_bounded_memory(name: str) -> None:
    make, read = _FORMATS[name]
    inputs = [make(random.Random(f"{name} {seed}")) for seed in range(40)]
    tracemalloc.start()
    try:
        for data in inputs:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                read(data)
            except LayerscopeError:
                pass
            assert tracemalloc.get_traced_memory()[1] - before < _MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.full
@pytest.mark.parametrize("name", _FORMATS)
def test_10000_mutated_inputs_raise_only_our_own_errors(name: str) -> None:
    survive(name, range(300, 10_300))
