"""The devicemapper driver on real roots against the daemon's answers, and what damage and absence cost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat as modes
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from thin_samples import dump_path, truth, unpacked, without_pool

from layerscope import open_root
from layerscope.drivers.devicemapper import DeviceMapper
from layerscope.errors import LayerscopeError, RootError
from layerscope.formats.blocks.crc32c import crc32c
from layerscope.formats.thinpool import DumpedPool
from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.problem import Severity
from layerscope.model.tree import LayerDirectory
from layerscope.services import Session
from layerscope.services.verify.layers import verify

C1 = "02dcc7b9f375b079eb13d55bb184be04a6547ee00b9c27966d25aba971a063f3"
"""The cache ID of container c1 in the ext4 sample."""
_TYPES = {modes.S_IFREG: "0", modes.S_IFLNK: "2", modes.S_IFCHR: "3", modes.S_IFBLK: "4", modes.S_IFDIR: "5"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A sample's root by its name, unpacked once: read only."""
    done: dict[str, Path] = {}

    def root(sample: str) -> Path:
        if sample not in done:
            done[sample] = unpacked(sample, tmp_path_factory.mktemp(f"devicemapper-{sample}"))
        return done[sample]

    return root


@pytest.fixture(scope="module")
def ext4_root(roots: Callable[[str], Path]) -> Path:
    """The ext4 sample: read only."""
    return roots("ext4")


@pytest.fixture
def copy(ext4_root: Path, tmp_path: Path) -> Path:
    """The ext4 sample to change at will."""
    target = tmp_path / "root"
    subprocess.run(["cp", "-a", "--sparse=always", str(ext4_root), str(target)], check=True)
    return target


@pytest.fixture(params=["ext4", "xfs"])
def sample(request: pytest.FixtureRequest) -> str:
    """A sample whose files can be read here."""
    name: str = request.param
    if name == "xfs":
        pytest.importorskip("dissect.xfs", reason="dissect.xfs, which is optional, isn't installed")
    return name


def driver_of(root: Path, **handed_over: Path) -> DeviceMapper:
    return DeviceMapper(Directory.open_root(root), TRUSTED, **handed_over)


def record_path(root: Path, name: str = C1) -> Path:
    return root / "devicemapper" / "metadata" / name


def half(root: Path, name: str) -> Path:
    return root / "devicemapper" / "devicemapper" / name


def top_of(session: Session, ref: str) -> CacheID:
    cache_id = session.levels(session.find(ref))[-1].cache_id
    assert cache_id is not None
    return cache_id


def told(driver: DeviceMapper, cache_id: str = C1) -> list[tuple[str, str, Severity]]:
    return [(problem.path, problem.what, problem.severity) for problem in driver.layer_problems(CacheID(cache_id))]


# ---------------------------------------------------------------------- against the daemon
def test_devices_are_those_that_inspect_names(roots: Callable[[str], Path]) -> None:
    for sample in ("ext4", "xfs"):
        driver = driver_of(roots(sample))
        compared = 0
        with open_root(roots(sample)) as session:
            for kind, name_key in (("images", "Id"), ("containers", "Id")):
                for item in truth(sample, f"inspect-{kind}"):
                    record = driver.device_record(top_of(session, item[name_key]))
                    data = item["GraphDriver"]["Data"]
                    assert str(record.device_id) == data["DeviceId"]
                    assert str(record.size_bytes) == data["DeviceSize"]
                    assert data["DeviceName"].endswith(record.name)
                    compared += 1
        assert compared >= 6


def test_every_device_of_the_pool_has_a_record_and_the_reverse(ext4_root: Path) -> None:
    driver = driver_of(ext4_root)
    recorded = {driver.device_record(cache_id).device_id for cache_id in driver.layer_ids()}
    assert recorded | {driver.device_record(None).device_id} == driver.pool().devices.keys()
    assert len(recorded) == 11


def test_no_problem_is_seen_in_a_sound_root(roots: Callable[[str], Path], sample: str) -> None:
    driver = driver_of(roots(sample))
    assert [problem for cache_id in driver.layer_ids() for problem in driver.layer_problems(cache_id)] == []


