"""A containerd store made by an attacker: nothing is followed, opened or believed, and nothing hangs."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from containerd_roots import BLOBS, META, RUN1, SNAPSHOTTER, copy, remove

from layerscope import open_root
from layerscope.errors import LayerscopeError
from layerscope.model.subject import Subject
from layerscope.services import Session

MULTI = "sha256:004596699d73750c66e0d27fd3ad93ce4966e94ae17e8007321c813819e801ee"
RECORDS = f"{SNAPSHOTTER}/metadata.db"
INDEX = "application/vnd.oci.image.index.v1+json"
OUTSIDE = "read from outside"


@pytest.fixture
def root(containerd_samples: Path, tmp_path: Path) -> Path:
    """A copy of the sample of docker 29, with something beside it that must never be read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/config.v2.json").write_text(json.dumps({"ID": OUTSIDE, "Name": OUTSIDE}))
    (tmp_path / "outside/status").write_text(json.dumps({"ExitCode": 4711, "FinishedAt": 1}))
    return copy(containerd_samples / "root", tmp_path / "root")


def read_everything(session: Session) -> str:
    """Ask for everything that is told of records; all of it as one text."""
    told: list[object] = [session.info(), session.images()]
    for subject in subjects(session):
        told.append(session.levels(subject))
        told.append(json.dumps(session.records(subject)))
        if subject.image is not None:
            told.append(session.history(subject))
    told.append(session.problems())
    return repr(told)


def subjects(session: Session) -> Iterator[Subject]:
    for image in session.store.images():
        yield Subject(image, None)
    for container in session.store.containers():
        yield Subject(None, container)


def patch(path: Path, old: bytes, new: bytes) -> None:
    assert len(old) == len(new)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def put_blob(root: Path, content: object) -> str:
    """A blob without a record, by its true digest."""
    data = json.dumps(content).encode()
    name = sha256(data).hexdigest()
    (root / "containerd" / BLOBS / name).write_bytes(data)
    return f"sha256:{name}"


def set_blob(root: Path, digest: str, content: object) -> None:
    """Other bytes for a blob that has a record."""
    path = root / "containerd" / BLOBS / digest.removeprefix("sha256:")
    path.chmod(0o644)
    path.write_text(json.dumps(content))


# ---------------------------------------------------------------------- ids and names
@pytest.mark.parametrize("id_", ["../../", "a/b/cd", "......", "\0aaaaa", "\x1b[31mX"[:6], "-rf / "])
def test_container_ids_are_no_paths(containerd_samples: Path, tmp_path: Path, id_: str) -> None:
    place = copy(containerd_samples / "root-k8s/containerd", tmp_path / "containerd")
    (tmp_path / "status").write_text(json.dumps({"ExitCode": 4711, "FinishedAt": 1}))
    for path in (META, RECORDS):
        patch(place / path, b"plain1", id_.encode().ljust(6, b"x"))
    with open_root(place, namespace="default") as session:
        text = read_everything(session)
        assert "4711" not in text
        (container,) = session.store.containers()
        assert container.id == id_.ljust(6, "x")
        assert len(session.levels(Subject(None, container))) == 3


def test_a_namespace_is_no_path(containerd_samples: Path, tmp_path: Path) -> None:
    place = copy(containerd_samples / "root-k8s/containerd", tmp_path / "containerd")
    for path in (META, RECORDS):
        patch(place / path, b"k8s.io", b"k/../.")
    with open_root(place, namespace="k/../.") as session:
        read_everything(session)
        assert len(session.store.containers()) == 3
        assert all(session.levels(subject) for subject in subjects(session))


