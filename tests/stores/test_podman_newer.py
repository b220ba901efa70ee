"""What podman 5.8.6 records in ways of its own, as it lay on its disk, and what it answered to its own inspect."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ledger_facts import assert_closed, du

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.services.ledger import ledger
from layerscope.services.verify.layers import verify

VOLUME = {
    "name": "tv",
    "lockID": 37,
    "labels": {"a": "b"},
    "volumeDriver": "local",
    "createdAt": "2026-11-22T08:12:31Z",
    "mountPoint": "/s/volumes/tv/_data",
    "volumeOptions": {"device": "tmpfs", "type": "tmpfs"},
    "isAnon": False,
}


@pytest.fixture
def root(tmp_path: Path, podman_samples: dict[str, Path]) -> Path:
    """A copy of the overlay sample."""
    copy = tmp_path / "storage"
    subprocess.run(["cp", "-a", podman_samples["overlay"], copy], check=True)
    return copy


def put(root: Path, name: str, changes: dict[str, Any]) -> str:
    """Write fields of a container's configuration anew; its ID."""
    with closing(sqlite3.connect(root / "db.sql", isolation_level=None)) as database:
        rows = database.execute("SELECT ID, JSON FROM ContainerConfig").fetchall()
        found = {record["name"]: (key, record) for key, text in rows for record in [json.loads(text)]}
        key, record = found[name]
        text = json.dumps({**record, **changes})
        database.execute("UPDATE ContainerConfig SET JSON = ? WHERE ID = ?", (text, key))
    return str(key)


