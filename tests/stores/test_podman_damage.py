"""Damaged roots of containers/storage: what can be read is shown, what can't is told, and a record costs itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import podman_roots
import pytest
from podman_roots import truth

from layerscope import open_root
from layerscope.errors import RootError
from layerscope.model.problem import Problem
from layerscope.services import Session
from layerscope.services.doctor import examine
from layerscope.stores.podman.big_data import file_name

BASE = "1703d05231bfe4e18a5f9a00d3404ea2104d7826811c74999425ba078257537a"
"""The layer of ``demo/base:1``, on which all but the images from scratch stand."""
COMMIT = "b25e8d1675807225e688f8f327aa1b147ed8fc4088b7ab3c363a1ecbaef3333a"
"""The topmost layer of ``demo/commit:1``, on which ``fromcommit`` stands."""
LAYERS, IMAGES, CONTAINERS = (f"overlay-{kind}/{kind}.json" for kind in ("layers", "images", "containers"))
NAMES = {"run1", "exit1", "created1", "fromcommit", "orphan"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a copy without whiteouts and marks is another root")


@pytest.fixture
def root(tmp_path: Path, podman_samples: dict[str, Path]) -> Path:
    """A copy of the overlay sample to damage."""
    return podman_roots.copy(podman_samples["overlay"], tmp_path / "storage")


@contextmanager
def opened(root: Path) -> Iterator[Session]:
    """A session on what is left, of which everything was asked once."""
    with open_root(root) as session:
        session.info()
        session.images()
        session.containers()
        yield session


def problems(session: Session, path: str) -> list[Problem]:
    """What is told of a path."""
    return [problem for problem in session.problems() if problem.path == path]


def names(session: Session) -> set[str]:
    """The containers."""
    return {one.name for one in session.store.containers()}


def images(session: Session) -> set[str]:
    """The images."""
    return {image.id.removeprefix("sha256:") for image in session.store.images()}


ALL_IMAGES = {image["Id"] for image in truth("overlay", "images-all")}


def edit(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change a list of records."""
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


# ---------------------------------------------------------------------- lists
def test_a_list_that_was_cut_gives_the_records_before_the_cut(root: Path) -> None:
    path = root / CONTAINERS
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'{"id":"953fc70f') + 30])
    with opened(root) as session:
        assert names(session) == {"run1", "exit1"}
        assert problems(session, CONTAINERS)[0].what.startswith("is damaged")
        assert images(session) == ALL_IMAGES