@pytest.mark.parametrize("driver", ["../../outside", "overlayfs/../../..", "", "a" * 300, "\0", "..", "vfs", "ünï"])
def test_a_snapshotters_name_is_no_path(root: Path, driver: str) -> None:
    config = root / "docker/containers" / RUN1 / "config.v2.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "Driver": driver}))
    with open_root(root / "docker") as session:
        assert OUTSIDE not in read_everything(session)
        assert len(session.store.containers()) == (6 if driver == "" else 5)


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../../../etc/passwd",
        "sha256:" + "A" * 64,
        "md5:" + "a" * 32,
        "",
        "sha256:",
        "../x",
        "sha256:\0",
    ],
)
def test_digests_are_no_paths(root: Path, digest: str) -> None:
    set_blob(root, MULTI, {"mediaType": INDEX, "manifests": [{"mediaType": INDEX, "digest": digest, "size": 1}]})
    config = root / "docker/containers" / RUN1 / "config.v2.json"
    record = json.loads(config.read_text())
    config.write_text(json.dumps({**record, "Image": digest, "ImageManifest": {"digest": digest}}))
    with open_root(root / "docker") as session:
        text = read_everything(session)
        assert "root:x:0:0" not in text
        assert any("which is no digest" in problem.what for problem in session.problems())


def test_a_digest_of_an_image_record_is_no_path(root: Path) -> None:
    patch(root / "containerd" / META, MULTI.encode(), b"sha256:" + b"../" * 21 + b"x")
    with open_root(root / "docker") as session:
        read_everything(session)
        assert any("which is no digest" in problem.what for problem in session.problems())
        assert len(session.store.images()) == 14


