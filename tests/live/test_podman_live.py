"""A store that a real podman wrote just now, and what that podman says of it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import podman_engine
import pytest
import tree_facts
from podman_engine import Podman
from podman_story import CHANGES, base_tar
from podman_words import digest, moment, rounded

from layerscope import open_root
from layerscope.services import Session

pytestmark = [pytest.mark.root, pytest.mark.podman]


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store with images and containers of every kind."""
    podman = podman_engine.made(str(request.param))
    try:
        tell_the_story(podman)
        yield podman
    finally:
        podman.remove()


def tell_the_story(podman: Podman) -> None:
    """Images of one to four layers, one without a name; containers that ran, failed, never ran, lost their image."""
    podman.import_tar(base_tar(), "localhost/base:1")
    podman.shell("changed", "localhost/base:1", CHANGES, ends=3)
    podman.run("commit", "-f", "docker", "-a", "tester", "-m", "after changes", "changed", "localhost/app:1")
    podman.run("tag", "localhost/app:1", "localhost/other/app:also", "localhost:5000/app:2")
    podman.shell("again", "localhost/app:1", "rm -r /data/dir /upper && mkdir /upper && echo 2 > /upper/2 && rm /many")
    podman.run("commit", "--change", "LABEL stage=two", "--change", "CMD /bin/sh", "again", "localhost/app:2")
    podman.shell("third", "localhost/app:2", "mkdir /many && echo 3 > /many/3 && rm /upper/2 && echo 4 > /data/gone")
    podman.run("commit", "third")
    podman.create("never", "localhost/app:2", "--label", "a=b", "-v", "vol:/vol", "-v", "/etc:/host/etc:ro")
    podman.create("mapped", "localhost/base:1", "--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536")
    podman.run("tag", "localhost/base:1", "localhost/lost:1")
    podman.shell("lost", "localhost/lost:1", "echo o > /o")
    podman.run("untag", "localhost/lost:1", "localhost/lost:1")
    podman.run("volume", "create", "--label", "l=1", "empty")


@pytest.fixture(scope="module")
def session(engine: Podman) -> Iterator[Session]:
    """A session on it."""
    with open_root(engine.root) as opened:
        yield opened


def is_old(engine: Podman) -> bool:
    """Whether it counts as podman 4 does."""
    return engine.run("version", "--format", "{{.Client.Version}}").startswith("4.")


def test_images(engine: Podman, session: Session) -> None:
    ours = {
        usage.image.id: (
            sorted(usage.image.repo_tags),
            list(usage.image.repo_digests),
            usage.image.parent or "",
            usage.image.size,
            usage.image.created,
            usage.image.author,
            list(usage.image.diff_ids),
            usage.containers,
        )
        for usage in session.images()
    }
    listed = {digest(image["Id"]): image for image in engine.json("images", "-a", "--no-trunc")}
    assert ours.keys() == listed.keys()
    assert len(ours) == 4
    assert ours == {
        digest(image["Id"]): (
            sorted(image["RepoTags"]),
            image["RepoDigests"],
            digest(image["Parent"]),
            image["Size"],
            image["Created"],
            image["Author"],
            image["RootFS"]["Layers"],
            listed[digest(image["Id"])]["Containers"],
        )
        for image in engine.inspect("image", [image["Id"] for image in listed.values()])
    }


def test_shared_and_unique_bytes(engine: Podman, session: Session) -> None:
    """As far as the words of the table tell; podman 4 takes all of an image that has a child for shared."""
    usages = {usage.image.id[7:19]: usage for usage in session.images()}
    table = engine.run("system", "df", "-v").partition("Containers space usage")[0]
    rows = [line.split() for line in table.splitlines() if re.search(r" [0-9a-f]{12} ", line)]
    assert len(rows) >= len(usages)
    for row in rows:
        place = next(place for place, word in enumerate(row) if re.fullmatch(r"[0-9a-f]{12}", word))
        usage = usages[row[place]]
        assert usage.containers == int(row[-1])
        numbers = [usage.image.size, usage.shared_size, usage.unique_size]
        told = row[-4:-1]
        assert (usage.shared_size or 0) + (usage.unique_size or 0) == usage.image.size
        if is_old(engine):
            numbers[1:] = told[1:] = []
        assert [rounded(number or 0, text) for number, text in zip(numbers, told, strict=True)] == told


def test_history(engine: Podman, session: Session) -> None:
    for image in session.store.images():
        rows = engine.json("history", "--no-trunc", image.id.removeprefix("sha256:"))
        ours = [(row.created, row.created_by, row.size, row.comment) for row in session.history(session.find(image.id))]
        assert ours == [(row["created"], row["CreatedBy"], row["size"], row.get("comment", "")) for row in rows]