def exported(top: LayerDirectory) -> dict[str, tuple[Any, ...]]:
    """A tree as the truth lists an export: hard links are names of their own here."""
    found = {}
    pending = [("", top)]
    while pending:
        prefix, directory = pending.pop()
        listed = dict(directory.scan())
        for (name, kind), stat in zip(listed.items(), directory.stats(listed), strict=True):
            assert stat is not None
            content = None
            if kind == "f":
                with directory.open(name) as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            link = directory.readlink(name) if kind == "l" else ""
            owner = (stat.st_uid, stat.st_gid, stat.st_mtime_ns // 10**9)
            found[prefix + name] = (_TYPES[modes.S_IFMT(stat.st_mode)], stat.st_mode, *owner, link, content)
            if kind == "d":
                pending.append((f"{prefix}{name}/", directory.enter(name)))
    return found


@pytest.mark.parametrize("container", ["c1", "c2", "c3"])
def test_files_of_containers_are_those_of_docker_export(
    roots: Callable[[str], Path], sample: str, container: str
) -> None:
    driver = driver_of(roots(sample))
    with open_root(roots(sample)) as session:
        found = exported(driver.open_layer(top_of(session, f"container:{container}")))
    listed = {entry["name"]: entry for entry in truth(sample, "export")[container]}
    expected = {}
    for name, entry in listed.items():
        original = listed[entry["link"]] if entry["type"] == "1" else entry
        link = original["link"]
        facts = (int(original["mode"], 8), original["uid"], original["gid"], original["mtime"])
        expected[name] = (original["type"], *facts, link, original["sha256"])
    assert found == expected
    assert len(expected) > 45


@pytest.mark.parametrize("image", ["lab/base:1", "lab/a:1", "lab/b:1"])
def test_files_of_images_are_those_of_docker_save(roots: Callable[[str], Path], sample: str, image: str) -> None:
    driver = driver_of(roots(sample))
    layers = truth(sample, "save-layers")[image]["layers"]
    merged: dict[str, tuple[str, int]] = {}
    with open_root(roots(sample)) as session:
        levels = session.levels(session.find(image))
        assert len(levels) == len(layers)
        for level, layer in zip(levels, layers, strict=True):
            for entry in layer["entries"]:
                name = os.path.normpath(entry["name"])
                folder, _, last = name.rpartition("/")
                if last.startswith(".wh."):
                    gone = f"{folder}/{last.removeprefix('.wh.')}".lstrip("/")
                    for path in [path for path in merged if path == gone or path.startswith(gone + "/")]:
                        del merged[path]
                elif name != ".":
                    merged[name] = (entry["type"], entry["size"])
            assert level.cache_id is not None
            found = exported(driver.open_layer(level.cache_id))
            files = {name: merged[name] for name in merged}
            assert found.keys() == files.keys()
            for name, (kind, _size) in files.items():
                assert found[name][0] == ("0" if kind == "1" else kind), name
            top = driver.open_layer(level.cache_id)
            for name, (kind, size) in files.items():
                if kind == "0":
                    directory: LayerDirectory = top
                    *folders, last = name.split("/")
                    for part in folders:
                        directory = directory.enter(part)
                    assert directory.stat(last).st_size == size


def test_sizes_and_changes_are_dockers(roots: Callable[[str], Path], sample: str) -> None:
    expected = {item["Name"].lstrip("/"): item for item in truth(sample, "inspect-containers")}
    with open_root(roots(sample)) as session:
        for usage in session.containers():
            item = expected[usage.container.name]
            assert (usage.size_rw, usage.size_root_fs) == (item.get("SizeRw", 0), item["SizeRootFs"])
        for name, lines in truth(sample, "diff").items():
            changes = session.changes(session.find(name))
            assert [f"{change.kind} /{change.path}" for change in changes] == sorted(
                lines, key=lambda line: line[2:].encode()
            )
        assert session.problems() == ()


# ---------------------------------------------------------------------- a pool that isn't in the root
def test_without_the_pool_records_stay_and_its_absence_is_told(ext4_root: Path, tmp_path: Path) -> None:
    root = without_pool(ext4_root, tmp_path / "root")
    driver = driver_of(root)
    assert len(driver.layer_ids()) == 11
    with pytest.raises(OSError, match="the pool's metadata device lies outside of the root") as caught:
        driver.open_layer(CacheID(C1))
    assert caught.value.errno == errno.ENODATA
    path = "devicemapper/devicemapper/metadata"
    assert told(driver) == [(path, "the pool's metadata is not in this root", Severity.WARNING)]
    assert driver.absence() == driver.layer_problems(CacheID(C1))[0]
    with open_root(root) as session:
        sizes = {usage.image.repo_tags[0]: usage.image.size for usage in session.images() if usage.image.repo_tags}
        expected = {item["RepoTags"][0]: item["Size"] for item in truth("ext4", "inspect-images") if item["RepoTags"]}
        assert sizes == expected
        levels = session.levels(session.find("c1"))
        assert [level.role for level in levels] == ["image", "image", "image", "init", "rw"]


@pytest.mark.parametrize("source", ["metadata", "dump"])
def test_a_pool_that_is_handed_over_is_read(ext4_root: Path, tmp_path: Path, source: str) -> None:
    root = without_pool(ext4_root, tmp_path / "root")
    metadata = half(ext4_root, "metadata") if source == "metadata" else dump_path("ext4")
    link = tmp_path / "data-device"
    link.symlink_to(half(ext4_root, "data"))  # device names of LVM are links
    driver = driver_of(root, thin_metadata=metadata, thin_data=link)
    assert isinstance(driver.pool(), DumpedPool) == (source == "dump")
    assert told(driver) == []
    intact = driver_of(ext4_root)
    for cache_id in intact.layer_ids():
        assert exported(driver.open_layer(cache_id)) == exported(intact.open_layer(cache_id))


def test_metadata_alone_gives_maps_but_no_files(ext4_root: Path, tmp_path: Path) -> None:
    root = without_pool(ext4_root, tmp_path / "root")
    driver = driver_of(root, thin_metadata=dump_path("ext4"))
    assert driver.block_map(driver.device_record(CacheID(C1))).mapped == 513
    assert told(driver) == [("devicemapper/devicemapper/data", "the pool's data is not in this root", Severity.WARNING)]
    with pytest.raises(OSError, match="the pool's data device lies outside of the root") as caught:
        driver.open_layer(CacheID(C1))
    assert caught.value.errno == errno.ENODATA


def test_what_is_handed_over_must_be_there(ext4_root: Path, tmp_path: Path) -> None:
    with pytest.raises(RootError, match=r"cannot open .*nowhere: No such file or directory"):
        driver_of(ext4_root, thin_metadata=tmp_path / "nowhere")
    with pytest.raises(RootError, match="is a directory"):
        driver_of(ext4_root, thin_data=tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(RootError, match="is neither a file nor a block device"):
        driver_of(ext4_root, thin_data=fifo)


def test_xfs_without_its_library_is_told_once(roots: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from layerscope.formats.blocks import xfs

    def missing(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(xfs, "import_module", missing)
    driver = driver_of(roots("xfs"))
    problems = {problem for cache_id in driver.layer_ids() for problem in driver.layer_problems(cache_id)}
    (problem,) = problems
    assert problem.path == "devicemapper/metadata/deviceset-metadata"
    assert "pip install 'layerscope[xfs]'" in problem.what
    assert problem.severity is Severity.WARNING
    assert driver.absence() == problem
    with pytest.raises(OSError, match=r"without dissect\.xfs") as caught:
        driver.open_layer(driver.layer_ids()[0])
    assert caught.value.errno == errno.ENOTSUP
    assert driver.block_map(driver.device_record(driver.layer_ids()[0])).mapped > 100


# ---------------------------------------------------------------------- damaged records
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no such record"),
        ("[]", "is no such record"),
        ('{"device_id": 20}', "missing required field size"),
        ('{"device_id": "20", "size": 1}', "Expected int, got str"),
        ('{"device_id": -1, "size": 1}', "device_id is -1, expected 0 to 16777215"),
        ('{"device_id": 20, "size": 0}', "size is 0 bytes"),
        ('{"device_id": 20, "size": 99999999999999999999}', "size is 99999999999999999999 bytes"),
        ("[" * 4000, "is no such record"),
    ],
)
def test_a_damaged_record_costs_its_own_layer(copy: Path, text: str, said: str) -> None:
    record_path(copy).write_text(text)
    driver = driver_of(copy)
    assert C1 in driver.layer_ids()
    ((path, what, severity),) = told(driver)
    assert path == f"devicemapper/metadata/{C1}"
    assert said in what
    assert severity is Severity.ERROR
    with pytest.raises(OSError, match=r"record|expected"):
        driver.open_layer(CacheID(C1))
    for cache_id in driver.layer_ids():
        if cache_id != C1:
            assert driver.open_layer(cache_id).scan()


def test_a_missing_record_is_told(copy: Path) -> None:
    record_path(copy).unlink()
    driver = driver_of(copy)
    assert told(driver) == [(f"devicemapper/metadata/{C1}", "can't be read: No such file or directory", Severity.ERROR)]
    with pytest.raises(FileNotFoundError):
        driver.open_layer(CacheID(C1))


def test_a_record_that_is_a_link_is_not_followed(copy: Path) -> None:
    elsewhere = copy.parent / "elsewhere"
    shutil.move(record_path(copy), elsewhere)
    record_path(copy).symlink_to(elsewhere)
    driver = driver_of(copy)
    with pytest.raises(OSError, match="not a regular file"):
        driver.open_layer(CacheID(C1))


def test_a_removed_layer_is_not_shown(copy: Path) -> None:
    record = json.loads(record_path(copy).read_text())
    record_path(copy).write_text(json.dumps({**record, "deleted": True}))
    driver = driver_of(copy)
    assert C1 not in driver.layer_ids()
    with pytest.raises(FileNotFoundError, match="docker has removed this layer"):
        driver.open_layer(CacheID(C1))
    assert told(driver)[0][1] == "docker has removed this layer"


def test_leftovers_are_no_layers(copy: Path) -> None:
    for name in (".tmp123", "old.migrated"):
        record_path(copy, name).write_text("{}")
    assert driver_of(copy).layer_ids() == driver_of(copy).layer_ids()
    assert not {".tmp123", "old.migrated"} & set(driver_of(copy).layer_ids())


def test_an_unknown_device_and_other_transactions_are_told(copy: Path) -> None:
    record = json.loads(record_path(copy).read_text())
    record_path(copy).write_text(json.dumps({**record, "transaction_id": 3}))
    (problem,) = told(driver_of(copy))
    assert problem[1:] == ("transaction 3, but the pool made device 20 in 31, expected one less", Severity.WARNING)
    record_path(copy).write_text(json.dumps({**record, "device_id": 4000}))
    driver = driver_of(copy)
    (problem,) = told(driver)
    assert problem[1] == "names thin device 4000, which the pool doesn't have"
    with pytest.raises(OSError, match="thin device 4000 has no mappings") as caught:
        driver.open_layer(CacheID(C1))
    assert caught.value.errno == errno.EIO


def test_an_interrupted_operation_is_told(copy: Path) -> None:
    record_path(copy, "transaction-metadata").write_text('{"open_transaction_id":37,"device_hash":"x","device_id":25}')
    (problem,) = driver_of(copy).layer_problems(CacheID(C1))
    assert problem.path == "devicemapper/metadata/transaction-metadata"
    assert problem.what == "transaction 37 was begun, the pool is at 36"
    assert problem.effect == "the making or removal of device 25 was interrupted"


# ---------------------------------------------------------------------- a damaged pool
def change(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def sealed_superblock(root: Path, offset: int, layout: str, *values: int) -> None:
    """Change a field of the pool's superblock and its check value with it."""
    block = bytearray(half(root, "metadata").read_bytes()[:4096])
    struct.pack_into(layout, block, offset, *values)
    struct.pack_into("<I", block, 0, crc32c(memoryview(block)[4:]) ^ 160774)
    change(half(root, "metadata"), 0, bytes(block))


def test_damaged_metadata_is_told_and_records_stay(copy: Path) -> None:
    change(half(copy, "metadata"), 100, b"\xff")
    driver = driver_of(copy)
    ((path, what, _severity),) = told(driver)
    assert path == "devicemapper/devicemapper/metadata"
    assert "thin-pool metadata block 0: check value" in what
    with pytest.raises(OSError, match="check value") as caught:
        driver.open_layer(CacheID(C1))
    assert caught.value.errno == errno.EIO
    with open_root(copy) as session:
        assert len(session.images()) == 7


def test_a_pool_that_needs_a_check_is_told(copy: Path) -> None:
    sealed_superblock(copy, 4, "<I", 1)
    driver = driver_of(copy)
    assert told(driver)[0][1] == "the kernel has marked the pool as in need of a check"
    assert driver.open_layer(CacheID(C1)).scan()


def test_data_that_is_cut_short_is_told(copy: Path) -> None:
    os.truncate(half(copy, "data"), 10 << 20)
    driver = driver_of(copy)
    whole = 16384 * 65536
    assert ("devicemapper/devicemapper/data", f"is cut short: {10 << 20} bytes of {whole}", Severity.ERROR) in told(
        driver
    )
    with pytest.raises(OSError, match="the pool's data, block") as caught:
        driver.open_layer(CacheID(C1))
    assert caught.value.errno == errno.EIO


def test_what_a_short_pool_costs_is_told_where_it_is_missed(copy: Path) -> None:
    """By each answer that lacks something because of it: sizes, bytes of files, hashes of layers."""
    data = half(copy, "data")
    os.truncate(data, 20 << 20)
    short = "devicemapper/devicemapper/data: is cut short: 20971520 bytes of 1073741824"
    with open_root(copy) as session:
        assert {usage.size_rw for usage in session.containers()} == {None}
        assert f"{session.problems()[0].path}: {session.problems()[0].what}" == short
    with open_root(copy) as session, pytest.raises(LayerscopeError) as caught:
        session.open_file(session.find("c1"), "/bin/busybox")
    assert str(caught.value).endswith(f"level 1: {short}")
    with open_root(copy) as session:
        assert {verdict.skipped for verdict in verify(session)} == {short}


def test_what_one_device_has_is_told_of_it_alone(copy: Path) -> None:
    """A base layer whose device holds no file system: the others are read, and its reason is its own."""
    with open_root(copy) as session:
        base = session.levels(session.find("c1"))[0].cache_id
    assert base is not None
    driver = driver_of(copy)
    place = driver.block_map(driver.device_record(base)).lookup(0)
    assert place is not None
    change(half(copy, "data"), place[0] * 65536, bytes(4096))
    with open_root(copy) as session:
        skipped = {verdict.cache_id: verdict.skipped for verdict in verify(session)}
        why = f"devicemapper/metadata/{base}: the device doesn't begin like a file system; expected 'ext4'"
        assert skipped.pop(base) == why
        assert set(skipped.values()) == {""}
        assert None not in {usage.size_rw for usage in session.containers()}


def test_what_is_no_file_system_is_told(copy: Path) -> None:
    driver = driver_of(copy)
    block = driver.block_map(driver.device_record(CacheID(C1))).lookup(0)
    assert block is not None
    change(half(copy, "data"), block[0] * 65536, bytes(4096))
    ((_path, what, _severity),) = told(driver_of(copy))
    assert what == "the device doesn't begin like a file system; expected 'ext4'"


def test_an_unclean_file_system_is_a_note(copy: Path) -> None:
    driver = driver_of(copy)
    block = driver.block_map(driver.device_record(CacheID(C1))).lookup(0)
    assert block is not None
    at = block[0] * 65536 + 1024 + 96
    with half(copy, "data").open("rb") as file:
        file.seek(at)
        features = struct.unpack("<I", file.read(4))[0]
    change(half(copy, "data"), at, struct.pack("<I", features | 4))
    change_of_check, (_path, what, severity) = told(driver_of(copy))
    assert change_of_check[1] == "the superblock's check value is wrong"
    assert "its journal holds changes that are not shown" in what
    assert severity is Severity.NOTE


def test_a_commit_by_a_daemon_is_noticed(copy: Path) -> None:
    driver = driver_of(copy)
    before = driver.pool()
    assert before.transaction == 36
    assert driver.pool() is before
    sealed_superblock(copy, 48, "<Q", 37)
    assert driver.pool().transaction == 37
    assert driver.open_layer(CacheID(C1)).scan()


def test_metadata_that_changes_all_the_time_is_told(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerscope.formats.thinpool import MetadataPool

    monkeypatch.setattr(MetadataPool, "is_current", lambda self: False)
    driver = driver_of(copy)
    assert driver.block_map(driver.device_record(CacheID(C1))).mapped == 513
    assert ("devicemapper/devicemapper/metadata", "changed while it was read: a daemon works in it", Severity.WARNING) in told(driver)  # fmt: skip  # noqa: E501


def test_an_empty_root_has_no_layers(tmp_path: Path) -> None:
    driver = driver_of(tmp_path)
    assert driver.layer_ids() == []
    with pytest.raises(FileNotFoundError):
        driver.open_layer(CacheID("x"))


# ---------------------------------------------------------------------- a mounted device
@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None,
    reason="needs root, mkfs.ext4 and loop devices",
)
def test_a_mounted_device_is_read_through_its_mount(copy: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    place = copy / "devicemapper" / "mnt" / C1
    place.mkdir(parents=True)
    (place / "rootfs").mkdir()
    (place / "rootfs" / "planted").touch()
    driver = driver_of(copy)
    assert ("planted", "f") not in driver.open_layer(CacheID(C1)).scan(), "files beside the device are not its own"
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        (place / "rootfs").mkdir()
        (place / "rootfs" / "live").write_text("now")
        top = driver.open_layer(CacheID(C1))
        assert top.scan() == [("live", "f")]
        assert isinstance(top, Directory)
        assert driver.layer_problems(CacheID(C1)) == []
        driver._home.close()
        top.close()
        from layerscope.hostfs.descriptors import POOL

        POOL.drop(top)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
