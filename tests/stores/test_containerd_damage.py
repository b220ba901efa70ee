"""Every row of damage to a containerd store: what can be read is shown, what can't is named with where it should be."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containerd_roots import BLOBS, META, RUN1, SNAPSHOTTER, copy, remove, tear_newest, truth

from layerscope import open_root
from layerscope.model.digest import ContainerID
from layerscope.model.level import Role
from layerscope.model.problem import Problem, Severity
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.stores.containerd.containers import SnapshotJoining
from layerscope.stores.docker.containers import ContainerConfig

LEGACY = "sha256:07e3e67b90e66719b0e7ae7956ef6531ccab08bcb7e4ed220733c693181deba3"
"""The image that ``run1`` was made from: a single manifest."""
MULTI = "sha256:004596699d73750c66e0d27fd3ad93ce4966e94ae17e8007321c813819e801ee"
"""An index of two platforms and two attestations."""
MULTI_AMD64 = "sha256:1b2073c51cf42a6cfd70e5be7de474227dfae93e66ea9582220f096bb3100592"
BASE_CHAIN = "sha256:8087c813f3f4183351f01c75fd177c7a097b9cd372239c99a40eccb784d3f7b9"
RECORDS = f"{SNAPSHOTTER}/metadata.db"
NEXT = f"{RUN1[:-1]}9"
"""An ID that may stand where that of ``run1`` stands: keys must rise."""


@pytest.fixture
def root(containerd_samples: Path, tmp_path: Path) -> Path:
    """A copy of the sample of docker 29; ``docker`` and ``containerd`` lie in it."""
    return copy(containerd_samples / "root", tmp_path / "root")


def opened(root: Path) -> Session:
    return open_root(root / "docker")


def look_at_everything(session: Session) -> None:
    """Ask for everything; what can't be answered may only be told."""
    session.info()
    session.images()
    for subject in subjects(session):
        session.levels(subject)
        json.dumps(session.records(subject))
        if subject.image is not None:
            session.history(subject)


def subjects(session: Session) -> list[Subject]:
    found = [Subject(image, None) for image in session.store.images()]
    return [*found, *(Subject(None, container) for container in session.store.containers())]


def problems_at(session: Session, path: Path) -> list[Problem]:
    look_at_everything(session)
    return [problem for problem in session.problems() if problem.path == str(path)]


def blob(root: Path, digest: str) -> Path:
    return root / "containerd" / BLOBS / digest.removeprefix("sha256:")


def rewrite(path: Path, old: bytes, new: bytes, times: int | None = None) -> None:
    """Put ``new`` in the place of every ``old`` in a database: pages of a bolt file have no checksum."""
    assert len(old) == len(new)
    data = path.read_bytes()
    assert data.count(old) > 0, f"{old!r} is not in {path}"
    path.write_bytes(data.replace(old, new, -1 if times is None else times))


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    path.chmod(0o644)
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))


def manifest_of(root: Path, digest: str) -> Any:
    return json.loads(blob(root, digest).read_text())


def run1_is_whole(session: Session) -> bool:
    """Whether the writable layer's answers are the engine's own."""
    changes = session.changes(session.find("run1"))
    wanted = {change["Path"] for change in truth("truth", "container-diff")["run1"]}
    return {f"/{change.path}" for change in changes} == wanted


# ---------------------------------------------------------------------- blobs
def test_a_missing_layer_blob_costs_nothing_that_is_unpacked(root: Path) -> None:
    layer = manifest_of(root, LEGACY)["layers"][0]
    blob(root, layer["digest"]).unlink()
    with opened(root) as session:
        (told,) = problems_at(session, blob(root, layer["digest"]))
        assert told.severity is Severity.ERROR and f"{layer['size']} bytes" in told.what
        image = session.find("demo/app:legacy").image
        assert image is not None and told in image.problems
        assert image.size == next(one["Size"] for one in truth("truth", "images-all") if one["Id"] == LEGACY)
        assert run1_is_whole(session)


def test_a_missing_config_blob_costs_the_history(root: Path) -> None:
    config = manifest_of(root, LEGACY)["config"]
    blob(root, config["digest"]).unlink()
    with opened(root) as session:
        assert problems_at(session, blob(root, config["digest"]))
        image = session.find("demo/app:legacy").image
        assert image is not None and image.history == () and image.repo_tags == ("demo/app:also", "demo/app:legacy")
        assert session.levels(session.find("demo/app:legacy")) == ()
        assert len(session.levels(session.find("run1"))) == 8 and run1_is_whole(session)


