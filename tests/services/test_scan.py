"""Scans of roots: every entry as find(1) has it, every byte as du has it; nothing is written below what is read."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import scan_facts
from archive_makers import BASE, TOP, archive, saved_members
from ledger_facts import du
from sample_roots import copied, deepened

from layerscope import open_root
from layerscope.errors import CommitError
from layerscope.formats.scan.writer import ScanWriter
from layerscope.model.problem import Severity
from layerscope.model.scan import Mark, ScanRow, ScanSubject
from layerscope.services.ledger import ledger
from layerscope.services.scan import root as scanning

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

SAMPLES = ("overlay2", "overlay2-buildkit", "fuse-overlayfs", "vfs", "btrfs", "aufs")
POOLS = ("devicemapper/ext4", "devicemapper/xfs")
CONTAINERD = ("root/docker", "root-managed/docker", "root-k8s/containerd")


def disk_in_root(found: scan_facts.Scanned) -> int:
    return sum(row.disk for tree, row in found.rows() if tree.in_root)


def is_complete(found: scan_facts.Scanned, summary_problems: tuple[object, ...] = ()) -> bool:
    return found.end.rows == len(found.rows()) and found.end.trees == len(found.trees) and not summary_problems


def same_facts(found: scan_facts.Scanned, root: Path) -> None:
    """The scan has exactly what find(1) lists, with the same facts."""
    theirs, ours = scan_facts.found(root), found.facts()
    assert set(ours) == set(theirs)
    for path, facts in theirs.items():
        assert ours[path] == facts, path


@pytest.mark.parametrize("sample", [*SAMPLES, "overlay", "zfs"])
def test_a_scan_has_what_find_lists(sample: str, unpacked: Callable[[str], Path]) -> None:
    root = unpacked(sample)
    found = scan_facts.scanned(root)
    same_facts(found, root)
    assert is_complete(found)


@pytest.mark.parametrize("sample", [*SAMPLES, *POOLS, "zfs"])
def test_the_ledger_and_the_rows_add_up_to_du(sample: str, unpacked: Callable[[str], Path]) -> None:
    root = unpacked(sample)
    before = -1
    while before != du(root):  # the blocks of a file with holes that was just unpacked may still change
        before = du(root)
        found = scan_facts.scanned(root)
    assert found.header.total_disk == sum(entry.disk for entry in found.entries) == disk_in_root(found) == before


def test_hard_links_between_layers_count_in_each(unpacked: Callable[[str], Path]) -> None:
    """The driver overlay links what a layer shares with the one below: the ledger has it once, the rows in each."""
    root = unpacked("overlay")
    found = scan_facts.scanned(root)
    assert sum(entry.disk for entry in found.entries) == du(root)
    for tree, rows in found.trees.values():
        if tree.kind == "layer":
            assert sum(row.disk for row in rows) == du(root / tree.path)


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_layer_is_what_du_says_of_its_files(sample: str, unpacked: Callable[[str], Path]) -> None:
    root = unpacked(sample)
    layers = [(tree, rows) for tree, rows in scan_facts.scanned(root).trees.values() if tree.kind == "layer"]
    assert len(layers) > 8
    for tree, rows in layers:
        assert sum(row.disk for row in rows) == du(root / tree.path)
        assert len(rows) == len(scan_facts.found(root / tree.path))
    assert {tree.role for tree, _ in layers} >= {"image", "rw"}


@pytest.mark.parametrize("sample", CONTAINERD)
def test_both_halves_of_a_containerd_store(sample: str, containerd_samples: Path) -> None:
    root = containerd_samples / sample
    halves = {"root/docker": (root, root.parent / "containerd")}.get(sample, (root,))
    found = scan_facts.scanned(root)
    assert found.header.total_disk == disk_in_root(found) == du(*halves)
    assert len(found.rows()) == sum(len(scan_facts.found(half)) for half in halves)
    assert {tree.role for tree, _ in found.trees.values()} >= {"image", "rw"}


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_a_root_of_podman(driver: str, podman_samples: dict[str, Path]) -> None:
    root = next(path for name, path in podman_samples.items() if driver in name)
    found = scan_facts.scanned(root)
    assert found.header.total_disk == disk_in_root(found) == du(root)


def test_whose_everything_is(overlay2_root: Path, sample_truth: Callable[..., object]) -> None:
    """Rows and ledger name the same owners, with the same bytes; layers are named by what docker calls them."""
    found = scan_facts.scanned(overlay2_root)
    sums: dict[ScanSubject, int] = {}
    for _, row in found.rows():
        sums[row.subject] = sums.get(row.subject, 0) + row.disk
    told: dict[ScanSubject, int] = {}
    for entry in found.entries:
        told[entry.subject] = told.get(entry.subject, 0) + entry.disk
    assert sums == told
    containers = {one["Id"]: one for one in sample_truth("overlay2", "api-containers")}  # type: ignore[attr-defined]
    written = {tree.id: tree for tree, _ in found.trees.values() if tree.role == "rw"}
    assert {id_: [f"/{name}" for name in tree.names] for id_, tree in written.items()} == {
        id_: one["Names"] for id_, one in containers.items()
    }
    chains = {path.name for path in (overlay2_root / "image/overlay2/layerdb/sha256").iterdir()}
    images = {tree.chain_id.removeprefix("sha256:") for tree, _ in found.trees.values() if tree.role == "image"}
    assert images == chains
    for tree, _ in found.trees.values():
        if tree.role == "image":
            record = overlay2_root / "image/overlay2/layerdb/sha256" / tree.chain_id.removeprefix("sha256:")
            assert (tree.cache_id, tree.diff_id) == ((record / "cache-id").read_text(), (record / "diff").read_text())
            assert tree.names


def test_marks_are_told(overlay2_root: Path) -> None:
    """Whiteouts are what find(1) lists as devices 0:0, opaque directories what getfattr finds."""
    found = scan_facts.scanned(overlay2_root)
    places = {f"{tree.path}/{os.fsdecode(row.path)}": row for tree, row in found.rows() if tree.kind == "layer"}
    whiteouts = {path for path, row in places.items() if row.mark == Mark.WHITEOUT}
    devices = {
        os.path.relpath(os.path.join(folder, name), overlay2_root)
        for folder, _, names in os.walk(overlay2_root / "overlay2")
        for name in names
        if os.path.basename(os.path.dirname(folder)) != "work" and is_device_zero(os.path.join(folder, name))
    }
    assert whiteouts == {path for path in devices if "/work/" not in path}
    assert len(whiteouts) >= 3
    folders = [path for path in overlay2_root.glob("overlay2/*/diff/**/*") if path.is_dir() and not path.is_symlink()]
    marked = {
        str(path.relative_to(overlay2_root)) for path in folders if "trusted.overlay.opaque" in os.listxattr(path)
    }
    assert {path for path, row in places.items() if row.mark == Mark.OPAQUE} == marked
    assert marked


def is_device_zero(path: str) -> bool:
    stat = os.lstat(path)
    return stat.st_mode & 0o170000 == 0o020000 and stat.st_rdev == 0


def test_marks_that_are_names(unpacked: Callable[[str], Path]) -> None:
    root = unpacked("aufs")
    found = scan_facts.scanned(root)
    marks = {row.name: row.mark for tree, row in found.rows() if tree.kind == "layer" and row.name.startswith(b".wh.")}
    for name, mark in marks.items():
        if name == b".wh..wh..opq":
            assert mark == Mark.OPAQUE
        else:
            assert mark == (Mark.PLAIN if name.startswith(b".wh..wh.") else Mark.WHITEOUT)
    assert {Mark.WHITEOUT, Mark.PLAIN} <= set(marks.values())


def test_odd_files(overlay2_root: Path, tmp_path: Path) -> None:
    """Names that aren't text, holes, links, sockets and what nobody made, in a volume and in a layer."""
    root = copied(overlay2_root, tmp_path / "root")
    layer = next((root / "overlay2").glob("*/diff/etc"))
    for top in (os.fsencode(root / "volumes/vol1/_data"), os.fsencode(layer)):
        for name in (b"\xff\xfe", b"new\nline", b"[red]", b"a" * 255, b"-rf", b"a-b", b"a", b"a.b"):
            os.mkdir(os.path.join(top, name))
            with open(os.path.join(top, name, name), "wb") as file:
                file.write(b"x" * 7000)
            os.utime(os.path.join(top, name, name), ns=(1, -1_234_567_890))
        with open(os.path.join(top, b"sparse"), "wb") as file:
            file.truncate(1 << 30)
        os.symlink(b"x\xff" * 250, os.path.join(top, b"long"))
        os.mkfifo(os.path.join(top, b"fifo"))
        os.mknod(os.path.join(top, b"device"), 0o60600, os.makedev(7, 200))
        os.link(os.path.join(top, b"a/a"), os.path.join(top, b"another"))
        os.link(os.path.join(top, b"a/a"), os.path.join(top, b"z"))
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(top)
            made.bind("socket")
            os.chdir("/")
    (root / "planted").write_bytes(b"x" * 9000)
    found = scan_facts.scanned(root)
    same_facts(found, root)
    assert disk_in_root(found) == du(root)
    assert [row.subject for _, row in found.rows() if row.name == b"planted"] == [ScanSubject("unknown", "")]
    linked = [row.disk for _, row in found.rows() if row.links == 3 and row.name in (b"a", b"another", b"z")]
    assert sorted(linked) == [0, 0, 0, 0, 8192, 8192]


