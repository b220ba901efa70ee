"""Every answer that podman gave about the sample roots, and ours."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import stat as modes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tree_facts
from podman_roots import truth, truth_lines
from podman_words import digest

from layerscope import open_root
from layerscope.analysis.changes.storage import storage_changes
from layerscope.formats.units import human_size
from layerscope.model.change import Change
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.stores.podman.store import PodmanStore

DRIVERS = ("overlay", "vfs")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="owners, device nodes and trusted.* marks of the samples are lost when unpacked without root",
)


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each sample by its driver."""
    return str(request.param)


@pytest.fixture(scope="module")
def session(driver: str, podman_samples: dict[str, Path]) -> Iterator[Session]:
    """A session on the sample."""
    with open_root(podman_samples[driver]) as opened:
        yield opened


@contextmanager
def kernel_mount(session: Session, subject: Subject, point: Path) -> Iterator[Path]:
    """All levels of a subject, mounted by the kernel, read-only; of whole trees the topmost."""
    point.mkdir(exist_ok=True)
    layers = [str(session.path / (level.path or "")) for level in reversed(session.levels(subject))]
    if session.driver == "vfs":
        yield Path(layers[0])
        return
    # The kernel wants two directories at least.
    (point.parent / "empty").mkdir(exist_ok=True)
    options = f"lowerdir={':'.join([*layers, str(point.parent / 'empty')])}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


# ---------------------------------------------------------------------- images
def test_images(driver: str, session: Session) -> None:
    ours = {
        usage.image.id: (
            list(usage.image.repo_tags),
            list(usage.image.repo_digests),
            usage.image.parent or "",
            usage.image.size,
            usage.image.created,
            usage.image.author,
            usage.image.architecture,
            usage.image.os,
            list(usage.image.diff_ids),
        )
        for usage in session.images()
    }
    assert ours == {
        digest(image["Id"]): (
            image["RepoTags"],
            image["RepoDigests"],
            digest(image["Parent"]),
            image["Size"],
            image["Created"],
            image["Author"],
            image["Architecture"],
            image["Os"],
            image["RootFS"]["Layers"],
        )
        for image in truth(driver, "image-inspect")
    }


def test_list_of_images(driver: str, session: Session) -> None:
    """Parents, sizes, digests and users as ``podman images -a`` has them; one line a name."""
    ours = {usage.image.id: usage for usage in session.images()}
    theirs = truth(driver, "images-all")
    assert ours.keys() == {digest(image["Id"]) for image in theirs}
    for image in theirs:
        usage = ours[digest(image["Id"])]
        assert usage.image.parent == (digest(image["ParentId"]) or None)
        assert usage.image.size == image["Size"] == image["VirtualSize"]
        assert list(usage.image.repo_digests) == image["RepoDigests"]
        assert usage.containers == image["Containers"]
        assert usage.dangling == image.get("Dangling", False)
        assert (usage.image.created or "").startswith(image["CreatedAt"].removesuffix("Z"))
    newest_first = [usage.image.created or "" for usage in session.images()]
    assert newest_first == sorted(newest_first, reverse=True)


def test_history(driver: str, session: Session) -> None:
    for image, rows in truth(driver, "image-history").items():
        ours = [(row.created, row.created_by, row.size, row.comment) for row in session.history(session.find(image))]
        assert ours == [(row["created"], row["CreatedBy"], row["size"], row.get("comment", "")) for row in rows]


@pytest.mark.parametrize("driver", ["overlay"], indirect=True)
def test_table_of_images(session: Session) -> None:
    named = {tag: usage for usage in session.images() for tag in usage.image.repo_tags or (usage.image.id[7:19],)}
    lines = [line.split() for line in truth_lines("overlay", "images")[1:]]
    assert len(lines) == len(named)
    for name, tag, identifier, *rest in lines:
        usage = named[f"{name}:{tag}" if name != "<none>" else identifier]
        assert usage.image.id[7:19] == identifier
        assert human_size(usage.image.size or 0, 3) == "".join(rest[-2:])


