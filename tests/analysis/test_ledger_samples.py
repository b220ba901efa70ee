"""The ledger of each sample: it adds up to du's bytes, everything has an owner, and what is planted has none."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from ledger_facts import assert_closed, assert_nobodys, du, planted_in
from sample_roots import copied, deepened

from layerscope.analysis.measuring.pool import Cancelled
from layerscope.hostfs import measure, tally
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger
from layerscope.model.problem import Severity
from layerscope.services.ledger import ledger
from layerscope.services.opening.root import open_root

SAMPLES = (
    "overlay2",
    "overlay2-buildkit",
    "overlay",
    "fuse-overlayfs",
    "vfs",
    "btrfs",
    "aufs",
    "zfs",
    "devicemapper/ext4",
    "devicemapper/xfs",
)
CONTAINERD = ("root/docker", "root-managed/docker", "root-k8s/containerd")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")


def counted(root: Path, workers: int | None = 1) -> Ledger:
    with open_root(root) as session:
        return ledger(session, workers=workers)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_adds_up_to_du(sample: str, unpacked: Callable[[str], Path]) -> None:
    root = unpacked(sample)
    found = counted(root)
    assert_closed(found, du(root))
    assert found.unaccounted_disk == 0
    assert {one.category for one in found.classes} >= {Category.RECORD, Category.CONTAINER_RECORD}
    assert not {one.category for one in found.classes} & {Category.ORPHAN, Category.UNKNOWN, Category.UNREADABLE}


@pytest.mark.parametrize("sample", CONTAINERD)
def test_both_halves_of_a_containerd_store_add_up_to_du(sample: str, containerd_samples: Path) -> None:
    root = containerd_samples / sample
    found = counted(root)
    halves = {"root/docker": (root, root.parent / "containerd")}.get(sample, (root,))
    assert_closed(found, du(*halves))
    assert found.unaccounted_disk == 0
    classes = {one.category for one in found.classes}
    assert classes >= {Category.IMAGE_LAYER, Category.CONTENT_BLOB, Category.CONTAINER_RW, Category.RECORD}
    assert Category.ORPHAN not in classes


def test_the_work_may_be_shared_out(overlay2_root: Path) -> None:
    """Large enough trees are measured by several processes; the sums don't depend on that."""
    alone, shared = counted(overlay2_root, workers=1), counted(overlay2_root, workers=3)
    assert alone.entries == shared.entries