def test_a_hole_in_a_list_costs_the_record_in_it(root: Path) -> None:
    path = root / IMAGES
    data = path.read_bytes()
    place = data.index(b'"names":["localhost/demo/scratch:1"]')
    path.write_bytes(data[:place] + b"\0" * 20 + data[place + 20 :])
    lost = next(image["Id"] for image in truth("overlay", "image-inspect") if "scratch" in str(image["RepoTags"]))
    with opened(root) as session:
        assert images(session) == ALL_IMAGES - {lost}
        assert len(problems(session, IMAGES)) == 1
        assert names(session) == NAMES


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"[", b"\xff" * 100, b"[" * 100_000, b'"text"', b"[1, 2]"])
@pytest.mark.parametrize("name", [LAYERS, IMAGES, CONTAINERS])
def test_a_list_without_any_record(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    with opened(root) as session:
        assert problems(session, name)
        if name != CONTAINERS:
            assert names(session) == NAMES
        if name != IMAGES:
            assert images(session) == ALL_IMAGES


def test_records_with_fields_of_other_kinds(root: Path) -> None:
    def spoil(records: list[dict[str, Any]]) -> None:
        records[0]["names"] = 7
        records[1]["layer"] = "../../../etc"
        records[2]["created"] = ["never"]
        records[3]["big-data-sizes"] = {"manifest": "many", "manifest-x": 3}
        records[4]["id"] = "../escape"
        records.append({"names": ["nameless"]})

    before = json.loads((root / IMAGES).read_text())
    edit(root / IMAGES, spoil)
    with opened(root) as session:
        assert images(session) == ALL_IMAGES - {before[4]["id"]}
        told = " ".join(problem.what for problem in problems(session, IMAGES))
        for word in ("names", "../../../etc", "created", "manifest", "../escape", "without an ID"):
            assert word in told, word


def test_of_two_records_with_one_id_the_first_counts(root: Path) -> None:
    edit(root / CONTAINERS, lambda records: records.append({**records[0], "names": ["other"], "layer": "0" * 64}))
    with opened(root) as session:
        assert names(session) == NAMES
        assert "second record" in problems(session, CONTAINERS)[0].what


def test_volatile_records_count(root: Path) -> None:
    """A container of ``podman run --rm`` is in the lists of those that needn't survive a crash."""
    moved: list[dict[str, Any]] = []
    edit(root / CONTAINERS, lambda records: moved.append(records.pop(0)))
    (root / "overlay-containers/volatile-containers.json").write_text(json.dumps(moved))
    with opened(root) as session:
        assert names(session) == NAMES
        found = session.owners(moved[0]["id"])
        assert {one.claimed_by for one in found} == {None, "overlay-containers/volatile-containers.json"}


# ---------------------------------------------------------------------- layers
def test_a_layer_without_a_record_leaves_what_stands_on_it(root: Path) -> None:
    """Records tell of the levels above, and the driver's own ``lower`` of what is mounted below."""
    edit(root / LAYERS, lambda records: records.pop(0))
    with opened(root) as session:
        subject = session.find("run1")
        levels = session.levels(subject)
        assert levels[0].cache_id == BASE
        assert len(levels) == 5
        assert any(BASE in problem.what for problem in problems(session, CONTAINERS))
        assert session.store.images()
        assert all(image.size is None for image in session.store.images() if "demo/base:1" in str(image.repo_tags))


def test_layers_that_stand_on_themselves(root: Path) -> None:
    def close(records: list[dict[str, Any]]) -> None:
        next(one for one in records if one["id"] == BASE)["parent"] = COMMIT

    edit(root / LAYERS, close)
    with opened(root) as session:
        assert any("which stands on it" in problem.what for problem in problems(session, LAYERS))
        assert names(session) == NAMES
        assert len(session.store.levels(session.store.containers()[0])) < 10


def test_an_incomplete_layer_is_told(root: Path) -> None:
    edit(root / LAYERS, lambda records: records[0].update(flags={"incomplete": True}))
    with opened(root) as session:
        assert any("incomplete" in problem.what for problem in problems(session, LAYERS))
        assert session.find("localhost/demo/base:1").image is not None


def test_layers_without_their_directory(root: Path) -> None:
    shutil.rmtree(root / "overlay" / COMMIT)
    with opened(root) as session:
        told = problems(session, f"overlay/{COMMIT}")
        assert told and "contents missing" in told[0].what
        subject = session.find("fromcommit")
        shown = {entry.path for entry in session.entries(subject, recursive=True, detail=False)}
        assert {"x", "bin/busybox", "new/f"} <= shown  # new/f by the record of the layer's tar


@needs_root
def test_without_short_names_nothing_is_lost(root: Path) -> None:
    shutil.rmtree(root / "overlay/l")
    with opened(root) as session:
        lines = {f"{change.kind} /{change.path}" for change in session.changes(session.find("exit1"))}
        assert lines == {"C /data", "C /etc", "A /bye", "D /data/numbers.txt"}
        assert any("short name missing" in problem.what for problem in session.problems())


def test_layers_that_nobody_has(root: Path) -> None:
    """A container's record is gone: its layer stays."""
    gone: list[dict[str, Any]] = []
    edit(root / CONTAINERS, lambda records: gone.append(records.pop(0)))
    with opened(root) as session:
        told = " ".join(problem.what for problem in problems(session, LAYERS))
        assert gone[0]["layer"] in told
        assert gone[0]["id"] in " ".join(problem.what for problem in problems(session, "overlay-containers"))
        assert names(session) == NAMES - {"run1"}


def test_partly_pulled_layers_have_no_diff_id_of_their_own(root: Path) -> None:
    def forget(records: list[dict[str, Any]]) -> None:
        layer = next(one for one in records if one["id"] == BASE)
        layer["toc-digest"] = layer.pop("diff-digest")
        layer["diff-size"] = -1

    edit(root / LAYERS, forget)
    with opened(root) as session:
        image = session.find("localhost/demo/base:1").image
        assert image is not None
        told = next(one for one in truth("overlay", "image-inspect") if one["RepoTags"] == ["localhost/demo/base:1"])
        assert list(image.diff_ids) == told["RootFS"]["Layers"]  # the configuration has them
        assert image.size is None
        assert not image.problems
        assert any("layers pulled in parts" in feature for feature in session.info().features)


# ---------------------------------------------------------------------- images
def config_path(root: Path, image: str) -> Path:
    """Where an image's configuration lies."""
    return root / "overlay-images" / image / file_name(f"sha256:{image}")


def test_a_changed_configuration_is_told(root: Path) -> None:
    image = next(iter(ALL_IMAGES))
    path = config_path(root, image)
    path.write_bytes(path.read_bytes().replace(b"amd64", b"arm64"))
    with opened(root) as session:
        found = session.find(f"image:{image}").image
        assert found is not None and found.architecture == "arm64"
        assert any("was changed" in problem.what for problem in found.problems)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"history": {}}', b'{"rootfs": {"diff_ids": ["x", 7]}}'])
