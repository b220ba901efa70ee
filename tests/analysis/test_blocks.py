"""Block maps of stacks of thin devices: the documents' figure, and the samples against sets made from thin_dump."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from thin_samples import dump_path, metadata, read_dump, truth, unpacked

from layerscope import open_root
from layerscope.analysis.blocks.devices import BlockAnalysis, ThinProvisioned
from layerscope.analysis.changes.views import docker_changes
from layerscope.drivers.devicemapper import DeviceMapper
from layerscope.errors import CorruptError
from layerscope.formats.thinpool import MetadataPool
from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.model.block_map import BlockUse
from layerscope.model.digest import CacheID
from layerscope.model.level import Level, Role

_FIGURE_DEVICES = {"base": 1, "layer1": 2, "layer2": 3, "layer3": 4, "one": 5, "two": 6}


@pytest.fixture(scope="module")
def ext4_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("ext4", tmp_path_factory.mktemp("blocks-ext4"))


@pytest.fixture
def figure(tmp_path: Path) -> DeviceMapper:
    """The pool of the figure with an engine's records around it."""
    home = tmp_path / "devicemapper"
    (home / "metadata").mkdir(parents=True)
    (home / "devicemapper").mkdir()
    (home / "devicemapper" / "metadata").write_bytes(metadata("seed-figure"))
    for name, number in _FIGURE_DEVICES.items():
        record = {"device_id": number, "size": 10 << 30, "transaction_id": number, "initialized": name == "base"}
        (home / "metadata" / name).write_text(json.dumps(record))
    return DeviceMapper(Directory.open_root(tmp_path), TRUSTED)


def stack(*names: str) -> list[Level]:
    """Levels of these devices, base first, the last one a container's."""
    roles = [Role.IMAGE] * (len(names) - 1) + [Role.RW]
    return [Level(n, role, CacheID(name)) for n, (role, name) in enumerate(zip(roles, names, strict=True), 1)]


# ---------------------------------------------------------------------- the documents' figure
def test_a_read_of_0x44f_in_the_container_ends_at_0xf33_of_the_first_layer(figure: DeviceMapper) -> None:
    assert isinstance(figure, ThinProvisioned)
    analysis = BlockAnalysis(figure, stack("layer1", "layer2", "layer3", "one"))
    read = analysis.read(0x44F)
    assert (read.data, read.owner, read.time, read.uses) == (0xF33, 1, 1, 5)
    assert (read.offset, read.data_offset) == (0x44F * 65536, 0xF33 * 65536)
    assert [(step.level, step.device_id, step.data, step.note) for step in read.steps] == [
        (4, 5, 0xF33, "same block"),
        (3, 4, 0xF33, "same block"),
        (2, 3, 0xF33, "same block"),
        (1, 2, 0xF33, "written here"),
        (0, 1, None, "not mapped"),
    ]
    assert read.holds is None, "the figure has no data"


def test_a_block_that_the_container_wrote_is_its_own(figure: DeviceMapper) -> None:
    analysis = BlockAnalysis(figure, stack("layer1", "layer2", "layer3", "one"))
    dumped = read_dump(dump_path("seed-figure"))
    own = [virtual for virtual, place in dumped[5].blocks.items() if place != dumped[4].blocks.get(virtual)]
    assert own
    for virtual in own:
        read = analysis.read(virtual)
        assert read.owner == 4
        assert read.steps[0].note == "written here"
        assert all(step.note in ("older copy", "not mapped") for step in read.steps[1:])


def test_a_block_that_nobody_wrote_reads_as_zeros(figure: DeviceMapper) -> None:
    read = BlockAnalysis(figure, stack("layer1", "layer2", "layer3", "two")).read(0x7000)
    assert (read.data, read.data_offset, read.owner, read.uses) == (None, None, None, None)
    assert {step.note for step in read.steps} == {"not mapped"}


# ---------------------------------------------------------------------- real stacks
def chain(root: Path, ref: str) -> tuple[DeviceMapper, list[Level], list[int]]:
    """A driver, the levels of a REF, and its devices from the top down to the base."""
    driver = DeviceMapper(Directory.open_root(root), TRUSTED)
    with open_root(root) as session:
        levels = list(session.levels(session.find(ref)))
    numbers = [driver.device_record(level.cache_id).device_id for level in reversed(levels)]
    return driver, levels, [*numbers, driver.device_record(None).device_id]


REFS = ["c1", "c2", "c3", "lab/a:1", "lab/b:1", "lab/base:1"]