@pytest.mark.parametrize("driver", ["overlay"], indirect=True)
def test_shared_and_unique_bytes(session: Session) -> None:
    named = {tag: usage for usage in session.images() for tag in usage.image.repo_tags or (usage.image.id[7:19],)}
    rows = [line.split() for line in truth_lines("overlay", "system-df-v") if re.match(r"(localhost|<none>)", line)]
    assert len(rows) == len(named)
    for name, tag, identifier, *_created, size, shared, unique, containers in rows:
        usage = named[f"{name}:{tag}" if name != "<none>" else identifier]
        assert usage.shared_size is not None and usage.unique_size is not None
        numbers = (usage.image.size or 0, usage.shared_size, usage.unique_size)
        assert [human_size(number, 4) for number in numbers] == [size, shared, unique]
        assert usage.containers == int(containers)
    images, containers, volumes = truth("overlay", "system-df")
    assert (images["Total"], containers["Total"], volumes["Total"]) == (len(named), 5, 1)
    layers = sum(layer.size or 0 for layer in session.store.layers().values())
    stacks = {image.id: session.levels(session.find(image.id)) for image in session.store.images()}
    items = [(image.size or 0) - sum(level.size or 0 for level in stacks[image.id]) for image in session.store.images()]
    assert layers + sum(items) == images["RawSize"]


@pytest.mark.parametrize("driver", ["overlay"], indirect=True)
def test_layers_of_images(session: Session) -> None:
    """Base first in podman's tree of layers, with sizes and the images they are on top of."""
    image = ""
    number = 0
    for line in truth_lines("overlay", "image-tree"):
        if line.startswith("== "):
            image, number = line[3:], 0
        found = re.match(r".*── ID: (\w+) Size:\s+(\S+)(?: Top Layer of: \[(.*)\])?", line)
        if found is not None:
            levels = session.levels(session.find(image))
            level = levels[number]
            assert (level.cache_id or "")[:12] == found[1]
            assert human_size(level.size or 0, 4) == found[2]
            tops = {
                tag
                for one in session.store.images()
                for tag in one.repo_tags
                if session.levels(session.find(one.id))[-1].cache_id == level.cache_id
            }
            assert tops == set((found[3] or "").split())
            number += 1


# ---------------------------------------------------------------------- containers
def test_containers(driver: str, session: Session) -> None:
    ours = {
        one.id: (
            one.name,
            one.image,
            one.image_id,
            one.state,
            one.exit_code,
            one.created,
            one.started_at,
            one.finished_at,
            one.driver,
            dict(one.labels),
            [(mount.type, mount.name, mount.source, mount.destination, mount.rw) for mount in one.mounts],
            one.log_path,
        )
        for one in session.store.containers()
    }
    assert ours == {
        told["Id"]: (
            told["Name"],
            told["ImageName"],
            digest(told["Image"]),
            told["State"]["Status"],
            told["State"]["ExitCode"],
            told["Created"],
            told["State"]["StartedAt"],
            told["State"]["FinishedAt"],
            told["Driver"],
            told["Config"]["Labels"] or {},
            [
                (mount["Type"], mount.get("Name", ""), mount["Source"], mount["Destination"], mount["RW"])
                for mount in told["Mounts"]
            ],
            log_of(told, session),
        )
        for told in truth(driver, "container-inspect")
    }


def log_of(told: Any, session: Session) -> str | None:
    """Where the log lies below the root, by the path that podman tells; None if it was never written."""
    path = "/".join(Path(told["HostConfig"]["LogConfig"]["Path"]).parts[-4:])
    return path if (session.path / path).exists() else None


def test_list_of_containers(driver: str, session: Session) -> None:
    """``podman ps -as``: commands, states and sizes.

    podman adds to the bytes of the writable layer those in the container's folder, and those in its run directory,
    which isn't on the disk of a machine that stopped: 212 to 218 bytes of each container that ran.
    """
    ours = {usage.container.id: usage for usage in session.containers()}
    theirs = truth(driver, "ps-as")
    assert ours.keys() == {told["Id"] for told in theirs}
    for told in theirs:
        usage = ours[told["Id"]]
        assert usage.container.command == " ".join(quoted(word, place) for place, word in enumerate(told["Command"]))
        assert (usage.container.state, usage.container.exit_code) == (told["State"], told["ExitCode"])
        assert usage.container.image_id == digest(told["ImageID"])
        assert usage.size_rw is not None and usage.size_root_fs is not None
        beside = bytes_below(session.path / f"{driver}-containers" / told["Id"])
        in_run_directory = told["Size"]["rwSize"] - usage.size_rw - beside
        assert in_run_directory in (range(212, 219) if told["Exited"] else (0,))
        assert usage.size_root_fs - usage.size_rw == told["Size"]["rootFsSize"] - told["Size"]["rwSize"]
    for told in truth("overlay", "container-inspect-size") if driver == "overlay" else ():
        usage = ours[told["Id"]]
        assert (usage.size_root_fs or 0) - (usage.size_rw or 0) == told["SizeRootFs"] - told["SizeRw"]


def quoted(word: str, place: int) -> str:
    """docker's way of joining a command, in which its tables show it."""
    return f"'{word}'" if " " in word and place else word