@pytest.mark.parametrize("digest", [LEGACY, MULTI])
def test_a_missing_target_leaves_a_name(root: Path, digest: str) -> None:
    blob(root, digest).unlink()
    with opened(root) as session:
        (told,) = problems_at(session, blob(root, digest))
        assert "is missing, and is what" in told.what
        image = session.find(digest).image
        assert image is not None and image.broken and image.repo_tags
        assert run1_is_whole(session)


def test_a_missing_manifest_leaves_the_other_platform(root: Path) -> None:
    blob(root, MULTI_AMD64).unlink()
    with opened(root) as session:
        assert problems_at(session, blob(root, MULTI_AMD64))
        image = session.find("demo/multi:1").image
        assert image is not None and image.architecture == "arm64"
        assert [manifest.available for manifest in image.manifests or ()] == [False, True, True, True]
        levels = session.levels(session.find("demo/multi:1"))
        assert [level.cache_id for level in levels] == ["55", None], "both platforms have the first layer"
        notes = [problem for problem in image.problems if problem.severity is Severity.NOTE]
        assert "is not unpacked (“linux/arm64”); its layers are here compressed" in notes[0].what


def test_missing_content_leaves_names_and_files(root: Path) -> None:
    shutil.rmtree(root / "containerd/io.containerd.content.v1.content")
    with opened(root) as session:
        look_at_everything(session)
        assert {tag for image in session.store.images() for tag in image.repo_tags} >= {"demo/base:1", "demo/multi:1"}
        assert all(image.broken for image in session.store.images())
        assert run1_is_whole(session)
        folder = f"{root}/containerd/io.containerd.content.v1.content/blobs"
        assert any(problem.path == folder for problem in session.problems())


def test_a_changed_config_is_told_and_shown(root: Path) -> None:
    config = blob(root, manifest_of(root, LEGACY)["config"]["digest"])
    change(config, lambda value: {**value, "author": "somebody else"})
    with opened(root) as session:
        (told,) = problems_at(session, config)
        assert "was changed: its digest is sha256:" in told.what
        image = session.find("demo/app:legacy").image
        assert image is not None and image.author == "somebody else" and told in image.problems


BAD_JSON = [
    "",
    "{",
    "[]",
    "null",
    "5",
    '{"manifests": 5}',
    '{"config": {"digest": 5}}',
    "[" * 5000,
    b"\xff\xfe\x00\xd8",
]


@pytest.mark.parametrize("which", ["index", "manifest", "config"])
@pytest.mark.parametrize("text", BAD_JSON, ids=range(len(BAD_JSON)))
def test_blobs_that_are_no_json(root: Path, which: str, text: str | bytes) -> None:
    digest = {"index": MULTI, "manifest": LEGACY, "config": manifest_of(root, LEGACY)["config"]["digest"]}[which]
    path = blob(root, digest)
    path.chmod(0o644)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with opened(root) as session:
        assert problems_at(session, path)
        assert len(session.store.images()) == 15 and run1_is_whole(session)


# ---------------------------------------------------------------------- snapshots
def test_a_missing_snapshot_folder(root: Path) -> None:
    folder = root / "containerd" / SNAPSHOTTER / "snapshots"
    shutil.rmtree(folder / "15")
    with opened(root) as session:
        subject = session.find("run1")
        container = next(usage.container for usage in session.containers() if usage.container.name == "run1")
        assert [problem.path for problem in container.problems] == [str(folder / "15/fs")]
        assert next(level for level in session.levels(subject) if level.cache_id == "15").size == 24576
        paths = {entry.path for entry in session.entries(subject, recursive=True)}
        assert "bin/busybox" in paths and "data/dir/n" not in paths


def test_a_missing_writable_folder(root: Path) -> None:
    folder = root / "containerd" / SNAPSHOTTER / "snapshots/72"
    shutil.rmtree(folder)
    with opened(root) as session:
        usage = next(usage for usage in session.containers() if usage.container.name == "run1")
        assert usage.size_rw is None
        assert [problem.path for problem in usage.container.problems] == [str(folder / "fs")]
        assert len(session.levels(session.find("run1"))) == 8