def test_a_volumes_options(root: Path) -> None:
    with closing(sqlite3.connect(root / "db.sql", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO VolumeConfig (Name, StorageID, JSON) VALUES (?, NULL, ?)", ("tv", json.dumps(VOLUME))
        )
    with open_root(root) as session:
        found = next(one for one in session.store.volumes() if one.name == "tv")
    assert (dict(found.options), dict(found.labels)) == ({"device": "tmpfs", "type": "tmpfs"}, {"a": "b"})


def test_the_command_is_without_the_entrypoint(root: Path) -> None:
    """``podman ps`` has neither that, nor the init that podman puts before all."""
    put(root, "run1", {"command": ["-c", "echo hi there"], "entrypoint": ["/bin/sh", "-x"]})
    put(root, "exit1", {"command": None, "entrypoint": ["/bin/sh"]})
    with open_root(root) as session:
        commands = {one.name: one.command for one in session.store.containers()}
    assert (commands["run1"], commands["exit1"]) == ("-c 'echo hi there'", "")


def test_mounts_of_images_and_of_overlays(root: Path) -> None:
    """What is laid over an image or a folder is in the specification of the last start, not in that of the making."""
    changes = {"ctrImageVolumes": [{"source": "localhost/i:1", "dest": "/im", "rw": True}], "userVolumes": ["/im"]}
    key = put(root, "run1", changes)
    merged = f"/s/overlay-containers/{key}/userdata/overlay/2818090411/merge"
    options = [f"lowerdir=/s/overlay/x/merged,upperdir={merged}/../upper", "private"]
    spec = {"mounts": [{"destination": "/im", "type": "overlay", "source": merged, "options": options}]}
    (root / f"overlay-containers/{key}/userdata/config.json").write_text(json.dumps(spec))
    with open_root(root) as session:
        container = session.find("run1").container
    assert container is not None
    assert [
        (one.type, one.source, one.destination, one.rw) for one in container.mounts if one.destination == "/im"
    ] == [
        ("image", "localhost/i:1", "/im", True),
        ("bind", merged, "/im", True),
    ]


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_changes_of_a_root_directory_elsewhere(tmp_path: Path, podman_samples: dict[str, Path], driver: str) -> None:
    """They lie in a folder of overlay's name whatever the driver is; under vfs podman leaves them behind."""
    root = tmp_path / "storage"
    subprocess.run(["cp", "-a", podman_samples[driver], root], check=True)
    with open_root(root) as session:
        name = session.store.containers()[0].name
    key = put(root, name, {"rootfs": "/files", "rootfs_overlay": True})
    places = [key] if driver == "overlay" else [key, "ab" * 32]
    for place in places:
        upper = root / "overlay-containers" / place / "rootfs/upper"
        upper.mkdir(parents=True)
        (upper / "new").write_bytes(b"x" * 10_000)
    with open_root(root) as session:
        assert session.info().drivers == (driver,)
        assert "1 containers whose files are in a folder of the host's (--rootfs)" in session.info().features
        found = ledger(session)
    assert_closed(found, du(root))
    told = {one.path: one.category for one in found.entries if one.path.startswith("overlay-containers/")}
    assert told.get(f"overlay-containers/{places[0]}") is Category.CONTAINER_RECORD
    if driver == "vfs":
        assert told[f"overlay-containers/{places[1]}"] is Category.ORPHAN
    assert Category.UNKNOWN not in {one.category for one in found.classes}


def test_a_builder_that_was_cut_off(root: Path) -> None:
    with open_root(root) as session:
        key = session.store.containers()[0].id
    for name in ("commit-excludes", "commit-pulled-up"):
        (root / f"overlay-containers/{key}/userdata" / name).mkdir()
        (root / f"overlay-containers/{key}/userdata" / name / "filter2706084728").write_bytes(bytes(5000))
    (root / "l").mkdir()
    with open_root(root) as session:
        found = ledger(session)
    assert_closed(found, du(root))
    assert Category.UNKNOWN not in {one.category for one in found.classes}


@pytest.mark.root
@pytest.mark.parametrize("parts", [True, False], ids=["in parts", "as a tar"])
def test_times_in_a_layer_pulled_in_parts(root: Path, parts: bool) -> None:
    """A pull by a list of files leaves its own times at directories and symlinks; of a tar's they are recorded."""
    path = root / "overlay-layers/layers.json"
    records = json.loads(path.read_bytes())
    base = next(one for one in records if not one.get("parent") and one.get("diff-digest"))
    folder = root / "overlay" / base["id"] / "diff"
    inside = next(entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.is_symlink())
    os.utime(inside, (1_800_000_000, 1_800_000_000))
    if parts:
        base["big-data-names"] = ["zstd-chunked-layer-data", "zstd-chunked-manifest"]
        path.write_text(json.dumps(records))
    with open_root(root) as session:
        assert ("1 layers pulled in parts" in session.info().features) is parts
        verdict = next(one for one in verify(session, deep=True) if one.cache_id == base["id"])
    assert [one.path for one in verdict.findings] == ([] if parts else [f"/{inside.name}"])


def test_images_in_a_store_of_their_own(tmp_path: Path, podman_samples: dict[str, Path]) -> None:
    """The records of their tars stay with the containers."""
    top = tmp_path / "machine"
    own, images = top / "var/lib/containers/storage", top / "images"
    own.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", podman_samples["overlay"], own], check=True)
    records = json.loads((own / "overlay-layers/layers.json").read_bytes())
    moved = [one for one in records if one.get("diff-digest")]
    (images / "overlay/l").mkdir(parents=True)
    (images / "overlay-layers").mkdir()
    for one in moved:
        link = (own / "overlay" / one["id"] / "link").read_text()
        (own / "overlay/l" / link).rename(images / "overlay/l" / link)
        (own / "overlay" / one["id"]).rename(images / "overlay" / one["id"])
    shutil.move(own / "overlay-images", images / "overlay-images")
    (images / "overlay-layers/layers.json").write_text(json.dumps(moved))
    (own / "overlay-layers/layers.json").write_text(json.dumps([one for one in records if one not in moved]))
    (top / "etc/containers").mkdir(parents=True)
    (top / "etc/containers/storage.conf").write_text('[storage]\nimagestore = "/images"\n')
    with open_root(own) as session:
        found = ledger(session)
    assert_closed(found, du(own))
    splits = [one for one in found.entries if one.path.endswith(".tar-split.gz")]
    assert len(splits) == len(moved)
    assert {one.category for one in splits} == {Category.RECORD}


def test_an_image_whose_pull_was_cut_off(root: Path) -> None:
    """podman 5.8.6: locating item named "manifest" for image with ID …: file does not exist. It lists no image then."""
    path = root / "overlay-images/images.json"
    records = json.loads(path.read_bytes())
    key = next(name for name in records[0]["big-data-names"] if name == f"sha256:{records[0]['id']}")
    records[0] = {**records[0], "names": [], "big-data-names": [key]}
    path.write_text(json.dumps(records))
    with open_root(root) as session:
        told = [one for one in session.problems() if "manifest" in one.what]
        found = ledger(session)
    assert [(one.path, one.hint) for one in told] == [
        ("overlay-images/images.json", f"podman rmi {records[0]['id'][:12]}")
    ]
    assert_closed(found, du(root))
    assert Category.UNKNOWN not in {one.category for one in found.classes}


def test_a_container_whose_removal_was_cut_off(root: Path) -> None:
    """podman ps -a lists it by its database alone."""
    path = root / "overlay-containers/containers.json"
    records = json.loads(path.read_bytes())
    lost = records.pop()
    path.write_text(json.dumps(records))
    shutil.rmtree(root / "overlay-containers" / lost["id"])
    with open_root(root) as session:
        told = [one for one in session.problems() if one.path == "db.sql"]
    assert [one.hint for one in told] == [f"podman rm -f {lost['id'][:12]}"]
    assert lost["names"][0] in told[0].what
