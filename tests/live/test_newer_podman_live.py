"""A newer podman with everything it makes: every answer against its own, against the kernel and against du."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import stat as modes
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import podman_engine
import pytest
import tree_facts
from ledger_facts import assert_closed, du
from newer_podman_world import BUILT, QUIET, build, pull_in_parts, tell_the_story
from podman_engine import LIMITS, Podman
from podman_story import CHANGES
from podman_words import digest, moment, rounded

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.services import Session
from layerscope.services.docker_df import disk_usage
from layerscope.services.ledger import ledger

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.full]

NOBODYS = {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE, Category.UNUSED_LAYER, Category.TEMPORARY}
LISTS = ("localhost/list:1", "localhost/more:1")
ELSEWHERE = {"elsewhere", "above"}
"""Containers on a folder of the host's."""


@pytest.fixture(scope="module", params=["newer overlay", "newer vfs"])
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store in which two containers run."""
    podman = podman_engine.made(str(request.param))
    try:
        tell_the_story(podman)
        yield podman
    finally:
        podman.remove()


@pytest.fixture(scope="module")
def session(engine: Podman) -> Iterator[Session]:
    """A session on it."""
    with open_root(engine.root) as opened:
        yield opened


def run(root: Path, *arguments: str, ends: int = 0) -> bytes:
    """What the program writes."""
    command = [sys.executable, "-m", "layerscope", "--root", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == ends, done
    return done.stdout


def test_images_with_lists_of_them(engine: Podman, session: Session) -> None:
    ours = {
        usage.image.id: (
            sorted(usage.image.repo_tags),
            sorted(usage.image.repo_digests),
            usage.image.parent or "",
            usage.image.size,
            usage.containers,
            usage.dangling,
        )
        for usage in session.images()
    }
    assert len(ours) == 12
    assert ours == {
        digest(told["Id"]): (
            sorted(told.get("Names") or []),
            sorted(told["RepoDigests"]),
            digest(told["ParentId"]),
            told["Size"],
            told["Containers"],
            bool(told.get("Dangling")),
        )
        for told in engine.json("images", "-a", "--no-trunc")
    }


def test_what_images_say_of_themselves(engine: Podman, session: Session) -> None:
    images = [image for image in session.store.images() if not set(LISTS) & set(image.repo_tags)]
    told = {digest(one["Id"]): one for one in engine.inspect("image", [image.id[7:] for image in images])}
    for image in images:
        theirs = told[image.id]
        assert (image.created, image.author, list(image.diff_ids), image.architecture, image.os) == (
            *(theirs["Created"], theirs["Author"], theirs["RootFS"]["Layers"]),
            *(theirs["Architecture"], theirs["Os"]),
        )
        rows = engine.json("history", "--no-trunc", image.id[7:])
        assert [
            (row.created, row.created_by, row.size, row.comment) for row in session.history(session.find(image.id))
        ] == [(row["created"], row["CreatedBy"], row["size"], row.get("comment", "")) for row in rows]


def test_shared_and_unique_bytes(engine: Podman, session: Session) -> None:
    usages = {usage.image.id[7:19]: usage for usage in session.images()}
    table = engine.run("system", "df", "-v").partition("Containers space usage")[0]
    rows = [line.split() for line in table.splitlines() if re.search(r" [0-9a-f]{12} ", line)]
    assert {word for row in rows for word in row if word in usages} == usages.keys()
    for row in rows:
        usage = usages[next(word for word in row if word in usages)]
        numbers = (usage.image.size, usage.shared_size, usage.unique_size)
        assert [rounded(number or 0, text) for number, text in zip(numbers, row[-4:-1], strict=True)] == row[-4:-1]


def test_volumes_with_their_options(engine: Podman, session: Session) -> None:
    ours = {
        one.name: (one.mountpoint, dict(one.labels), one.driver, dict(one.options)) for one in session.store.volumes()
    }
    assert len(ours) == 3
    assert ours == {
        told["Name"]: (told["Mountpoint"], told["Labels"], told["Driver"], told["Options"])
        for told in engine.json("volume", "ls")
    }
    theirs = json.loads(engine.run("system", "df", "--format", "json"))[-1]
    usages = disk_usage(session).volumes
    assert (theirs["Type"], theirs["Total"]) == ("Local Volumes", len(usages))
    assert theirs["RawSize"] == sum(usage.size or 0 for usage in usages)


def test_containers(engine: Podman, session: Session) -> None:
    """Those that never started have no times; mounts of images and overlays are told as podman tells them."""
    ours = {one.name: one for one in session.store.containers()}
    listed = {told["Names"][0]: told for told in engine.json("ps", "-a", "--no-trunc")}
    assert ours.keys() == listed.keys()
    assert len(ours) >= 15
    for told in engine.inspect("container", list(ours)):
        one = ours[told["Name"]]
        assert one.command.replace("'", "") == " ".join(listed[one.name]["Command"] or []).replace("'", ""), one.name
        assert (one.id, one.image, one.image_id or "") == (told["Id"], told["ImageName"], digest(told["Image"]))
        assert (one.state, one.exit_code) == (told["State"]["Status"], told["State"]["ExitCode"])
        assert (moment(one.created), moment(one.started_at), moment(one.finished_at)) == (
            moment(told["Created"]),
            moment(told["State"]["StartedAt"]),
            moment(told["State"]["FinishedAt"]),
        )
        assert dict(one.labels) == (told["Config"]["Labels"] or {})
        assert sorted(
            (mount.type, mount.name, mount.source, mount.destination, mount.rw) for mount in one.mounts
        ) == sorted(
            (mount["Type"], mount.get("Name", ""), mount["Source"], mount["Destination"], mount["RW"])
            for mount in told["Mounts"]
        ), one.name


def test_sizes_of_containers(engine: Podman, session: Session) -> None:
    """podman adds what lies in a container's two folders, which is no part of its file system."""
    theirs = engine.json("ps", "-a", "--size", "--no-trunc")
    around = {told["Id"]: bytes_around(engine, told["Id"]) for told in theirs}
    ours = {usage.container.id: usage for usage in session.containers()}
    checked = 0
    for told in theirs:
        usage, size = ours[told["Id"]], told["Size"]
        if usage.container.name in ELSEWHERE:
            continue
        assert (usage.size_rw or 0) + around[told["Id"]] == size["rwSize"], usage.container.name
        assert (usage.size_root_fs or 0) - (usage.size_rw or 0) == size["rootFsSize"] - size["rwSize"]
        checked += (usage.size_rw or 0) > 0
    assert checked >= 6