def test_all_folders_missing(root: Path) -> None:
    shutil.rmtree(root / "containerd" / SNAPSHOTTER / "snapshots")
    with opened(root) as session:
        look_at_everything(session)
        assert len(session.store.images()) == 15
        assert session.levels(session.find("run1"))[0].size == 3346432
        missing = {problem.path for problem in session.problems() if problem.what == "contents missing"}
        assert f"{root}/containerd/{SNAPSHOTTER}/snapshots/1/fs" in missing


def test_a_folder_without_a_record_is_told(root: Path) -> None:
    snapshots = root / "containerd" / SNAPSHOTTER / "snapshots"
    (snapshots / "4711/fs").mkdir(parents=True)
    (snapshots / "new-123/fs").mkdir(parents=True)
    with opened(root) as session:
        (told,) = problems_at(session, snapshots)
        assert told.severity is Severity.NOTE and "1 folders without a record: “4711”" in told.what


def test_a_blob_without_a_record_is_told(root: Path) -> None:
    blob(root, "sha256:" + "ab" * 32).write_bytes(b"nobody's")
    with opened(root) as session:
        (told,) = problems_at(session, blob(root, "x").parents[1])
        assert told.severity is Severity.NOTE and "1 blobs that no namespace has a record of" in told.what


# ---------------------------------------------------------------------- meta.db
def test_a_torn_meta_page_costs_the_last_change(root: Path) -> None:
    tear_newest(root / "containerd" / META)
    with opened(root) as session:
        look_at_everything(session)
        assert len(session.store.images()) == 15 and run1_is_whole(session)


def test_names_that_are_lost_altogether(root: Path) -> None:
    """The snapshotter's keys hold the namespace's, docker's containers name their images: enough for both."""
    tear_newest(root / "containerd" / META, both=True)
    with opened(root) as session:
        (told,) = problems_at(session, root / "containerd" / META)
        assert "no valid meta page" in told.what
        wanted = {one["Id"]: one.get("SizeRootFs") for one in truth("truth", "ps-as")}
        assert {usage.container.id: usage.size_root_fs for usage in session.containers()} == wanted
        assert run1_is_whole(session)
        images = {image.id: image for image in session.store.images()}
        assert set(images) == {one["ImageID"] for one in truth("truth", "ps-as")}
        assert {image.repo_tags for image in images.values()} == {()}
        history = truth("truth", "image-history")[LEGACY]
        assert [row.size for row in session.history(session.find("run1"))] == [row["Size"] for row in history]


