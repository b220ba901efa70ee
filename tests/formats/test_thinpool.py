"""Thin pools: the sample pools against thin_dump and the kernel's own counts, and what damage costs."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from memory_device import MemoryDevice
from thin_samples import DATA, ENGINES, dump_path, metadata, read_dump
from thin_space_map import recorded_counts, wrong_counts

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks.crc32c import crc32c
from layerscope.formats.thinpool import BlockMap, DumpedPool, MetadataPool, Pool, Run, ThinBlocks, open_pool
from layerscope.formats.thinpool.btree import Damage

SAMPLES = (*ENGINES, "seed-figure")
_BLOCK = 4096
_BTREE = 121107


def opened(data: bytes) -> MetadataPool:
    pool = open_pool(MemoryDevice(data))
    assert isinstance(pool, MetadataPool)
    return pool


def blocks_of(block_map: BlockMap) -> dict[int, tuple[int, int]]:
    return {run.virtual + i: (run.data + i, run.time) for run in block_map for i in range(run.length)}


def sealed(block: bytearray, kind: int = _BTREE) -> bytes:
    """A block with the check value that its contents demand."""
    struct.pack_into("<I", block, 0, crc32c(memoryview(block)[4:]) ^ kind)
    return bytes(block)


def changed(data: bytes, number: int, offset: int, layout: str, *values: int) -> bytes:
    """Metadata with a field of one node changed, and its check value made right again."""
    block = bytearray(data[number * _BLOCK : (number + 1) * _BLOCK])
    struct.pack_into(layout, block, offset, *values)
    return data[: number * _BLOCK] + sealed(block) + data[(number + 1) * _BLOCK :]


# ---------------------------------------------------------------------- what it says
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("source", ["metadata", "dump"])
def test_every_mapping_is_that_of_thin_dump(sample: str, source: str) -> None:
    expected = read_dump(dump_path(sample))
    data = metadata(sample) if source == "metadata" else dump_path(sample).read_bytes()
    pool = open_pool(MemoryDevice(data))
    assert isinstance(pool, MetadataPool if source == "metadata" else DumpedPool)
    assert pool.faults == []
    assert pool.devices.keys() == expected.keys()
    for number, dumped in expected.items():
        device, block_map = pool.devices[number], pool.block_map(number)
        assert (device.mapped_blocks, device.transaction, device.creation_time, device.snapshotted_time) == dumped[:4]
        assert blocks_of(block_map) == dumped.blocks
        assert block_map.mapped == len(dumped.blocks)
        assert block_map.damages == ()
        for virtual in (*dumped.blocks, 0, 5, 4799, 1 << 40):
            assert block_map.lookup(virtual) == dumped.blocks.get(virtual)


@pytest.mark.parametrize("sample", SAMPLES)
def test_runs_are_as_long_as_those_of_thin_dump(sample: str) -> None:
    written = dump_path(sample).read_text()
    pool = opened(metadata(sample))
    assert sum(len(pool.block_map(number)) for number in pool.devices) == written.count("_mapping ")


@pytest.mark.parametrize("sample", ENGINES)
def test_facts_of_the_pool_are_those_that_the_kernel_told(sample: str) -> None:
    status = (DATA / sample / "truth" / "dmsetup-status.txt").read_text().split()
    transaction, used_metadata, used_data = int(status[4]), status[5].split("/"), status[6].split("/")
    pool = opened(metadata(sample))
    superblock = pool.superblock
    assert pool.transaction == transaction
    assert (superblock.data_space.allocated, pool.data_blocks) == (int(used_data[0]), int(used_data[1]))
    assert pool.uses().allocated == int(used_data[0])
    reserve = min(4096, superblock.metadata_space.blocks // 10)
    assert superblock.metadata_space.blocks == int(used_metadata[1])
    assert superblock.metadata_space.allocated + reserve == int(used_metadata[0])
    assert pool.block_bytes == 64 << 10
    assert not pool.needs_check


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("source", ["metadata", "dump"])
def test_uses_count_the_devices_that_map_a_block(sample: str, source: str) -> None:
    devices = read_dump(dump_path(sample)).values()
    expected = Counter(data for device in devices for data, _time in device.blocks.values())
    uses = open_pool(MemoryDevice(metadata(sample) if source == "metadata" else dump_path(sample).read_bytes())).uses()
    assert dict(uses.blocks()) == expected
    assert [uses.of(block) for block in range(max(expected) + 2)] == [expected[b] for b in range(max(expected) + 2)]
    spans = [count for length, count in uses.spans(0, max(expected) + 2) for _ in range(length)]
    assert spans == [expected[block] for block in range(max(expected) + 2)]


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_kernels_own_reference_counts_agree(sample: str) -> None:
    pool = opened(metadata(sample))
    assert len(list(recorded_counts(pool))) == pool.superblock.data_space.allocated
    assert wrong_counts(pool) == []


def test_a_wrong_reference_count_is_found() -> None:
    data = metadata("ext4")
    pool = opened(data)
    root = pool.superblock.data_space.bitmap_root
    (bitmap,) = struct.unpack_from("<Q", pool.blocks.node(root, 16).values)
    block = bytearray(data[bitmap * _BLOCK : (bitmap + 1) * _BLOCK])
    assert block[16 + 600 // 4] == 0  # data blocks 600 to 603 …
    block[16 + 600 // 4] = 0b10  # … of which the first now has one reference too many
    if opened(data).uses().of(600):
        pytest.fail("the sample uses block 600")
    damaged = data[: bitmap * _BLOCK] + sealed(block, 240779) + data[(bitmap + 1) * _BLOCK :]
    assert wrong_counts(opened(damaged)) == [(600, 1, 0)]


@pytest.mark.skipif(shutil.which("thin_restore") is None, reason="needs thin_restore and thin_dump")
@pytest.mark.parametrize("seed", range(3))
def test_random_pools_of_several_tree_levels_equal_thin_dump(seed: int, tmp_path: Path) -> None:
    source = random.Random(seed)
    plan = tmp_path / "plan.xml"
    plan.write_text(random_pool(source))
    image = tmp_path / "metadata"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["thin_restore", "-i", str(plan), "-o", str(image)], check=True, capture_output=True)
    dump = tmp_path / "dump.xml"
    dump.write_bytes(subprocess.run(["thin_dump", str(image)], check=True, capture_output=True).stdout)
    expected = read_dump(dump)
    pool = opened(image.read_bytes())
    assert pool.devices.keys() == expected.keys()
    assert all(blocks_of(pool.block_map(number)) == dumped.blocks for number, dumped in expected.items())
    assert wrong_counts(pool) == []


def random_pool(source: random.Random) -> str:
    """A plan for thin_restore: fifteen devices, each a snapshot of an earlier one with its own writes."""
    maps: list[dict[int, tuple[int, int]]] = [{}]
    used = 0
    for time in range(1, 16):
        own = dict(source.choice(maps))
        for _ in range(source.randrange(40)):
            start = source.randrange(1 << source.choice([8, 14, 18]))
            for virtual in range(start, start + source.randrange(1, 300)):
                own[virtual] = (used, time)
                used += 1
        for _ in range(source.randrange(600)):
            own[source.randrange(1 << 18)] = (used, time)
            used += 1
        maps.append(own)
    lines = [f'<superblock uuid="" time="15" transaction="15" flags="0" version="2" data_block_size="128" '
             f'nr_data_blocks="{used + 1}">']  # fmt: skip
    for number, own in enumerate(maps[1:], 1):
        lines.append(
            f'<device dev_id="{number}" mapped_blocks="{len(own)}" transaction="1" creation_time="{number}" '
            f'snap_time="15">'
        )
        lines += [
            f'<single_mapping origin_block="{virtual}" data_block="{own[virtual][0]}" time="{own[virtual][1]}"/>'
            for virtual in sorted(own)
        ]
        lines.append("</device>")
    return "\n".join([*lines, "</superblock>"])


# ---------------------------------------------------------------------- damage
def test_a_superblock_with_a_wrong_check_value_is_refused() -> None:
    data = bytearray(metadata("ext4"))
    data[44] ^= 1
    with pytest.raises(CorruptError, match="thin-pool metadata block 0: check value"):
        open_pool(MemoryDevice(bytes(data)))


@pytest.mark.parametrize(("length", "said"), [(0, "0 bytes, expected at least 4096"), (4095, "4095 bytes")])
def test_metadata_that_ends_early_is_refused(length: int, said: str) -> None:
    with pytest.raises(CorruptError, match=said):
        open_pool(MemoryDevice(metadata("ext4")[:length]))


def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(CorruptError, match="magic 0x0 at offset 32, expected 0x19c52ba"):
        open_pool(MemoryDevice(bytes(8192)))


def test_a_newer_format_is_told() -> None:
    block = bytearray(metadata("ext4")[:_BLOCK])
    struct.pack_into("<I", block, 360, 1)
    with pytest.raises(UnsupportedError, match="version 2 with incompatible features 0x1"):
        open_pool(MemoryDevice(sealed(block, 160774)))


def leaf_of(pool: MetadataPool, device: int) -> int:
    """A leaf of one device's tree."""
    leaf = next(iter(pool.blocks.leaves(pool.roots[device], 8)))
    assert not isinstance(leaf, Damage)
    return leaf.number