def test_a_tree_deeper_than_any_path(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    with deepened(root / "volumes/vol1/_data", 1200):
        found = scan_facts.scanned(root)
        assert disk_in_root(found) == du(root)
        assert max(row.path.count(b"/") for _, row in found.rows()) >= 1200


def test_what_cant_be_listed_is_told(
    overlay2_root: Path, tmp_path: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    closed = root / "volumes/vol1/_data"
    below = len(scan_facts.found(closed)) - 1
    closed.chmod(0o700)
    out = io.BytesIO()
    with open_root(root) as session, nobody():
        summary = scanning.scan(session, ScanWriter(out.write))
    found = scan_facts.read(out.getvalue())
    assert len(found.rows()) == len(scan_facts.found(root)) - below
    assert found.end.unreadable == summary.end.unreadable == 1
    told = [one for one in summary.problems if one.path == "volumes/vol1/_data"]
    assert [one.what for one in told] == ["can't be listed: Permission denied"]


def test_what_vanishes_meanwhile_is_counted(overlay2_root: Path, tmp_path: Path) -> None:
    """A directory that goes between two looks, as it does on a live host."""
    root = copied(overlay2_root, tmp_path / "root")
    volume = root / "volumes/vol1/_data"
    for name in ("a", "b", "c"):
        (volume / name / "below").mkdir(parents=True)
    with open_root(root) as session:

        class Meanwhile(ScanWriter):
            def tree(self, tree: object, rows: object) -> None:
                def some() -> object:
                    for row in rows:  # type: ignore[attr-defined]
                        assert isinstance(row, ScanRow)
                        if row.path == b"volumes/vol1/_data/c":
                            shutil.rmtree(volume / "a")
                        yield row

                super().tree(tree, some())  # type: ignore[arg-type]

        out = io.BytesIO()
        summary = scanning.scan(session, Meanwhile(out.write))
    found = scan_facts.read(out.getvalue())
    paths = {row.path for _, row in found.rows()}
    assert b"volumes/vol1/_data/b/below" in paths
    assert b"volumes/vol1/_data/a/below" not in paths
    assert found.end.vanished == 1
    assert [one.what for one in summary.problems if one.severity is Severity.NOTE] == [
        "changed while it was read: 1 entries vanished"
    ]


def test_a_layer_that_isnt_there_is_told(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    lost = next(path for path in (root / "overlay2").iterdir() if (path / "diff/bin").is_dir())
    shutil.rmtree(lost / "diff")
    data, summary = scan_facts.scan_of(root)
    assert [one.what for one in summary.problems if one.path == f"overlay2/{lost.name}/diff"] == [
        "contents can't be read: No such file or directory"
    ]
    found = scan_facts.read(data)
    assert [rows for tree, rows in found.trees.values() if tree.cache_id == lost.name] == [[]]
    assert found.header.total_disk == du(root) == disk_in_root(found)


def test_an_archive_has_rows_of_its_layers(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(saved_members([BASE, TOP])))
    found = scan_facts.scanned(tmp_path / "a.tar")
    assert found.header.total_disk is None
    assert not found.entries
    assert {row.path for _, row in found.rows()} >= {b"big", b"etc/motd", b"etc/gone", b"etc/.wh.gone"}
    assert {row.mark for _, row in found.rows() if row.name == b".wh.gone"} == {Mark.WHITEOUT}
    assert not any(tree.has_disk or tree.in_root for tree, _ in found.trees.values())


def test_a_bare_overlay(tmp_path: Path) -> None:
    for name in ("lower", "upper"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / name).write_text(name)
    options = f"overlay:lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper"
    found = scan_facts.scanned(options)
    for tree, rows in found.trees.values():
        assert {row.path for row in rows} == set(scan_facts.found(Path(tree.path)))
    with open_root(options) as session, pytest.raises(CommitError):
        scanning.refuse_below(session, tmp_path / "lower/folder/file")


def test_bytes_of_a_bind_mount_are_left_out(overlay2_root: Path, tmp_path: Path) -> None:
    """What a mount shows of the same file system is in du's sum and in the ledger, and not among the rows."""
    root = copied(overlay2_root, tmp_path / "root")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"x" * 50_000)
    point = root / "volumes/vol1/_data/point"
    point.mkdir()
    done = subprocess.run(
        ["mount", "--bind", str(tmp_path / "elsewhere"), str(point)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting isn't possible here: {done.stderr.decode().strip()}")
    try:
        found = scan_facts.scanned(root)
        assert sum(entry.disk for entry in found.entries) == du(root)
        assert disk_in_root(found) == du(root) - du(point)
        assert not [row for _, row in found.rows() if row.name in (b"file", b"point")]
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize("place", ["x.scan", "volumes/x", "missing/../x"])
def test_nothing_is_written_below_the_root(overlay2_root: Path, place: str) -> None:
    with open_root(overlay2_root) as session, pytest.raises(CommitError, match="where nothing is ever written"):
        scanning.refuse_below(session, overlay2_root / place)


def test_nothing_is_written_there_by_another_path(overlay2_root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(overlay2_root / "volumes")
    (tmp_path / "file").symlink_to(overlay2_root / "engine-id")
    (tmp_path / "fine").mkdir()
    with open_root(overlay2_root) as session:
        for target in (tmp_path / "link/x", tmp_path / "link/../x", tmp_path / "file"):
            with pytest.raises(CommitError):
                scanning.refuse_below(session, target)
        scanning.refuse_below(session, tmp_path / "fine/x")


def test_the_ledger_is_that_of_df(buildkit_root: Path) -> None:
    with open_root(buildkit_root) as session:
        counted = ledger(session, workers=1)
    found = scan_facts.scanned(buildkit_root)
    assert sorted((one.path, str(one.category), one.owner, one.disk, one.count) for one in counted.entries) == sorted(
        (one.path, one.subject.category, one.subject.owner, one.disk, one.count) for one in found.entries
    )