@pytest.mark.parametrize("ref", REFS)
def test_numbers_of_every_level_are_those_of_the_dump(ext4_root: Path, ref: str) -> None:
    driver, levels, devices = chain(ext4_root, ref)
    dumped = {number: device.blocks for number, device in read_dump(dump_path("ext4")).items()}
    uses = Counter(data for blocks in dumped.values() for data, _time in blocks.values())
    found = BlockAnalysis(driver, levels).device_blocks()
    assert [level.device_id for level in found.levels] == devices
    assert found.pool.allocated == 567
    for level, number, parent in zip(found.levels, devices, [*devices[1:], None], strict=True):
        own = {virtual: data for virtual, (data, _time) in dumped[number].items()}
        above = {} if parent is None else {virtual: data for virtual, (data, _time) in dumped[parent].items()}
        assert level.mapped == len(own)
        assert level.copied == sum(v in above and above[v] != data for v, data in own.items())
        assert level.new == sum(v not in above for v in own)
        assert level.unmapped == sum(v not in own for v in above)
        assert level.exclusive == sum(uses[data] == 1 for data in own.values())
        assert level.shared == sum(uses[data] > 1 for data in own.values())


@pytest.mark.parametrize("ref", REFS)
def test_owners_of_every_block_are_those_of_the_dump(ext4_root: Path, ref: str) -> None:
    driver, levels, devices = chain(ext4_root, ref)
    dumps = read_dump(dump_path("ext4"))
    uses = Counter(data for device in dumps.values() for data, _time in device.blocks.values())
    line = [dumps[number] for number in devices]
    top = line[0].blocks
    found = BlockAnalysis(driver, levels)
    blocks = {run.virtual + i: (run, i) for run in found.runs() for i in range(run.length)}
    assert {virtual: (run.data + i, run.time) for virtual, (run, i) in blocks.items()} == top
    for virtual, (data, time) in top.items():
        same = [device.blocks.get(virtual, (None,))[0] == data for device in line]
        place = (same.index(False) if False in same else len(same)) - 1
        run = blocks[virtual][0]
        assert run.owner == len(levels) - place
        assert run.inherited == (place > 0) == (time < line[0].creation_time), "by time, as the kernel tells it"
        assert run.as_of == (line[place - 1].creation_time if place else None)
        assert run.uses == uses[data]
        assert line[place].creation_time <= time, "its owner wrote it in its own time"
        if run.as_of is not None:
            assert time < run.as_of


def test_one_changed_byte_costs_one_block_and_the_file_systems_own(ext4_root: Path) -> None:
    """The engine says 2,154,968 bytes; the pool gave 7 blocks."""
    driver, levels, _devices = chain(ext4_root, "c1")
    found = BlockAnalysis(driver, levels).device_blocks()
    assert (found.device.own, found.pool.block_bytes) == (7, 65536)
    assert [level.own for level in found.levels[1:2]] == [4]
    (c1,) = (item for item in truth("ext4", "inspect-containers") if item["Name"] == "/c1")
    assert c1["SizeRw"] == 2_154_968
    driver, levels, _devices = chain(ext4_root, "c3")
    assert BlockAnalysis(driver, levels).device_blocks().device.own == 3


@pytest.mark.parametrize(
    ("virtual", "expected"),
    [
        (0x94F, {BlockUse("file", "/opt/app/big.dat")}),
        (0x920, {BlockUse("file", "/etc/passwd"), BlockUse("file", "/new56k.dat")}),
        (0x930, {BlockUse("file", "/data/n")}),
        (0, {BlockUse("superblock"), BlockUse("group descriptors")}),
        (
            4,
            {
                BlockUse("block bitmap of groups 0 to 15"),
                BlockUse("inode bitmap of groups 0 to 15"),
                BlockUse("inodes of group 0"),
            },
        ),
        (0x880, {BlockUse("journal")}),
        (
            0x7B,
            {
                BlockUse("directory", "/", False),
                BlockUse("directory", "/lost+found", False),
                BlockUse("inodes of group 14"),
            },
        ),
        (0xFA0, set()),
    ],
)
def test_what_lies_in_a_block(ext4_root: Path, virtual: int, expected: set[BlockUse]) -> None:
    """As dumpe2fs and debugfs tell it of an image made of the device's blocks."""
    driver, levels, _devices = chain(ext4_root, "c1")
    holds = BlockAnalysis(driver, levels).read(virtual).holds
    assert holds is not None
    assert set(holds) == expected