def bytes_around(engine: Podman, container: str) -> int:
    """The bytes of the files that podman keeps for a container."""
    total = 0
    for top in (engine.root, engine.home / "run"):
        for folder, _, names in os.walk(top / f"{engine.driver}-containers" / container / "userdata"):
            stats = (os.lstat(os.path.join(folder, name)) for name in names)
            total += sum(stat.st_size for stat in stats if modes.S_ISREG(stat.st_mode))
    return total


def test_changes_and_trees_of_containers(engine: Podman, session: Session) -> None:
    letters = {"added": "A", "changed": "C", "deleted": "D"}
    total = 0
    for one in session.store.containers():
        told = engine.json("diff", one.id)
        theirs = {f"{letters[kind]} {path}" for kind, paths in told.items() for path in paths}
        subject = session.find(one.id)
        assert {f"{change.kind} /{change.path}" for change in session.changes(subject)} == theirs, one.name
        total += len(theirs)
        with engine.mounted(one.id) as top:
            assert tree_facts.exact_of_session(session, subject) == tree_facts.of_kernel(top), one.name
    assert total > 10


def test_trees_of_images(engine: Podman, session: Session) -> None:
    for image in session.store.images():
        if {*LISTS, "localhost/squash:1"} & set(image.repo_tags):  # the last one is mounted already
            continue
        with engine.mounted("image", image.id[7:]) as top:
            assert tree_facts.exact_of_session(session, session.find(image.id)) == tree_facts.of_kernel(top)


@pytest.mark.parametrize("name", ["changed", "runs", "image"])
def test_exported_trees(engine: Podman, tmp_path: Path, name: str) -> None:
    engine.run("export", "-o", str(engine.home / f"{name}.tar"), name)
    run(engine.root, "export", name, "-o", str(tmp_path / "ours.tar"))
    theirs = members(engine.home / f"{name}.tar")
    assert members(tmp_path / "ours.tar") == theirs
    assert len(theirs) > 30