def bytes_below(folder: Path) -> int:
    """The bytes of everything but directories below a folder."""
    found = [os.lstat(os.path.join(place, name)) for place, _folders, names in os.walk(folder) for name in names]
    return sum(stat.st_size for stat in found if not modes.S_ISDIR(stat.st_mode))


@needs_root
def test_layers_of_containers(driver: str, session: Session) -> None:
    """The directories that podman mounts, each where it is said to lie."""
    for told in truth(driver, "container-inspect"):
        levels = session.levels(session.find(told["Id"]))
        assert [str(level.role) for level in levels] == ["image"] * (len(levels) - 1) + ["rw"]
        assert all(level.path is not None and (session.path / level.path).is_dir() for level in levels)
        mounted = told["GraphDriver"]["Data"] or {}
        if "UpperDir" in mounted:
            lower = [Path(path).parts[-3:] for path in mounted["LowerDir"].split(":")]
            wanted = [Path(mounted["UpperDir"]).parts[-3:], *lower]
            assert [Path(level.path or "").parts for level in reversed(levels)] == wanted


# ---------------------------------------------------------------------- changes
def lines_of(told: dict[str, list[str]]) -> set[str]:
    """podman's answer as lines."""
    letters = {"added": "A", "changed": "C", "deleted": "D"}
    return {f"{letters[kind]} {path}" for kind, paths in told.items() for path in paths}


def lines(changes: list[Change]) -> set[str]:
    """Ours."""
    return {f"{change.kind} /{change.path}" for change in changes}


@needs_root
def test_diff(driver: str, session: Session) -> None:
    for name, told in truth(driver, "container-diff").items():
        changes = session.changes(session.find(name))
        assert lines(changes) == lines_of(told), name
        assert [change.path for change in changes] == sorted((one.path for one in changes), key=os.fsencode)
        quick = session.changes(session.find(name), detail=False)
        assert [(one.kind, one.path) for one in quick] == [(one.kind, one.path) for one in changes]


@needs_root
@pytest.mark.parametrize("driver", ["overlay"], indirect=True)
def test_diff_of_images(session: Session) -> None:
    """``podman diff IMAGE``: what its top layer changed. Of an image of one layer everything is added, or changed."""
    for image, told in truth("overlay", "image-diff").items():
        view = session.view(session.find(image))
        assert isinstance(session.store, PodmanStore)
        assert lines(storage_changes(view, session.store.left_out_of_changes)) == lines_of(told), image


@needs_root
def test_merged_trees(session: Session, driver: str, tmp_path: Path) -> None:
    """Every file of every container and image, against the kernel's own mount of the same directories."""
    for subject in (*session.store.containers(), *session.store.images()):
        found = session.find(subject.id)
        with kernel_mount(session, found, tmp_path / "merged") as merged:
            wanted = tree_facts.of_kernel(merged)
        assert tree_facts.exact_of_session(session, found) == wanted
        out = io.BytesIO()
        assert session.export(found, out) == []
        assert set(tree_facts.of_tar(out.getvalue())) == wanted.keys()


# ---------------------------------------------------------------------- the rest
def test_volumes(session: Session, driver: str) -> None:
    ours = session.store.volumes()
    theirs = truth("overlay", "volumes") if driver == "overlay" else []
    assert [(one.name, one.driver, one.created, dict(one.labels), dict(one.options)) for one in ours] == [
        (told["Name"], told["Driver"], told["CreatedAt"], told["Labels"], told["Options"]) for told in theirs
    ]
    for one, told in zip(ours, theirs, strict=True):
        assert told["Mountpoint"].endswith(f"/storage/{one.path}")


def test_info(session: Session, driver: str) -> None:
    told = session.info()
    assert (told.store, told.driver, told.drivers, told.problems) == ("podman", driver, (driver,), ())
    assert told.daemon.held is False
    if driver == "overlay":
        theirs = truth("overlay", "info")["store"]
        assert told.driver == theirs["graphDriverName"]
        assert told.counts["images"] == theirs["imageStore"]["number"]
        assert told.counts["containers"] == theirs["containerStore"]["number"]
        assert told.counts["running"] == theirs["containerStore"]["running"]
        assert f"was last used at “{theirs['graphRoot']}”" in told.features


def test_sample_was_not_touched(session: Session, driver: str) -> None:
    """Reading db.sql leaves nothing beside it, and takes no lock that another connection would see."""
    before = {path.name for path in session.path.iterdir()}
    session.info()
    assert {path.name for path in session.path.iterdir()} == before
    with sqlite3.connect(f"file:{session.path}/db.sql?mode=ro", uri=True) as database:
        known = {name for (name,) in database.execute("SELECT ID FROM ContainerConfig")}
    assert known == {one.id for one in session.store.containers()}