def test_containers(engine: Podman, session: Session) -> None:
    ours = {
        one.id: (
            one.name,
            one.image,
            one.image_id,
            one.state,
            one.exit_code,
            moment(one.created),
            moment(one.started_at),
            moment(one.finished_at),
            dict(one.labels),
            sorted((mount.type, mount.name, mount.source, mount.destination, mount.rw) for mount in one.mounts),
        )
        for one in session.store.containers()
    }
    names = ["changed", "again", "third", "never", "mapped", "lost"]
    assert ours == {
        told["Id"]: (
            told["Name"],
            told["ImageName"],
            digest(told["Image"]),
            told["State"]["Status"],
            told["State"]["ExitCode"],
            moment(told["Created"]),
            moment(told["State"]["StartedAt"]),
            moment(told["State"]["FinishedAt"]),
            told["Config"]["Labels"] or {},
            sorted(
                (mount["Type"], mount.get("Name", ""), mount["Source"], mount["Destination"], mount["RW"])
                for mount in told["Mounts"]
            ),
        )
        for told in engine.inspect("container", names)
    }


def test_list_of_containers(engine: Podman, session: Session) -> None:
    """``podman ps -as``. podman 4.3 counts what layers hold for the whole file system, newer ones their tars.

    Newer ones also add what lies in the container's folder and its run directory to the bytes of its layer.
    """
    ours = {usage.container.id: usage for usage in session.containers()}
    theirs = engine.json("ps", "-a", "--size", "--no-trunc")
    assert ours.keys() == {told["Id"] for told in theirs}
    images = {digest(image["Id"]): image["Size"] for image in engine.json("images", "-a", "--no-trunc")}
    for told in theirs:
        usage = ours[told["Id"]]
        assert usage.container.command.replace("'", "") == " ".join(told["Command"]).replace("'", "")
        assert (usage.container.state, usage.container.exit_code) == (told["State"], told["ExitCode"])
        assert usage.size_rw is not None
        if is_old(engine):
            assert usage.size_rw == told["Size"]["rwSize"]
        assert usage.size_root_fs == images[digest(told["ImageID"])] + usage.size_rw


def test_diff(engine: Podman, session: Session) -> None:
    letters = {"added": "A", "changed": "C", "deleted": "D"}
    total = 0
    for name in ("changed", "again", "third", "never", "lost"):
        told = engine.json("diff", name)
        theirs = {f"{letters[kind]} {path}" for kind, paths in told.items() for path in paths}
        assert {f"{change.kind} /{change.path}" for change in session.changes(session.find(name))} == theirs, name
        total += len(theirs)
    assert total > 35


@pytest.mark.parametrize("name", ["changed", "again", "third", "never", "lost"])
def test_trees_of_containers(engine: Podman, session: Session, name: str) -> None:
    with engine.mounted(name) as top:
        wanted = tree_facts.of_kernel(top)
    assert tree_facts.exact_of_session(session, session.find(name)) == wanted
    assert len(wanted) > 15


@pytest.mark.parametrize("name", ["localhost/base:1", "localhost/app:1", "localhost/app:2"])
def test_trees_of_images(engine: Podman, session: Session, name: str) -> None:
    with engine.mounted("image", name) as top:
        wanted = tree_facts.of_kernel(top)
    assert tree_facts.exact_of_session(session, session.find(name)) == wanted


def test_owners_in_a_user_namespace(engine: Podman, session: Session) -> None:
    """Shifted by the mount: the disk has the container's own IDs. Shifted by a copy: it has the host's."""
    subject = session.find("mapped")
    assert subject.container is not None
    with engine.mounted("mapped") as top:
        shown = {entry.name: (entry.stat().st_uid, entry.stat().st_gid) for entry in os.scandir(top)}
    assert set(shown.values()) == {(100000, 200000)}
    ours = {(entry.stat.st_uid, entry.stat.st_gid) for entry in session.entries(subject)}
    assert ours in ({(0, 0)}, {(100000, 200000)})
    assert any("(ID there:ID on disk:count 0:100000:65536, 0:200000:65536)" in one for one in session.info().features)


def test_volumes(engine: Podman, session: Session) -> None:
    theirs = {told["Name"]: told for told in engine.json("volume", "ls")}
    ours = {one.name: one for one in session.store.volumes()}
    assert ours.keys() == theirs.keys() == {"vol", "empty"}
    for name, told in theirs.items():
        assert (ours[name].mountpoint, dict(ours[name].labels)) == (told["Mountpoint"], told["Labels"])
        assert moment(ours[name].created) == moment(told["CreatedAt"])