def test_an_image_without_its_configuration_keeps_its_layers(root: Path, content: bytes | None) -> None:
    image = next(
        one["Id"] for one in truth("overlay", "image-inspect") if one["RepoTags"] == ["localhost/demo/commit:1"]
    )
    path = config_path(root, image)
    path.unlink() if content is None else path.write_bytes(content)
    with opened(root) as session:
        subject = session.find("localhost/demo/commit:1")
        assert subject.image is not None and subject.image.problems
        assert len(session.levels(subject)) == 5
        rows = [(row.level, row.size) for row in session.history(subject)]
        assert rows == [(5, 28160), (4, 3584), (3, 4608), (2, 3584), (1, 2222080)]
        assert names(session) == NAMES


def test_an_image_that_is_gone_leaves_its_container(root: Path) -> None:
    edit(root / IMAGES, lambda records: records.clear())
    with opened(root) as session:
        assert names(session) == NAMES
        container = session.find("run1").container
        assert container is not None and container.image == "localhost/demo/app:1"
        assert len(session.levels(session.find("run1"))) == 5


def test_a_list_of_manifests_is_an_image_without_layers(root: Path) -> None:
    identifier = "ab" * 32
    folder = root / "overlay-images" / identifier
    folder.mkdir()
    (folder / "manifest").write_text(json.dumps({"schemaVersion": 2, "manifests": []}))
    record = {"id": identifier, "names": ["localhost/many:1"], "big-data-names": ["manifest"]}
    edit(root / IMAGES, lambda records: records.append({**record, "big-data-sizes": {"manifest": 40}}))
    with opened(root) as session:
        image = session.find("localhost/many:1").image
        assert image is not None
        assert (image.size, image.diff_ids, image.problems) == (40, (), ())
        assert "1 lists of manifests" in session.info().features


@pytest.mark.parametrize("how", ["missing", "damaged", "fifo"])
def test_a_layer_whose_tar_no_record_tells(root: Path, how: str) -> None:
    """``podman save`` needs the record: what can't be verified isn't called undamaged."""
    with opened(root) as session:
        assert examine(session) == []
    records = sorted((root / "overlay-layers").glob("*.tar-split.gz"))
    for record in records:
        record.unlink()
        if how == "damaged":
            record.write_bytes(b"no gzip")
        elif how == "fifo":
            os.mkfifo(record)
    with opened(root) as session:
        assert {one.path for one in examine(session)} == {f"overlay-layers/{record.name}" for record in records}


@pytest.mark.parametrize("how", ["link", "fifo"])
def test_a_folder_of_podmans_own_records_that_is_none(root: Path, tmp_path: Path, how: str) -> None:
    (root / "libpod").rename(tmp_path / "aside")
    if how == "link":
        (root / "libpod").symlink_to(tmp_path / "aside")
    else:
        os.mkfifo(root / "libpod")
    with opened(root) as session:
        assert len(problems(session, "libpod")) == 1
        assert names(session) == NAMES


# ---------------------------------------------------------------------- the whole
def test_a_root_with_two_drivers(root: Path, podman_samples: dict[str, Path]) -> None:
    for name in ("vfs", "vfs-layers", "vfs-images", "vfs-containers"):
        podman_roots.copy(podman_samples["vfs"] / name, root / name)
    with opened(root) as session:
        assert session.info().drivers == ("overlay", "vfs")
        assert names(session) == NAMES
    with open_root(root, driver="vfs") as session:
        assert names(session) == {"c1"}
        assert session.info().driver == "vfs"


def test_an_empty_root(root: Path) -> None:
    for kind in ("layers", "images", "containers"):
        shutil.rmtree(root / f"overlay-{kind}")
        (root / f"overlay-{kind}").mkdir()
    with opened(root) as session:
        assert session.store.name == "podman"
        assert not session.store.images() and not session.store.containers()


def test_a_root_without_lists_is_none(root: Path) -> None:
    for kind in ("layers", "images", "containers"):
        shutil.rmtree(root / f"overlay-{kind}")
    with pytest.raises(RootError, match="is not a docker data root"):
        open_root(root)


@pytest.mark.parametrize("key, name", [("manifest", "manifest"), ("a.b9", "a.b9"), ("sha256:x", "=c2hhMjU2Ong=")])
def test_names_of_items(key: str, name: str) -> None:
    assert file_name(key) == name


def test_a_rootless_root_is_told_by_its_place(tmp_path: Path, podman_samples: dict[str, Path]) -> None:
    place = tmp_path / ".local/share/containers"
    place.mkdir(parents=True)
    root = podman_roots.copy(podman_samples["vfs"], place / "storage")
    with open_root(root) as session:
        assert "rootless" in session.info().features
        assert session.info().daemon.held is None