def test_many_files_by_several_processes(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    top = root / "volumes/vol1/_data"
    for folder in range(60):
        (top / f"{folder}").mkdir()
        for name in range(60):
            (top / f"{folder}/{name}").write_bytes(b"x" * (name * 97))
        for name in range(20):
            os.link(top / f"{folder}/{name}", top / f"{folder}/link{name}")
            os.link(top / f"{folder}/{name}", top / f"{(folder * 7) % (folder + 1)}/far{folder}-{name}")
    found = counted(root, workers=3)
    assert_closed(found, du(root))
    assert found.unaccounted_disk == 0
    assert found.entries == counted(root, workers=1).entries


# ---------------------------------------------------------------------- what nobody made
OWN_FILES = {"diff", "_data", "root", "upper", "rootfs", "propagated-mount", "fs", "checkpoints", "secrets"}
"""Below these any name is its owner's own."""


def record_directories(root: Path) -> list[Path]:
    found = []
    for folder, names, _ in os.walk(root):
        found.append(Path(folder))
        names[:] = [name for name in names if name not in OWN_FILES]
        if Path(folder).parent.name in ("dir", "subvolumes") or Path(folder).parent == root / "aufs/diff":
            names.clear()
    whole = {root / "aufs/diff", root / "vfs/dir", root / "btrfs/subvolumes"}
    return [path for path in found if path.parent not in whole]


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit", "overlay", "vfs", "btrfs", "aufs", "zfs"])
def test_a_planted_file_is_nobodys_in_any_directory(
    sample: str, unpacked: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copied(unpacked(sample), tmp_path / "root")
    planted = planted_in(record_directories(root))
    assert len(planted) > 40
    found = counted(root)
    assert_closed(found, du(root))
    assert_nobodys(found, root, planted)


@pytest.mark.parametrize("half", ["docker", "containerd"])
def test_a_planted_file_is_nobodys_in_a_containerd_store(half: str, containerd_samples: Path, tmp_path: Path) -> None:
    copied(containerd_samples / "root", tmp_path / "root")
    top = tmp_path / "root" / half
    planted = planted_in(record_directories(top))
    found = counted(tmp_path / "root/docker")
    assert_closed(found, du(tmp_path / "root/docker", tmp_path / "root/containerd"))
    assert_nobodys(found, tmp_path / "root/docker", planted)


def test_planted_directories_are_nobodys(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    planted = ["overlay2/someone", "image/overlay2/imagedb/mine", "containers/x", "volumes/no-data", "buildkit/y"]
    planted += ["overlay2/l/dir", "network/more", "image/btrfs", "tmp/what", "strange"]
    for path in planted:
        (root / path / "below").mkdir(parents=True)
        (root / path / "below" / "file").write_bytes(b"x" * 9000)
    found = counted(root)
    assert_closed(found, du(root))
    told = {one.path: one.category for one in found.entries}
    for path in planted:
        assert told[path] in (Category.UNKNOWN, Category.ORPHAN), path
    assert all(one.disk == 4096 * 2 + 12288 for one in found.entries if one.path in planted)


def test_an_unclaimed_layer_is_an_orphan(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    lost = root / "overlay2" / ("5" * 64)
    (lost / "diff").mkdir(parents=True)
    (lost / "link").write_text("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    (root / "overlay2/l/ABCDEFGHIJKLMNOPQRSTUVWXYZ").symlink_to(f"../{lost.name}/diff")
    (root / "overlay2/l/ZBCDEFGHIJKLMNOPQRSTUVWXYZ").symlink_to(f"../{'6' * 64}/diff")
    for path in (lost / "diff", lost / "link", lost):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    found = counted(root)
    assert_closed(found, du(root))
    told = {one.path: one for one in found.entries}
    assert told[f"overlay2/{lost.name}"].category is Category.ORPHAN
    assert told["overlay2/l/ZBCDEFGHIJKLMNOPQRSTUVWXYZ"].category is Category.ORPHAN
    assert found.unaccounted_disk == 0


def test_a_removed_image_leaves_unused_layers(overlay2_root: Path, tmp_path: Path) -> None:
    """The image's config is gone, its layers are there: nothing leads to the one that only it had."""
    root = copied(overlay2_root, tmp_path / "root")
    with open_root(root) as session:
        image = session.find("layerscope/committed:1.0").image
        assert image is not None
    (root / "image/overlay2/imagedb/content/sha256" / image.id.removeprefix("sha256:")).unlink()
    found = counted(root)
    unused = [one for one in found.entries if one.category is Category.UNUSED_LAYER]
    own = root / "image/overlay2/layerdb/sha256" / image.chain_ids[-1].removeprefix("sha256:") / "cache-id"
    assert [one.path for one in unused] == [f"overlay2/{own.read_text()}"]
    assert_closed(found, du(root))


def test_interrupted_writes_are_temporary(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    write_set = root / "image/overlay2/layerdb/tmp/write-set-123456"
    write_set.mkdir(parents=True)
    (write_set / "tar-split.json.gz").write_bytes(b"x" * 100)
    (root / "image/overlay2/.tmp-repositories.json77").write_bytes(b"{")
    (root / "tmp/docker-import-9911").mkdir()
    (root / "tmp/docker-import-9911/layer.tar").write_bytes(b"x" * 10_000)
    container = next((root / "containers").iterdir())
    for name in ("hash2769697943", "resolv311", ".tmp-config.v2.json5"):
        (container / name).write_bytes(b"x")
    chain = next((root / "image/overlay2/layerdb/sha256").iterdir())
    removing = chain.rename(chain.with_name(f"{chain.name}-{'a' * 64}-removing"))
    found = counted(root)
    assert_closed(found, du(root))
    told = {one.path: one.category for one in found.entries}
    assert told["image/overlay2/layerdb/tmp/write-set-123456"] is Category.TEMPORARY
    assert told["image/overlay2/.tmp-"] is Category.TEMPORARY
    assert told[f"containers/{container.name}/resolv"] is Category.TEMPORARY
    assert told[f"containers/{container.name}/.tmp-"] is Category.TEMPORARY
    assert found.unaccounted_disk == 0
    assert told[f"image/overlay2/layerdb/sha256/{removing.name}"] is Category.TEMPORARY
    assert told[f"overlay2/{(removing / 'cache-id').read_text()}"] is Category.TEMPORARY
    temporary = [one for one in found.entries if one.path == "tmp" and one.category is Category.TEMPORARY]
    assert [one.disk for one in temporary] == [4096 + 12288]


# ---------------------------------------------------------------------- odd files
def test_hostile_names_links_and_sparse_files(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    top = os.fsencode(root / "volumes/vol1/_data")
    for name in (b"\xff\xfe", b"new\nline", b"[red]", b"a" * 255, b"-rf"):
        os.mkdir(os.path.join(top, name))
        with open(os.path.join(top, name, name), "wb") as file:
            file.write(b"x" * 7000)
    with open(os.path.join(top, b"sparse"), "wb") as file:
        file.truncate(1 << 30)
    os.symlink("/etc", os.path.join(top, b"out"))
    os.symlink("x" * 500, os.path.join(top, b"long"))
    os.mkfifo(os.path.join(top, b"fifo"))
    os.link(root / "volumes/metadata.db", os.path.join(top, b"another-name"))
    found = counted(root)
    assert_closed(found, du(root))
    volume = next(one for one in found.entries if one.path == "volumes/vol1")
    assert volume.apparent > 1 << 30
    assert volume.disk < 1 << 20
    assert found.unaccounted_disk == 0


def test_a_tree_deeper_than_any_path(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    with deepened(root / "volumes/vol1/_data", 1200):
        for workers in (1, 2):
            found = counted(root, workers)
            assert_closed(found, du(root))
            assert next(one.count for one in found.entries if one.path == "volumes/vol1") >= 1200


def test_what_cant_be_listed_is_a_class(
    overlay2_root: Path, tmp_path: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    """Everybody may read this root but two directories: their own blocks are told apart, what is below is not."""
    root = copied(overlay2_root, tmp_path / "root")
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    closed = ["volumes/vol1/_data", "buildkit/content"]
    below = 0
    for path in closed:
        below += du(root / path) - (root / path).stat().st_blocks * 512
        (root / path).chmod(0o700)
    with open_root(root) as session, nobody():
        found = ledger(session, workers=1)
    assert_closed(found, du(root) - below)
    told = {one.path: one for one in found.entries if one.category is Category.UNREADABLE}
    assert set(told) == set(closed)
    assert all(one.count == 1 and one.disk == (root / path).stat().st_blocks * 512 for path, one in told.items())
    assert "volume" in told["volumes/vol1/_data"].reason
    assert [problem.path for problem in found.problems] == sorted(closed)
    assert {problem.severity for problem in found.problems} == {Severity.ERROR}


def test_files_that_vanish_are_counted(overlay2_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between listing a directory and looking at what it holds, and before it is entered."""
    root = copied(overlay2_root, tmp_path / "root")
    top = root / "volumes/vol1/_data"
    for name in ("one", "two"):
        (top / name / "in").mkdir(parents=True)
    real = tally._open

    def late(name: str, parent: int) -> int:
        if name == "one":
            shutil.rmtree(top / "one")
        return real(name, parent)

    monkeypatch.setattr(measure, "tally", tally.tally_in_python)
    monkeypatch.setattr(tally, "_open", late)
    found = counted(root)
    assert found.vanished == 1
    assert found.unaccounted_disk == 0
    assert any("vanished" in problem.what and problem.severity is Severity.NOTE for problem in found.problems)


def test_measuring_ends_when_it_is_cancelled(overlay2_root: Path) -> None:
    with open_root(overlay2_root) as session, pytest.raises(Cancelled):
        ledger(session, workers=2, cancelled=lambda: True)