# ---------------------------------------------------------------------- what isn't a file
def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_gigantic(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize("make", [make_fifo, make_directory, make_link, make_gigantic])
@pytest.mark.parametrize("path", [META, RECORDS, f"{BLOBS}/{MULTI.removeprefix('sha256:')}"])
def test_anything_but_a_file_is_not_opened(root: Path, path: str, make: Any) -> None:
    target = root / "containerd" / path
    remove(target)
    make(target)
    with open_root(root / "docker", containerd_root=root / "containerd") as session:
        assert "root:x:0:0" not in read_everything(session)
        assert len(session.store.containers()) == 6
        assert any(problem.path == str(target) for problem in session.problems())


@pytest.mark.parametrize(
    "folder",
    ["io.containerd.metadata.v1.bolt", SNAPSHOTTER, f"{SNAPSHOTTER}/snapshots", f"{SNAPSHOTTER}/snapshots/72", BLOBS],
)
def test_a_link_in_the_place_of_a_folder_is_not_followed(root: Path, tmp_path: Path, folder: str) -> None:
    target = root / "containerd" / folder
    target.rename(tmp_path / "moved")
    target.symlink_to(tmp_path / "moved")
    with open_root(root / "docker", containerd_root=root / "containerd") as session:
        read_everything(session)
        assert session.problems(), "what is behind the link is missing, and told"
        if folder.endswith("/72"):
            subject = session.find("run1")
            assert subject.container is not None and session.measured(subject.container).size_rw is None
            assert "new" not in {entry.path for entry in session.entries(subject)}


def test_the_managed_place_is_not_reached_through_a_link(containerd_samples: Path, tmp_path: Path) -> None:
    docker = copy(containerd_samples / "root-managed/docker", tmp_path / "docker")
    (docker / "containerd").rename(tmp_path / "moved")
    (docker / "containerd").symlink_to(tmp_path / "moved")
    with open_root(docker) as session:
        assert session.store.images() == ()


# ---------------------------------------------------------------------- endless and enormous
def test_an_index_of_itself_ends(root: Path) -> None:
    entry = {"mediaType": INDEX, "digest": MULTI, "size": 1}
    set_blob(root, MULTI, {"mediaType": INDEX, "manifests": [entry] * 50})
    started = time.monotonic()
    with open_root(root / "docker") as session:
        read_everything(session)
    assert time.monotonic() - started < 10


def test_sizes_that_are_no_sizes(root: Path) -> None:
    manifest = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": MULTI, "size": -(1 << 70)}
    layers = [{"digest": "sha256:" + "1" * 64, "size": -5}, None, {"size": 1 << 90}, {"digest": 5}]
    set_blob(root, MULTI, {"manifests": [manifest], "config": {"digest": MULTI, "size": 1 << 80}, "layers": layers})
    with open_root(root / "docker") as session:
        read_everything(session)
        assert all((image.content_size or 0) >= 0 for image in session.store.images())


def test_very_many_layers(root: Path) -> None:
    layer = {"mediaType": "x", "digest": "sha256:" + "2" * 64, "size": 1}
    document = {"mediaType": INDEX, "manifests": [{"digest": MULTI, "size": 1}] * 100_000, "layers": [layer] * 100_000}
    set_blob(root, MULTI, document)
    started = time.monotonic()
    with open_root(root / "docker") as session:
        read_everything(session)
    assert time.monotonic() - started < 20


# ---------------------------------------------------------------------- random damage
def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` with some bytes changed, removed, doubled or cut."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        at = rng.randrange(max(len(found), 1))
        match rng.randrange(6):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                found[at : at + 1] = bytes([found[at] ^ 1 << rng.randrange(8)]) if found else b""
            case 2:
                length = rng.randrange(1, 64)
                found[at : at + length] = rng.randbytes(length)
            case 3:
                del found[at : at + rng.randrange(1, 16)]
            case 4:
                found[at:at] = found[at : at + rng.randrange(1, 32)]
            case _:
                start = rng.randrange(max(len(found), 1))
                length = rng.choice((4, 16, 64))
                found[at : at + length] = found[start : start + length]
        if rng.random() < 0.02:
            del found[at:]
    return bytes(found)


def in_used_pages(data: bytes, rng: random.Random) -> bytes:
    """A database with damage in one page that isn't empty; its length stays, so that pages keep their places."""
    pages = [number for number in range(len(data) // 4096) if any(data[number * 4096 + 16 : number * 4096 + 512])]
    number = rng.choice(pages)
    page = mutated(data[number * 4096 : (number + 1) * 4096], rng)[:4096].ljust(4096, b"\0")
    return data[: number * 4096] + page + data[(number + 1) * 4096 :]


def check_damaged(root: Path, seeds: Iterator[int]) -> int:
    """Damage one file a time, read everything, put it back. Only our own errors may come out, and soon."""
    containerd, docker = root / "containerd", root / "docker"
    databases = [containerd / META, containerd / RECORDS]
    blobs = [path for path in (containerd / BLOBS).iterdir() if path.read_bytes()[:1] == b"{"]
    records = sorted(docker.glob("containers/*/config.v2.json"))
    told = 0
    for seed in seeds:
        rng = random.Random(seed)
        path = rng.choice(rng.choice([databases, databases, sorted(blobs), records]))
        good = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes((in_used_pages if path.suffix == ".db" else mutated)(good, rng))
        started = time.monotonic()
        try:
            with open_root(docker, containerd_root=containerd) as session:
                read_everything(session)
                told += bool(session.problems())
        except LayerscopeError as error:
            assert not re.search(r"[\x00-\x1f]", str(error)), seed
        finally:
            path.write_bytes(good)
        assert time.monotonic() - started < 10, (seed, path)
    return told


def test_random_damage(root: Path) -> None:
    assert check_damaged(root, iter(range(300))) > 100


@pytest.mark.full
def test_random_damage_full(root: Path) -> None:
    assert check_damaged(root, iter(range(1000, 11_000))) > 3000


def test_random_damage_under_kubernetes(containerd_samples: Path, tmp_path: Path) -> None:
    place = copy(containerd_samples / "root-k8s/containerd", tmp_path / "containerd")
    for seed in range(60):
        rng = random.Random(seed)
        path = rng.choice([place / META, place / RECORDS, *sorted(place.glob("io.containerd.grpc.v1.cri/*/*/status"))])
        good = path.read_bytes()
        path.write_bytes((in_used_pages if path.suffix == ".db" else mutated)(good, rng))
        for namespace in ("k8s.io", "default"):
            try:
                with open_root(place, namespace=namespace) as session:
                    read_everything(session)
            except LayerscopeError:
                pass
        path.write_bytes(good)