def test_names_that_are_partly_lost(root: Path) -> None:
    """A page in the middle of the tree is overwritten; both states need it."""
    path = root / "containerd" / META
    data = bytearray(path.read_bytes())
    page = data.index(b"docker.io/demo/app:legacy") // 4096
    for place in [found.start() // 4096 for found in re.finditer(b"docker.io/demo/app:legacy", bytes(data))]:
        data[place * 4096 + 8 : place * 4096 + 12] = b"\xff\xff\xff\xff"
    assert page
    path.write_bytes(data)
    with opened(root) as session:
        (told,) = problems_at(session, path)
        assert "what can be reached is shown" in told.what
        assert run1_is_whole(session) and len(session.levels(session.find("run1"))) == 8
        assert LEGACY in {image.id for image in session.store.images()}


@pytest.mark.parametrize("how", ["missing", "empty", "zeros", "directory", "link", "gigantic"])
def test_no_names(root: Path, how: str) -> None:
    path = root / "containerd" / META
    size = path.stat().st_size
    remove(path)
    if how == "directory":
        path.mkdir()
    elif how == "link":
        path.symlink_to("/etc/passwd")
    elif how != "missing":
        path.write_bytes(b"" if how == "empty" else bytes(size))
        if how == "gigantic":
            os.truncate(path, 1 << 40)
    with opened(root) as session:
        (told,) = problems_at(session, path)
        assert told.severity is Severity.ERROR and "names of images" in told.effect
        assert run1_is_whole(session)
        assert len(session.store.images()) == 5


# ---------------------------------------------------------------------- the snapshotter's records
@pytest.mark.parametrize("how", ["missing", "torn"])
def test_lost_folder_numbers(root: Path, how: str) -> None:
    path = root / "containerd" / RECORDS
    if how == "missing":
        path.unlink()
    else:
        tear_newest(path, both=True)
    with opened(root) as session:
        (told,) = problems_at(session, path)
        assert "which folder holds which snapshot" in told.effect
        assert len(session.store.images()) == 15
        levels = session.levels(session.find("run1"))
        assert [level.role for level in levels].count(Role.INIT) == 3
        assert {level.cache_id for level in levels} == {None}
        assert {level.chain_id for level in levels} >= {BASE_CHAIN}
        history = truth("truth", "image-history")[LEGACY]
        rows = session.history(session.find("demo/app:legacy"))
        assert [row.created_by for row in rows] == [row["CreatedBy"] for row in history]


def test_both_databases_lost(root: Path) -> None:
    for path in (META, RECORDS):
        tear_newest(root / "containerd" / path, both=True)
    with open_root(root / "docker", containerd_root=root / "containerd") as session:
        look_at_everything(session)
        assert {container.name for container in session.store.containers()} >= {"run1", "exit1"}
        paths = {problem.path for problem in session.problems()}
        assert {str(root / "containerd" / META), str(root / "containerd" / RECORDS)} <= paths
        assert session.history(session.find("run1")), "docker's record and the blobs still tell how it was made"


def test_two_databases_that_disagree(root: Path) -> None:
    """The snapshotter's parent is what would be mounted."""
    meta = root / "containerd" / META
    other = b"sha256:" + b"0" * 64
    rewrite(meta, b"parent" + BASE_CHAIN.encode(), b"parent" + other)
    with opened(root) as session:
        told = problems_at(session, meta)
        assert any(f"; the snapshotter names “{BASE_CHAIN}”" in problem.what for problem in told)
        assert all(problem.severity is Severity.WARNING for problem in told)
        assert run1_is_whole(session)


def test_a_circle_of_parents_ends(root: Path) -> None:
    """A snapshot that stands on itself, and others on it."""
    with opened(root) as session:
        store: Any = session.store
        by_key = store.snapshots.by_key
    pairs = [(one, by_key[one.parent]) for one in by_key.values() if one.parent]
    above, below = next((a, b) for a, b in pairs if len(a.stored_key) == len(b.stored_key))
    rewrite(root / "containerd" / RECORDS, f"parent{below.stored_key}".encode(), f"parent{above.stored_key}".encode())
    with opened(root) as session:
        told = problems_at(session, root / "containerd" / META)
        assert any("in a circle" in problem.what for problem in told)
        assert all(len(session.levels(subject)) <= 12 for subject in subjects(session))


def test_a_container_without_its_snapshot(root: Path) -> None:
    rewrite(root / "containerd" / META, RUN1.encode(), NEXT.encode())
    with opened(root) as session:
        container = session.find("run1").container
        assert container is not None and container.mount_id is None
        assert f"has no snapshot {RUN1} of overlayfs" in container.problems[0].what
        assert container.problems[0].path == str(root / "containerd" / META)
        levels = session.levels(session.find("run1"))
        assert [level.role for level in levels][-1] is Role.RW and levels[0].cache_id == "1"
        assert {path for path in (level.path for level in levels) if path}, "its image's layers are shown"


@pytest.mark.parametrize(("leases", "said"), [({}, 1), (None, 0), ({RUN1: None}, 0)])
def test_a_container_without_a_lease(containerd_samples: Path, leases: Any, said: int) -> None:
    """docker doesn't load it, containerd removes its layers; where meta.db isn't whole nothing can be told."""
    with open_root(containerd_samples / "root/docker") as session:
        store: Any = session.store
        around = SnapshotJoining("overlayfs", None, store.snapshots, {}, leases, "META")
        problems: list[Problem] = []
        layers = around.layers_of(ContainerID(RUN1), ContainerConfig(), problems)
        assert (layers.mount_id, layers.init_id) == ("72", "71")
        assert [problem.path for problem in problems] == ["META"] * said
        assert all("has no lease" in problem.what for problem in problems)


# ---------------------------------------------------------------------- docker's half
def test_a_damaged_container_record(root: Path) -> None:
    config = root / "docker/containers" / RUN1 / "config.v2.json"
    config.write_text("{")
    with opened(root) as session:
        container = session.find(RUN1).container
        assert container is not None and container.name == "" and container.mount_id == "72"
        assert [problem.path for problem in container.problems] == [f"containers/{RUN1}/config.v2.json"]
        wanted = {change["Path"] for change in truth("truth", "container-diff")["run1"]}
        assert {f"/{change.path}" for change in session.changes(session.find(RUN1))} == wanted


def test_a_missing_volume_database_is_no_error(root: Path) -> None:
    (root / "docker/volumes/metadata.db").unlink()
    with opened(root) as session:
        assert [volume.name for volume in session.store.volumes()] == ["vol1"]