def test_blocks_that_c1_wrote_hold_what_it_changed_or_the_file_systems_own(ext4_root: Path) -> None:
    driver, levels, _devices = chain(ext4_root, "c1")
    analysis = BlockAnalysis(driver, levels)
    with open_root(ext4_root) as session:
        view = session.view(session.find("c1"))
        changed = {"/" + change.path for change in docker_changes(view.cut(4), view)}
    named = set()
    for run in analysis.runs():
        if not run.inherited:
            for virtual in range(run.virtual, run.virtual + run.length):
                named |= {use.path for use in analysis.read(virtual).holds or () if use.kind == "file"}
    assert named == {"/opt/app/big.dat", "/new56k.dat", "/etc/passwd", "/data/n"}
    assert named <= changed | {"/opt/app/big.dat"}


# ---------------------------------------------------------------------- what isn't known
def test_a_lost_record_in_the_line_makes_owners_below_it_unknown(figure: DeviceMapper, tmp_path: Path) -> None:
    (tmp_path / "devicemapper" / "metadata" / "layer2").unlink()
    analysis = BlockAnalysis(figure, stack("layer1", "layer2", "layer3", "one"))
    (problem,) = analysis.problems
    assert problem.path == "devicemapper/metadata/layer2"
    dumped = read_dump(dump_path("seed-figure"))
    for run in analysis.runs():
        if run.time >= dumped[5].creation_time:
            assert (run.owner, run.inherited) == (4, False)
        elif run.time >= dumped[4].creation_time:
            assert (run.owner, run.inherited, run.as_of) == (3, True, dumped[5].creation_time)
        else:
            assert (run.owner, run.inherited, run.as_of) == (None, True, dumped[4].creation_time)
    levels = analysis.device_blocks().levels
    assert [level.mapped is None for level in levels] == [False, False, True, False, False]
    assert [level.own is None for level in levels] == [False, True, True, False, False]
    read = analysis.read(0x44F)
    assert read.owner is None
    assert [step.note for step in read.steps] == ["same block", "same block", "unknown", "same block", "not mapped"]


def damaged(driver: DeviceMapper, root: Path, device: int, tmp_path: Path) -> DeviceMapper:
    """The same root with a copy of the pool's metadata in which a device's map is damaged."""
    pool = driver.pool()
    assert isinstance(pool, MetadataPool)
    data = bytearray((root / "devicemapper/devicemapper/metadata").read_bytes())
    data[pool.roots[device] * 4096 + 100] ^= 0xFF  # the check value doesn't fit any more
    copy = tmp_path / "metadata"
    copy.write_bytes(data)
    return DeviceMapper(Directory.open_root(root), TRUSTED, thin_metadata=copy)


def test_a_damaged_map_makes_no_numbers(ext4_root: Path, tmp_path: Path) -> None:
    """Not of its own device, not what the device above it changed, not what is one device's alone in that pool."""
    driver, levels, devices = chain(ext4_root, "c1")
    torn = damaged(driver, ext4_root, devices[1], tmp_path)
    found = BlockAnalysis(torn, levels).device_blocks().levels
    assert (found[1].device_id, found[1].mapped, found[1].own, found[1].unmapped) == (devices[1], None, None, None)
    dumped = read_dump(dump_path("ext4"))
    assert found[0].mapped == len(dumped[devices[0]].blocks)
    assert (found[0].copied, found[0].new, found[0].unmapped) == (None, None, None)
    assert {level.exclusive for level in found} == {level.shared for level in found} == {None}
    whole = BlockAnalysis(driver, levels).device_blocks().levels
    for place in (2, 3, 4):
        assert (found[place].mapped, found[place].own) == (whole[place].mapped, whole[place].own)


def test_over_a_damaged_map_only_the_time_tells_whose_a_block_is(ext4_root: Path, tmp_path: Path) -> None:
    driver, levels, devices = chain(ext4_root, "c1")
    device = read_dump(dump_path("ext4"))[devices[0]]
    owners = {
        run.virtual + offset: (run.owner, run.inherited)
        for run in BlockAnalysis(damaged(driver, ext4_root, devices[1], tmp_path), levels).runs()
        for offset in range(run.length)
    }
    assert owners == {
        virtual: (5, False) if time >= device.creation_time else (None, True)
        for virtual, (_data, time) in device.blocks.items()
    }
    assert {owner for owner, _ in owners.values()} == {5, None}


def test_without_the_device_itself_there_is_no_answer(figure: DeviceMapper, tmp_path: Path) -> None:
    (tmp_path / "devicemapper" / "metadata" / "one").write_text("{}")
    with pytest.raises(CorruptError, match="missing required field"):
        BlockAnalysis(figure, stack("layer1", "one"))