def test_a_damaged_leaf_costs_its_own_blocks_only() -> None:
    data = bytearray(metadata("ext4"))
    whole = opened(bytes(data))
    leaves = [leaf for leaf in whole.blocks.leaves(whole.roots[20], 8) if not isinstance(leaf, Damage)]
    assert len(leaves) > 2
    lost = leaves[1]
    data[lost.number * _BLOCK + 2000] ^= 0x40
    pool = opened(bytes(data))
    block_map = pool.block_map(20)
    (damage,) = block_map.damages
    assert (damage.first, damage.end) == (lost.keys[0], leaves[2].keys[0])
    assert f"thin-pool metadata block {lost.number}: check value" in damage.reason
    intact = whole.block_map(20)
    for virtual, place in blocks_of(intact).items():
        if virtual in lost.keys:
            with pytest.raises(CorruptError, match=f"where virtual block {virtual:#x} lies is not known"):
                block_map.lookup(virtual)
        else:
            assert block_map.lookup(virtual) == place
    with pytest.raises(CorruptError, match="is not known"):
        list(block_map.pieces(0, damage.end))


def test_a_truncated_metadata_device_names_the_missing_blocks() -> None:
    data = metadata("ext4")
    superblock = opened(data).superblock
    first, second = sorted((superblock.details_root, superblock.mapping_root))
    for cut, faults in ((first, 2), (second, 1)):
        pool = opened(data[: cut * _BLOCK])
        told = [fault for fault in pool.faults if f"there are only {cut} blocks" in fault]
        assert len(told) == faults
    astray = changed(data, opened(data).roots[20], 32 + 252 * 8, "<Q", 4096)
    (damage, *_) = opened(astray).block_map(20).damages
    assert damage.reason == "thin-pool metadata block 4096: there are only 4096 blocks"


