"""The ledger of roots of containers/storage: it adds up to du's bytes, and what nobody recorded is nobody's."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import podman_roots
import pytest
from ledger_facts import assert_closed, assert_nobodys, du, planted_in

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger, LedgerEntry
from layerscope.services.ledger import ledger

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

NOBODYS = {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE}
LOST = "5" * 64


def counted(root: Path, driver: str | None = None) -> Ledger:
    with open_root(root, driver=driver) as session:
        return ledger(session, workers=1)


def told(root: Path, found: Ledger | None = None) -> dict[str, LedgerEntry]:
    """The entries by path, of a ledger that adds up."""
    found = found or counted(root)
    assert_closed(found, du(root))
    return {one.path: one for one in found.entries}


@pytest.fixture(params=["overlay", "vfs"])
def sample(request: pytest.FixtureRequest, podman_samples: dict[str, Path]) -> Path:
    return podman_samples[request.param]


@pytest.fixture
def root(podman_samples: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the sample with overlay, to change."""
    return podman_roots.copy(podman_samples["overlay"], tmp_path / "root")


def change(path: Path, how: Callable[[list[Any]], object]) -> None:
    """Change a list of records."""
    records = json.loads(path.read_text())
    how(records)
    path.write_text(json.dumps(records))


def test_a_sample_adds_up_to_du(sample: Path) -> None:
    found = counted(sample)
    assert_closed(found, du(sample))
    classes = {one.category for one in found.classes}
    wanted = {Category.IMAGE_LAYER, Category.CONTAINER_RW, Category.CONTAINER_RECORD, Category.RECORD}
    assert classes >= wanted
    assert not classes & NOBODYS


def test_owners_are_those_of_the_records(podman_samples: dict[str, Path]) -> None:
    """Every container's own layer, and every image's, by podman's own answers."""
    entries = told(podman_samples["overlay"]).values()
    names = {one["Names"][0] for one in podman_roots.truth("overlay", "ps-as")}
    assert {one.owner for one in entries if one.category is Category.CONTAINER_RW} == names
    assert {one.owner for one in entries if one.category is Category.CONTAINER_RECORD} == names
    assert {one.owner for one in entries if one.category is Category.VOLUME} == {"vol1"}
    top = {one["Id"]: one for one in podman_roots.truth("overlay", "images-all")}
    images = [one for one in entries if one.path.startswith("overlay-images/")]
    assert {one.path.rpartition("/")[2] for one in images} == set(top)


OWN_FILES = {"diff", "_data"}
OWNED = {"userdata/secrets", "userdata/artifacts"}
"""Below these any name is its owner's own."""


def record_directories(root: Path) -> list[Path]:
    found = []
    for folder, names, _ in os.walk(root):
        path = Path(folder)
        if path.parent == root / "vfs/dir":
            names.clear()
            continue
        found.append(path)
        names[:] = [name for name in names if name not in OWN_FILES and f"{path.name}/{name}" not in OWNED]
    return found


def test_a_planted_file_is_nobodys_in_any_directory(sample: Path, tmp_path: Path) -> None:
    root = podman_roots.copy(sample, tmp_path / "root")
    planted = planted_in(record_directories(root))
    assert len(planted) > 12
    found = counted(root)
    assert_closed(found, du(root))
    assert_nobodys(found, root, planted)


def test_folders_without_a_record_are_orphans(root: Path) -> None:
    planted = [f"overlay/{LOST}", f"overlay-images/{LOST}", f"overlay-containers/{LOST}", f"overlay-layers/{LOST}"]
    for path in (*planted, "volumes/lost"):
        (root / path / "below").mkdir(parents=True)
        (root / path / "below/file").write_bytes(b"x" * 9000)
    (root / f"overlay-layers/{LOST}.tar-split.gz").write_bytes(b"x")
    (root / "overlay/l/ABCDEFGHIJKLMNOPQRSTUVWXYZ").symlink_to(f"../{'6' * 64}/diff")
    os.utime(root / "volumes/lost", (1_600_000_000, 1_600_000_000))
    entries = told(root)
    for path in (*planted, "volumes/lost", f"overlay-layers/{LOST}.tar-split.gz"):
        assert entries[path].category is Category.ORPHAN, path
    assert entries["overlay/l/ABCDEFGHIJKLMNOPQRSTUVWXYZ"].category is Category.ORPHAN
    assert {entries[path].disk for path in (*planted, "volumes/lost")} == {4096 * 2 + 12288}


def test_folders_with_other_names_are_unknown(root: Path) -> None:
    planted = ["overlay/someone", "overlay-images/x", "libpod/more", "vfs", "strange", "tmp/what", "secrets/dir"]
    for path in planted:
        (root / path / "below").mkdir(parents=True)
    entries = told(root)
    assert {entries[path].category for path in planted} == {Category.UNKNOWN}