def members(path: Path) -> dict[str, tuple[Any, ...]]:
    """Everything that a tar says of each member but when it was read, and the digest of its content."""
    found = {}
    with tarfile.open(path) as archive:
        for one in archive:
            file = archive.extractfile(one) if one.isreg() else io.BytesIO()
            assert file is not None
            facts = (one.type, one.mode, one.uid, one.gid, one.size, int(one.mtime), one.linkname)
            found[one.name.strip("/")] = (*facts, hashlib.sha256(file.read()).hexdigest())
    return found


def test_every_byte_is_accounted_for(engine: Podman) -> None:
    total = du(engine.root)
    with open_root(engine.root) as session:
        found = ledger(session)
        told = session.info()
    assert_closed(found, total)
    assert [one for one in found.entries if one.category in NOBODYS] == []
    assert told.problems == ()
    features = "\n".join(told.features)
    assert "db.sql (podman's state)" in features
    assert "2 containers whose files are in a folder of the host's (--rootfs)" in features
    assert "2 lists of manifests" in features


def test_nothing_is_wrong(engine: Podman) -> None:
    verdicts = json.loads(run(engine.root, "verify", "--deep", "--json"))
    assert {(one["ok"], one["skipped"] or "") for one in verdicts} == {(True, "")}
    assert len(verdicts) >= 5
    assert json.loads(run(engine.root, "doctor", "--json")) == []


# ---------------------------------------------------------------------- pulls
@pytest.fixture(
    scope="module", params=[(False, False), (True, False), (False, True)], ids=["plain", "links", "converted"]
)
def in_parts(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store whose layers were pulled by lists of their files."""
    links, convert = request.param
    maker, podman = podman_engine.made("newer overlay"), podman_engine.made("newer overlay")
    try:
        build(maker)
        layouts = maker.home / "layouts"
        layouts.mkdir()
        for name, kind, image in (("parts", "zstd:chunked", BUILT), ("whole", "gzip", "localhost/squash:1")):
            maker.run("push", "-q", "--compression-format", kind, image, f"oci:{layouts / name}")
        pull_in_parts(podman, layouts, ["parts", "whole"], links=links, convert=convert)
        podman.create("made", next(one["Names"][0] for one in podman.json("images") if "/parts:" in one["Names"][0]))
        yield podman
    finally:
        maker.remove()
        podman.remove()


def test_layers_pulled_in_parts(in_parts: Podman) -> None:
    """Their directories have the time of the pull: that is podman's doing."""
    verdicts = json.loads(run(in_parts.root, "verify", "--deep", "--json"))
    assert [one["ok"] for one in verdicts] == [True] * 4
    assert json.loads(run(in_parts.root, "doctor", "--json")) == []
    records = json.loads((in_parts.root / "overlay-layers/layers.json").read_bytes())
    count = sum("zstd-chunked-manifest" in one.get("big-data-names", ()) for one in records)
    total = du(in_parts.root)
    with open_root(in_parts.root) as session:
        assert count >= 3
        assert f"{count} layers pulled in parts" in session.info().features
        found = ledger(session)
        assert_closed(found, total)
        assert [one for one in found.entries if one.category in NOBODYS] == []
        listed = {digest(one["Id"]): one["Size"] for one in in_parts.json("images", "-a", "--no-trunc")}
        assert {one.image.id: one.image.size for one in session.images()} == listed
        with in_parts.mounted("made") as top:
            assert tree_facts.exact_of_session(session, session.find("made")) == tree_facts.of_kernel(top)


def test_a_file_that_was_changed_in_such_a_layer_is_found(in_parts: Podman) -> None:
    """Times of files and whatever else there is are compared."""
    with open_root(in_parts.root) as session:
        folder = in_parts.root / (session.levels(session.find("made"))[0].path or "")
    file = folder / "data/file"
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 5 * 10**9))
    try:
        verdicts = json.loads(run(in_parts.root, "verify", "--deep", "--json", ends=1))
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    wrong = [one for one in verdicts if not one["ok"]]
    assert [[problem["path"] for problem in one["problems"]] for one in wrong] == [["/data/file"]]