def test_a_loop_ends_and_is_told() -> None:
    data = metadata("ext4")
    whole = opened(data)
    root = whole.blocks.node(whole.roots[20], 8)
    assert not root.is_leaf
    looped = changed(data, root.number, 32 + 252 * 8, "<Q", root.number)
    pool = opened(looped)
    reasons = [damage.reason for damage in pool.block_map(20).damages]
    assert f"thin-pool metadata block {root.number}: reached twice in one tree" in reasons
    assert pool.uses().allocated > 0


def test_a_block_in_the_wrong_place_is_refused() -> None:
    data = bytearray(metadata("ext4"))
    whole = opened(bytes(data))
    one, other = leaf_of(whole, 20), leaf_of(whole, 1)
    data[one * _BLOCK : (one + 1) * _BLOCK] = data[other * _BLOCK : (other + 1) * _BLOCK]
    (damage, *_) = opened(bytes(data)).block_map(20).damages
    assert damage.reason == f"thin-pool metadata block {one}: says it is block {other}"


@pytest.mark.parametrize(
    ("offset", "layout", "values", "said"),
    [
        (4, "<I", (3,), "node flags 0x3, expected 1 (internal) or 2 (leaf)"),
        (16, "<I", (253,), "253 entries in room for 252 of 16 bytes don't fit"),
        (20, "<I", (100_000,), "in room for 100000 of 16 bytes don't fit"),
        (24, "<I", (16,), "values of 16 bytes, expected 8"),
        (40, "<Q", (0,), "its keys don't rise"),
    ],
)
def test_a_node_whose_numbers_cant_be_is_refused(offset: int, layout: str, values: tuple[int, ...], said: str) -> None:
    whole = opened(metadata("ext4"))
    number = leaf_of(whole, 20)
    pool = opened(changed(metadata("ext4"), number, offset, layout, *values))
    assert said in pool.block_map(20).damages[0].reason