def test_nothing_is_wrong(engine: Podman, session: Session) -> None:
    told = session.info()
    assert (told.store, told.driver, told.problems) == ("podman", engine.driver, ())
    assert told.counts["containers"] == 6
    record = "libpod/bolt_state.db" if (engine.root / "libpod/bolt_state.db").exists() else "db.sql"
    assert f"{record} (podman's state)" in told.features


def test_a_running_container(engine: Podman) -> None:
    engine.shell("runs", "localhost/base:1", "sleep 1000 || while true; do true; done", "-d")
    try:
        with open_root(engine.root) as session:
            subject = session.find("runs")
            assert subject.container is not None
            assert (subject.container.state, subject.container.unclean) == ("running", False)
            assert session.daemon().held is True
    finally:
        engine.run("rm", "-f", "-t", "0", "runs")


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def two_stores(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A machine's own root directory with a store, and beside it one with images that the first may use."""
    images = podman_engine.made(str(request.param))
    own = podman_engine.made(str(request.param), "var/lib/containers/storage")
    try:
        images.import_tar(base_tar(), "localhost/base:1")
        images.shell("made", "localhost/base:1", "echo more > /data/more && rm /data/gone")
        images.run("commit", "made", "localhost/shared:1")
        images.run("rm", "made")
        subprocess.run(["cp", "-a", images.root, own.home / "shared"], check=True)
        own.add_image_store(own.home / "shared")
        (own.home / "etc/containers").mkdir(parents=True)
        conf = '[storage]\n[storage.options]\nadditionalimagestores = ["/shared", "/not/there"]\n'
        (own.home / "etc/containers/storage.conf").write_text(conf)
        own.shell("changed", "localhost/shared:1", CHANGES.replace("/data/gone", "/data/more"), ends=3)
        own.run("commit", "changed", "localhost/own:1")
        own.create("never", "localhost/own:1")
        yield own
    finally:
        images.remove()
        own.remove()


def shared_by(podman: Podman) -> Path:
    """Where the other store really lies."""
    return (podman.home / "shared").resolve()


def test_images_of_an_additional_store(two_stores: Podman) -> None:
    listed = two_stores.json("images", "-a", "--no-trunc")
    theirs = {(digest(image["Id"]), image["Size"], image["Containers"]) for image in listed}
    with open_root(two_stores.root) as session:
        usages = session.images()
        assert {(one.image.id, one.image.size, one.containers) for one in usages} == theirs
        assert len(theirs) == 3
        told = session.info()
        assert f"additional image store “{shared_by(two_stores)}”" in told.features
        assert ["/not/there" in problem.what for problem in told.problems] == [True]
        assert session.paths == (two_stores.root, shared_by(two_stores))


def test_directories_of_an_additional_store(two_stores: Podman) -> None:
    """Where levels say that they lie, and as a root of its own, in which nobody has a container."""
    shared = shared_by(two_stores)
    with open_root(two_stores.root) as session, open_root(shared) as other:
        subject = session.find("localhost/shared:1")
        paths = [level.path or "" for level in session.levels(subject)]
        assert [sorted(name for name, _ in session.directory(path).scan()) for path in paths] == [
            sorted(os.listdir(path)) for path in paths
        ]
        assert all(path.startswith(f"{shared}/") for path in paths)
        assert {usage.image.id for usage in other.images()} < {usage.image.id for usage in session.images()}
        assert other.containers() == []
        assert tree_facts.exact_of_session(other, other.find("localhost/shared:1")) == tree_facts.exact_of_session(
            session, subject
        )


@pytest.mark.parametrize("name", ["changed", "never"])
def test_containers_on_an_additional_store(two_stores: Podman, name: str) -> None:
    letters = {"added": "A", "changed": "C", "deleted": "D"}
    told = two_stores.json("diff", name)
    with two_stores.mounted(name) as top:
        wanted = tree_facts.of_kernel(top)
    with open_root(two_stores.root) as session:
        subject = session.find(name)
        assert {f"{change.kind} /{change.path}" for change in session.changes(subject)} == {
            f"{letters[kind]} {path}" for kind, paths in told.items() for path in paths
        }
        assert tree_facts.exact_of_session(session, subject) == wanted
        places = [level.path or "" for level in session.levels(subject)]
        assert [place.startswith(f"{shared_by(two_stores)}/") for place in places[:2]] == [True, True]
        assert not any(place.startswith("/") for place in places[2:])
        assert {owner.kind for owner in session.owners(places[0])} == {"image"}
