"""The drivers whose layers are whole trees, live: a real daemon's root while it runs and after it ended.

btrfs needs a file system of its own: an image file, mounted by a loop device in the place of the data root.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_facts
from btrfs_engine import mount_btrfs, no_btrfs
from engine import Engine
from world import World

from layerscope import open_root
from layerscope.overlay import MergedDirectory, own_entries
from layerscope.services import Session

DRIVERS = ["vfs", "overlay", pytest.param("btrfs", marks=pytest.mark.btrfs)]


class Lived(World):
    """A world on a driver, and what the daemon saved of its images."""

    def ask(self) -> None:
        """Everything, and the layers of each tagged image as tars."""
        super().ask()
        self.saved = {}
        for image in self.truth["images"]:
            for tag in image["RepoTags"] or []:
                if tag != "<none>:<none>":
                    self.saved[tag] = self.engine.call("GET", f"/images/{tag}/get")


@pytest.fixture(scope="module", params=DRIVERS)
def world(request: pytest.FixtureRequest) -> Iterator[Lived]:
    """An engine that runs, with content."""
    engine = Engine(request.param)
    try:
        if request.param == "btrfs":
            if (reason := no_btrfs()) is not None:
                pytest.skip(reason)
            mount_btrfs(engine)
        engine.start()
        made = Lived(engine)
        made.populate()
        made.ask()
        yield made
    finally:
        engine.remove()


@pytest.fixture(scope="module", params=["running", "stopped"])
def session(request: pytest.FixtureRequest, world: Lived) -> Iterator[Session]:
    """A session on its root; the containers that ran when the daemon ended are those of before."""
    if request.param == "stopped":
        world.engine.stop()
        world.engine.start()
        world.ask()
        world.engine.stop()
    with open_root(world.engine.root) as opened:
        yield opened


def test_the_driver_is_the_one_that_was_asked_for(world: Lived, session: Session) -> None:
    assert session.driver == world.engine.driver == world.truth["info"]["Driver"]
    assert [problem for problem in session.info().problems if problem.severity == "error"] == []


def test_sizes_of_images_and_containers(world: Lived, session: Session) -> None:
    images = {image["Id"]: image["Size"] for image in world.truth["images"]}
    assert {usage.image.id: usage.image.size for usage in session.images()} == images
    told = {usage.container.id: (usage.size_rw, usage.size_root_fs) for usage in session.containers()}
    assert told == {entry["Id"]: (entry.get("SizeRw", 0), entry["SizeRootFs"]) for entry in world.truth["containers"]}


def test_diff(world: Lived, session: Session) -> None:
    for name, container in world.containers.items():
        changes = session.changes(session.find(container))
        ours = sorted((str(change.kind), as_json("/" + change.path)) for change in changes)
        assert ours == sorted(world.truth["diff"][name]), name


def as_json(path: str) -> str:
    """A path as the daemon's JSON has it, which can hold UTF-8 only."""
    return os.fsencode(path).decode("utf-8", "replace")


def test_tree(world: Lived, session: Session) -> None:
    for name, container in world.containers.items():
        wanted = tree_facts.by_first_name(tree_facts.of_tar(world.truth["export"][name]))
        assert tree_facts.of_session(session, session.find(container)) == wanted, name


def test_exported_tar(world: Lived, session: Session) -> None:
    out = io.BytesIO()
    assert session.export(session.find("editor"), out) == []
    assert tree_facts.of_tar(out.getvalue()) == tree_facts.of_tar(world.truth["export"]["editor"])


def test_what_each_layer_did(world: Lived, session: Session) -> None:
    """Every path of a layer's tar, as the daemon saved it, is what the level did to the one below: no other."""
    for tag, saved in world.saved.items():
        view = session.view(session.find(tag))
        for number, (held, removed) in enumerate(saved_layers(saved), 1):
            ours, gone = what_a_level_did(view.cut(number).root)
            made_up = {str(parent) for path in held for parent in Path(path).parents} if number == 1 else set()
            assert ((ours - made_up) ^ (held - made_up), gone ^ removed) == (set(), set()), (tag, number)


def saved_layers(saved: bytes) -> Iterator[tuple[set[str], set[str]]]:
    """Of each layer of a saved image, base first: the paths in its tar, and those that it removes."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None
        for layer in json.load(manifest)[0]["Layers"]:
            file = outer.extractfile(layer)
            assert file is not None
            held, removed = set(), set()
            with tarfile.open(fileobj=file, encoding="utf-8", errors="surrogateescape") as tar:
                for member in tar:
                    path = posixpath.normpath("/" + member.name)[1:]
                    folder, name = posixpath.split(path)
                    if name.startswith(".wh."):
                        removed.add(posixpath.join(folder, name.removeprefix(".wh.")))
                    elif path:
                        held.add(path)
            yield held, removed


def what_a_level_did(top: MergedDirectory) -> tuple[set[str], set[str]]:
    held, removed = set(), set()
    pending = [top]
    while pending:
        directory = pending.pop()
        for entry in own_entries(directory):
            (removed if entry.hidden else held).add(entry.path)
            if entry.is_dir and not entry.hidden:
                pending.append(directory.child(entry.name))
    return held, removed


def test_who_made_what_in_a_container(world: Lived, session: Session) -> None:
    """What ``docker diff`` calls added or changed is the writable layer's work, and nothing else in the view is."""
    for name, container in world.containers.items():
        subject = session.find(container)
        top = session.levels(subject)[-1].number
        listed = list(session.entries(subject, recursive=True, detail=False))
        ours = {as_json("/" + entry.path) for entry in listed if entry.level == top and not entry.is_dir}
        folders = {as_json("/" + entry.path) for entry in listed if entry.is_dir}
        lines = world.truth["diff"][name]
        theirs = {path for kind, path in lines if kind in "AC"} - folders
        # What docker diff can't see: extended attributes other than capabilities.
        unseen = {"/data/keep", "/data/touch"} if name == "xattrs" else set()
        assert ours - theirs <= unseen and theirs <= ours, name


def test_a_btrfs_keeps_inodes_from_snapshot_to_snapshot(world: Lived, session: Session) -> None:
    """That is what lets a mounted one be compared without looking at attributes."""
    if world.engine.driver != "btrfs":
        pytest.skip("only btrfs makes snapshots")
    base, *_, top = session.levels(session.find("editor"))
    stats = [os.lstat(world.engine.root / str(level.path) / "data/owned") for level in (base, top)]
    assert stats[0].st_dev != stats[1].st_dev
    assert (stats[0].st_ino, stats[0].st_ctime_ns) == (stats[1].st_ino, stats[1].st_ctime_ns)


def test_bytes_that_subvolumes_share(world: Lived, session: Session) -> None:
    """What btrfs's own tool says, of every level of every container."""
    if world.engine.driver != "btrfs":
        pytest.skip("only btrfs tells")
    subprocess.run(["sync", "-f", str(world.engine.root)], check=True)
    for container in world.containers.values():
        for level in session.stack(session.find(container)):
            assert level.disk is not None
            path = world.engine.root / str(level.level.path)
            asked = ["btrfs", "filesystem", "du", "-s", "--raw", str(path)]
            total, exclusive, *_ = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()[-4:]
            assert (level.disk.referenced, level.disk.exclusive) == (int(total), int(exclusive))