def test_keys_outside_of_what_the_parent_says_are_refused() -> None:
    whole = opened(metadata("ext4"))
    second = [leaf for leaf in whole.blocks.leaves(whole.roots[20], 8) if not isinstance(leaf, Damage)][1]
    pool = opened(changed(metadata("ext4"), second.number, 32, "<Q", second.keys[0] - 1))
    assert f"expected {second.keys[0]} to" in pool.block_map(20).damages[0].reason


def test_a_data_block_past_the_pools_end_is_told() -> None:
    whole = opened(metadata("ext4"))
    number = leaf_of(whole, 20)
    keys = whole.blocks.node(number, 8).keys
    pool = opened(changed(metadata("ext4"), number, 32 + 252 * 8, "<Q", 20_000 << 24 | 7))
    (damage,) = pool.block_map(20).damages
    assert (damage.first, damage.end) == (keys[0], keys[0] + 1)
    assert damage.reason == "data block 0x4e20 lies past the pool's 16384 blocks"


def test_a_device_without_details_or_mappings_is_told() -> None:
    data = metadata("seed-figure")
    details = opened(data).superblock.details_root
    pool = opened(changed(data, details, 32, "<Q", 0))
    assert pool.faults == ["device 1 has mappings but no details", "device 0 has details but no mappings"]
    with pytest.raises(CorruptError, match="thin device 0 has no mappings"):
        pool.block_map(0)


def test_is_current_notices_a_commit() -> None:
    data = bytearray(metadata("ext4"))
    pool = opened(bytes(data))
    assert pool.is_current()

    class Changing:
        size = len(data)

        def read_at(self, offset: int, size: int) -> bytes:
            return bytes(data[offset : offset + size])

    live: Pool = open_pool(Changing())
    assert live.is_current()
    block = data[:_BLOCK]
    struct.pack_into("<Q", block, 48, 37)
    data[:_BLOCK] = sealed(block, 160774)
    assert not live.is_current()


# ---------------------------------------------------------------------- the XML
_HEAD = '<superblock uuid="" time="3" transaction="2" data_block_size="128" nr_data_blocks="100">'


def dumped(text: str) -> DumpedPool:
    return DumpedPool(MemoryDevice(text.encode()))