# ---------------------------------------------------------------------- images in a store of their own
@pytest.fixture(scope="module", params=["newer overlay", "newer vfs"])
def split(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A machine's own root directory, whose configuration keeps images apart."""
    podman = podman_engine.made(str(request.param), "var/lib/containers/storage")
    try:
        podman.keep_images_in(podman.home / "images")
        (podman.home / "etc/containers").mkdir(parents=True)
        (podman.home / "etc/containers/storage.conf").write_text('[storage]\nimagestore = "/images"\n')
        build(podman)
        podman.shell("changed", BUILT, CHANGES.replace("rm /data/gone && ", ""), ends=3)
        podman.run("commit", "-q", "changed", "localhost/committed:1")
        podman.create("never", "localhost/committed:1")
        yield podman
    finally:
        podman.remove()


def test_images_in_a_store_of_their_own(split: Podman) -> None:
    listed = split.json("images", "-a", "--no-trunc")
    with open_root(split.root) as session:
        assert session.store.problems() == ()
        assert {(one.image.id, one.image.size, one.containers) for one in session.images()} == {
            (digest(image["Id"]), image["Size"], image["Containers"]) for image in listed
        }
        for name in ("changed", "never"):
            with split.mounted(name) as top:
                assert tree_facts.exact_of_session(session, session.find(name)) == tree_facts.of_kernel(top)
    verdicts = json.loads(run(split.root, "verify", "--deep", "--json"))
    assert {one["ok"] for one in verdicts} == {True}


@pytest.mark.parametrize("place", ["var/lib/containers/storage", "images"])
def test_every_byte_of_both_stores_is_accounted_for(split: Podman, place: str) -> None:
    """How the images' tars were is recorded in the containers' store."""
    root = split.home / place
    total = du(root)
    with open_root(root, driver=split.driver) as session:
        found = ledger(session)
    assert_closed(found, total)
    assert [one for one in found.entries if one.category in NOBODYS] == []


# ---------------------------------------------------------------------- kills
@pytest.mark.parametrize("kind", ["newer overlay", "newer vfs"])
def test_after_a_kill_nothing_is_unknown_and_lists_are_podmans(kind: str) -> None:
    """Loads, builds, commits and removals, each ended at once at some moment; before and after podman tidies up."""
    podman = podman_engine.made(kind)
    rng = random.Random(kind)
    try:
        build(podman)
        archive = str(podman.home / "big.tar")
        podman.run("save", "-q", "-o", archive, BUILT)
        for turn in range(8):
            podman.create(f"kept{turn}", "localhost/one:1")
            works = [
                (("load", "-q", "-i", archive), 0.8),
                (("build", *LIMITS, *QUIET, "--no-cache", "--layers", "-q", str(podman.home / "context")), 3.0),
                (("commit", "-q", f"kept{turn}", f"localhost/c{turn}:1"), 0.8),
                (("rm", f"kept{turn}"), 0.4),
                (("rmi", "-f", BUILT), 0.5),
            ]
            words, longest = works[turn % len(works)]
            work = podman.start(*words)
            time.sleep(rng.uniform(0.05, longest))
            work.kill()
            work.wait()
            assert_known(podman)
            images = {digest(one["Id"]) for one in podman.json("images", "-a", "--no-trunc")}
            listed = {one["Id"] for one in podman.json("ps", "-a", "--external", "--no-trunc")}
            assert_known(podman)
            with open_root(podman.root) as session:
                assert {one.id for one in session.store.images()} == images
                lost = [one for one in session.store.problems() if "of which nothing is stored" in one.what]
                containers = {one.id for one in session.store.containers()}
            assert containers <= listed
            assert len(listed - containers) == len(lost)
    finally:
        podman.remove()


def assert_known(podman: Podman) -> None:
    """Every byte is somebody's, or what a cut left; taken while two du agree: builders' helpers end a little later."""
    for _ in range(40):
        before = du(podman.root)
        with open_root(podman.root) as session:
            found = ledger(session)
        if before == du(podman.root) == found.total_disk:
            break
        time.sleep(0.1)
    assert_closed(found, before)
    assert not {Category.UNKNOWN, Category.UNREADABLE} & {one.category for one in found.classes}