def test_lost_images_leave_unused_layers(root: Path) -> None:
    """Their records are gone; their folders are nobody's, and so are the layers that no container stands on."""
    folders = {f"overlay-images/{one['id']}" for one in json.loads((root / "overlay-images/images.json").read_text())}
    parents = {one["id"]: one.get("parent") for one in json.loads((root / "overlay-layers/layers.json").read_text())}
    parents |= {
        one["id"]: one.get("parent") for one in json.loads((root / "overlay-layers/volatile-layers.json").read_text())
    }
    used = set()
    for name in ("containers.json", "volatile-containers.json"):
        for container in json.loads((root / "overlay-containers" / name).read_text()):
            layer = container["layer"]
            while layer:
                used.add(layer)
                layer = parents[layer]
    change(root / "overlay-images/images.json", lambda all_: all_.clear())
    entries = told(root)
    assert {path for path, one in entries.items() if one.category is Category.ORPHAN} == folders
    unused = {path for path, one in entries.items() if one.category is Category.UNUSED_LAYER}
    assert unused == {f"overlay/{layer}" for layer in parents.keys() - used}
    assert unused


def test_a_write_that_was_cut_is_temporary(root: Path) -> None:
    (root / "overlay" / LOST / "diff").mkdir(parents=True)
    (root / f"overlay-layers/{LOST}.tar-split.gz").write_bytes(b"x")
    record = {"id": LOST, "created": "2026-01-01T00:00:00Z", "flags": {"incomplete": True}}
    change(root / "overlay-layers/layers.json", lambda all_: all_.append(record))
    (root / "overlay-layers/.tmp-layers.json123").write_bytes(b"x")
    (root / "overlay/staging/1234/dir").mkdir(parents=True)
    (root / "overlay/tempdirs/temp-dir-55").mkdir(parents=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp/container_images_storage12").mkdir()
    entries = told(root)
    expected = [f"overlay/{LOST}", f"overlay-layers/{LOST}.tar-split.gz", "overlay-layers/.tmp-", "overlay/staging"]
    expected.append("overlay/tempdirs")
    assert {entries[path].category for path in expected} == {Category.TEMPORARY}
    assert Category.TEMPORARY in {one.category for one in counted(root).entries if one.path == "tmp"}


@pytest.mark.parametrize(
    ("folder", "kind"), [("overlay", "layers"), ("overlay-images", "images"), ("overlay-containers", "containers")]
)
def test_while_an_engine_writes_nothing_is_an_orphan(root: Path, folder: str, kind: str) -> None:
    """Its locks are of the kind that processes lose when they end."""
    (root / folder / LOST).mkdir()
    lock = root / f"overlay-{kind}/{kind}.lock"
    with lock.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert told(root)[f"{folder}/{LOST}"].category is Category.TEMPORARY
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert told(root)[f"{folder}/{LOST}"].category is Category.ORPHAN


def test_what_damaged_lists_might_claim_is_unknown(root: Path) -> None:
    (root / "overlay" / LOST).mkdir()
    (root / "overlay-images" / LOST).mkdir()
    for name in ("layers", "images"):
        path = root / f"overlay-{name}/{name}.json"
        path.write_bytes(path.read_bytes()[:-200])
    entries = told(root)
    for path in (f"overlay/{LOST}", f"overlay-images/{LOST}"):
        assert entries[path].category is Category.UNKNOWN
        assert "can't be read in full" in entries[path].reason
    assert Category.UNUSED_LAYER not in {one.category for one in entries.values()}
    assert Category.ORPHAN not in {one.category for one in entries.values() if not one.path.startswith("overlay/l/")}


def test_a_volume_that_is_being_made_is_no_orphan(root: Path) -> None:
    (root / "volumes/new/_data").mkdir(parents=True)
    now = time.time()
    os.utime(root / "volumes/new", (now, now))
    assert told(root)["volumes/new"].category is Category.TEMPORARY


def test_without_podmans_records_folders_are_volumes(root: Path) -> None:
    (root / "db.sql").unlink()
    assert told(root)["volumes/vol1"].category is Category.VOLUME


def test_two_drivers_in_one_root(podman_samples: dict[str, Path], root: Path) -> None:
    for name in ("vfs", "vfs-layers", "vfs-images", "vfs-containers"):
        subprocess.run(["cp", "-a", str(podman_samples["vfs"] / name), str(root / name)], check=True)
    for driver in ("overlay", "vfs"):
        entries = told(root, counted(root, driver)).values()
        assert not {one.category for one in entries} & NOBODYS
        assert {one.path.partition("/")[0] for one in entries if one.category is Category.CONTAINER_RW} == {
            "overlay",
            "vfs",
        }