def test_mappings_that_devices_share_are_written_once() -> None:
    pool = dumped(
        f"""{_HEAD}
        <def name="shared"><range_mapping origin_begin="10" data_begin="5" length="3" time="0"/></def>
        <device dev_id="1" mapped_blocks="4" transaction="0" creation_time="0" snap_time="1">
          <single_mapping origin_block="0" data_block="1" time="0"/><ref name="shared"/>
        </device>
        <device dev_id="2" mapped_blocks="4" transaction="1" creation_time="1" snap_time="1">
          <ref name="shared"/><single_mapping origin_block="20" data_block="2" time="1"/>
        </device></superblock>"""
    )
    assert list(pool.block_map(1)) == [Run(0, 1, 1, 0), Run(10, 5, 3, 0)]
    assert list(pool.block_map(2)) == [Run(10, 5, 3, 0), Run(20, 2, 1, 1)]
    assert [pool.uses().of(block) for block in (1, 2, 5, 6, 7, 8)] == [1, 1, 2, 2, 2, 0]


_DEVICE = '<device dev_id="1" mapped_blocks="1" transaction="0" creation_time="0" snap_time="0">'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<superblock", "unclosed token"),
        ("<other/>", "has no superblock element"),
        (_HEAD + "<device dev_id='-1'/>", "line 1: dev_id is '-1', expected a number below 16777216"),
        (_HEAD + "<device dev_id='1'/>", "mapped_blocks is ''"),
        (_HEAD + f"{_DEVICE}</device>{_DEVICE}</device>", "device 1 again"),
        (_HEAD + "<single_mapping origin_block='0' data_block='0' time='0'/>", "a mapping outside of a device"),
        (_HEAD + f"{_DEVICE}<ref name='x'/>", "a ref to mappings that are not defined before it"),
        (_HEAD + f"{_DEVICE}<single_mapping origin_block='0' data_block='100' time='0'/>", "past the pool's 100"),
        (_HEAD + f"{_DEVICE}<range_mapping origin_begin='0' data_begin='99' length='2' time='0'/>", "past the pool's"),
        (_HEAD.replace("128", "129"), "data blocks of 129 sectors"),
    ],
)
def test_a_dump_that_cant_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(CorruptError, match=said):
        dumped(text)


def test_a_document_type_is_refused() -> None:
    text = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + _HEAD + "</superblock>"
    with pytest.raises(UnsupportedError, match="document type"):
        dumped(text)


def test_mappings_that_overlap_are_refused() -> None:
    pool = dumped(
        f"""{_HEAD}{_DEVICE}<range_mapping origin_begin="0" data_begin="5" length="3" time="0"/>
        <single_mapping origin_block="2" data_block="9" time="0"/></device></superblock>"""
    )
    with pytest.raises(CorruptError, match="virtual block 2 is mapped twice"):
        pool.block_map(1)


# ---------------------------------------------------------------------- the device's bytes
def test_bytes_of_a_device_come_from_where_its_blocks_lie() -> None:
    data = b"".join(bytes([number]) * 8 for number in range(10))
    block_map = BlockMap([Run(1, 7, 2, 0), Run(4, 2, 1, 0)])
    device = ThinBlocks(block_map, 8, MemoryDevice(data), 37)
    whole = bytes(8) + b"\x07" * 8 + b"\x08" * 8 + bytes(8) + b"\x02" * 5
    assert device.read_at(0, 37) == whole
    for start in range(38):
        for end in range(start, 38):
            assert device.read_at(start, end - start) == whole[start:end]
    with pytest.raises(CorruptError, match="bytes 37 to 38 are asked for, but there are only 37"):
        device.read_at(37, 1)


def test_data_that_is_cut_short_names_the_block() -> None:
    device = ThinBlocks(BlockMap([Run(0, 3, 1, 0)]), 8, MemoryDevice(bytes(28)), 8)
    assert device.read_at(0, 4) == bytes(4)
    with pytest.raises(CorruptError, match="the pool's data, block 0x3: bytes 24 to 32"):
        device.read_at(0, 8)
