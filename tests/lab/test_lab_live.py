"""A real engine on a root that layerscope made: it lists, runs, commits, saves and removes what is there."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat as modes
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from live.engine import ApiError, Engine, Tar, busybox, docker_client, missing
from test_lab_unprivileged import NOBODY, as_user, make

from layerscope.cli.main import run
from layerscope.services.lab.lab import new_lab, open_lab
from layerscope.services.opening.root import open_root

REASON = missing()
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

SCRIPT = """
echo changed > /etc/motd; rm /data/gone; rm -r /tree; mkdir /tree; echo new > /tree/new
mkdir -p /deep/er; ln -s /etc/motd /deep/link; ln /etc/motd /deep/hard; chmod 600 /data/kept; chown 1000:1000 /data/kept
touch -d 2001-02-03T04:05:06Z /data/touched; mv /data/old /data/new; truncate -s 100000 /deep/sparse; mknod /deep/pipe p
"""
CHANGES = [
    ("C", "/data"),
    ("D", "/data/gone"),
    ("C", "/data/kept"),
    ("A", "/data/new"),
    ("D", "/data/old"),
    ("C", "/data/touched"),
    ("A", "/deep"),
    ("A", "/deep/er"),
    ("A", "/deep/hard"),
    ("A", "/deep/link"),
    ("A", "/deep/pipe"),
    ("A", "/deep/sparse"),
    ("C", "/etc"),
    ("C", "/etc/motd"),
    ("C", "/tree"),
    ("A", "/tree/new"),
    ("D", "/tree/old"),
]


def base_tar() -> bytes:
    program = busybox()
    assert program is not None
    tar = Tar()
    for folder in ("bin", "data", "etc", "tree"):
        tar.folder(folder)
    tar.add("bin/busybox", program.read_bytes(), mode=0o755)
    for name in ("sh", "cat", "true", "ls", "rm"):
        tar.link(f"bin/{name}", "busybox")
    for path in ("etc/motd", "data/gone", "data/kept", "data/touched", "data/old", "tree/old"):
        tar.add(path, path.encode() + b"\n")
    return tar.bytes()


def layerscope(*words: object) -> None:
    assert run([str(word) for word in words]) == 0


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine that has not been started, its root a new lab with a container ``web`` and an image ``shop/web:1``."""
    made = Engine()
    try:
        new_lab(made.root)
        tar = made.home / "base.tar"
        tar.write_bytes(base_tar())
        to_lab = ("--root", made.root)
        layerscope("import", tar, "shop/base:1", "-c", 'CMD ["/bin/cat", "/etc/motd"]', *to_lab)
        layerscope("create", "shop/base:1", "--name", "web", "--network", "none", *to_lab)
        layerscope("sh", "web", "-e", "-c", SCRIPT, *to_lab)
        layerscope("commit", "web", "shop/web:1", "-m", "all changed", "-c", "LABEL a=b", *to_lab)
        yield made
    finally:
        made.remove()


def test_an_engine_takes_a_lab_for_its_own(engine: Engine) -> None:
    with open_root(engine.root) as session:
        ours = {usage.image.id: usage.image for usage in session.images()}
        rows = session.history(session.find("shop/web:1"))
        size_rw = {usage.container.name: usage.size_rw for usage in session.containers()}
    engine.start()
    listed = {image["Id"]: image for image in engine.get("/images/json?all=1")}
    assert listed.keys() == ours.keys()
    for identity, image in ours.items():
        assert sorted(listed[identity]["RepoTags"] or []) == sorted(image.repo_tags)
        assert listed[identity]["Size"] == image.size
        told = engine.get(f"/images/{identity}/json")
        assert told["RootFS"]["Layers"] == list(image.diff_ids)
        assert told["Parent"] == (image.parent or "")
    history = engine.get("/images/shop/web:1/history")
    assert [(row["CreatedBy"], row["Size"], row["Comment"]) for row in history] == [
        (row.created_by, row.size, row.comment) for row in rows
    ]
    assert engine.get("/images/shop/web:1/json")["Config"]["Labels"] == {"a": "b"}
    (container,) = engine.get("/containers/json?all=1&size=1")
    assert container["Names"] == ["/web"]
    assert container["State"] == "created"
    assert container["SizeRw"] == size_rw["web"]
    assert engine.diff("web") == CHANGES
    again = engine.run("shop/web:1", ["/bin/cat", "/etc/motd", "/tree/new"], HostConfig={"NetworkMode": "none"})
    assert "changed\n" in engine.logs(again)
    assert "new\n" in engine.logs(again)
    engine.post("/containers/web/start")
    assert engine.post("/containers/web/wait")["StatusCode"] == 0
    assert "changed\n" in engine.logs("web")
    first = engine.commit("web", "theirs:1")
    saved = engine.call("GET", "/images/shop%2Fweb:1/get")
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        assert "manifest.json" in archive.getnames()
    for name in ("web", again):
        engine.call("DELETE", f"/containers/{name}")
    for name in (first, "shop/web:1", "shop/base:1", "base:1.0"):
        engine.call("DELETE", f"/images/{name}")
    assert engine.get("/images/json?all=1") == []
    left = set(os.listdir(engine.root / "overlay2")) - {"l", "backingFsBlockDev"}
    assert left == set()
    assert os.listdir(engine.root / "overlay2/l") == []
    assert os.listdir(engine.root / "image/overlay2/layerdb/sha256") == []


def test_an_engine_exports_what_the_shell_made(engine: Engine) -> None:
    engine.start()
    with tarfile.open(fileobj=io.BytesIO(engine.export("web"))) as archive:
        members = {member.name: member for member in archive}
    assert sorted(members[name].size for name in ("etc/motd", "deep/hard")) == [0, len("changed\n")]
    assert "data/gone" not in members and "tree/old" not in members
    assert modes.S_IMODE(members["data/kept"].mode) == 0o600
    assert members["data/kept"].uid == members["data/kept"].gid == 1000
    assert members["data/touched"].mtime == 981173106
    assert members["deep/pipe"].isfifo()
    assert members["deep/link"].linkname == "/etc/motd"
    assert {members["deep/hard"].type, members["etc/motd"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    assert members["deep/sparse"].size == 100000
    assert modes.S_IMODE(members["tree"].mode) == 0o755


def test_modes_and_owners_are_those_of_an_engines_own_root(engine: Engine, tmp_path: Path) -> None:
    """Everything that one of docker's own roots has at the same place has the same type, mode and owner."""
    other = Engine()
    try:
        other.start()
        other.import_image(base_tar(), "shop/base:1")
        made = other.create("shop/base:1", ["/bin/true"], "web")
        other.commit(made, "shop/web:1")
        other.shell("shop/base:1", "rm /data/gone", "second")
        other.commit("second", "shop/third:1")
        other.stop()
        theirs, ours = _kinds(other.root), _kinds(engine.root)
    finally:
        other.remove()
    shared = {place for place in ours if place in theirs and place not in ("", "containers/*/hostconfig.json")}
    assert len(shared) > 25
    assert {place: ours[place] for place in shared} == {place: theirs[place] for place in shared}
    own = {"layerscope-lab.json"}
    assert {place for place in ours if place not in theirs} <= own, "something that docker never makes"


def _kinds(root: Path) -> dict[str, str]:
    """Mode and owner of each kind of record, by its path with ids left out."""
    found = {}
    for folder, names, files in os.walk(root):
        if folder.endswith(("/diff", "/work", "/mounts/shm")):
            names.clear()
            continue
        for name in [*names, *files]:
            path = Path(folder, name)
            place = "/".join("*" if len(part) >= 26 else part for part in path.relative_to(root).parts)
            place = place.replace("tmp-old", "tmp")
            status = path.lstat()
            found[place] = f"{modes.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    return found


def test_writing_is_refused_while_the_engine_lives(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    engine.start()
    before = sorted(os.walk(engine.root / "image"))
    for words in (["create", "shop/base:1"], ["commit", "web"], ["tag", "shop/base:1", "x:1"], ["lab", "sweep"]):
        capfd.readouterr()
        assert run([*words, "--root", str(engine.root)]) == 4
        said = capfd.readouterr().err
        assert "a daemon holds it" in said and "metadata.db is locked by process" in said
        assert run([*words, "--root", str(engine.root), "--allow-real-root"]) == 4
    assert sorted(os.walk(engine.root / "image")) == before


def test_no_engine_starts_while_a_root_is_written_to(engine: Engine) -> None:
    engine.start()
    engine.stop()
    with open_lab(engine.root) as lab:
        with pytest.raises(RuntimeError, match="metadata database: timeout"):
            engine.start()
        lab.create("shop/base:1", "later")
    engine.kill_containers()
    engine.start()
    names = [container["Names"] for container in engine.get("/containers/json?all=1")]
    assert sorted(names) == [["/later"], ["/web"]]


def test_a_real_root_is_written_to_only_when_asked(capfd: pytest.CaptureFixture[str]) -> None:
    real = Engine()
    try:
        real.start()
        real.import_image(base_tar(), "shop/base:1")
        real.stop()
        capfd.readouterr()
        assert run(["create", "shop/base:1", "--name", "web", "--root", str(real.root)]) == 4
        assert "it is no lab root" in capfd.readouterr().err
        assert os.listdir(real.root / "containers") == []
        words = ["--root", str(real.root), "--allow-real-root"]
        assert run(["create", "shop/base:1", "--name", "web", "--network", "none", *words]) == 0
        assert run(["sh", "web", "-c", "echo x > /x", *words]) == 0
        assert not (real.root / "layerscope-lab.json").exists()
        real.start()
        assert real.diff("web") == [("A", "/x")]
    finally:
        real.remove()


def test_an_engine_takes_a_lab_that_was_given_to_root(tmp_path: Path) -> None:
    made = Engine()
    try:
        made.home.chmod(0o755)
        (made.home / "user").mkdir()
        os.chown(made.home / "user", NOBODY, NOBODY)
        path = made.home / "user" / "lab"
        make(tmp_path / "loads what is loaded late")
        as_user(NOBODY, lambda: make(path))
        layerscope("lab", "chown", "--root", path)
        with open_root(path) as session:
            image = session.find("made:1").image
            changes = [(change.kind.value, f"/{change.path}") for change in session.changes(session.find("web"))]
        path.rename(made.root)
        made.start()
        assert image is not None
        assert made.get("/images/made:1/json")["Id"] == image.id
        assert made.diff("web") == changes
        with tarfile.open(fileobj=io.BytesIO(made.export("web"))) as archive:
            members = {member.name: member for member in archive}
        assert (members["etc/passwd"].uid, members["etc/passwd"].gid) == (1, 2)
        assert modes.S_IMODE(members["etc/group"].mode) == 0o4755
        assert modes.S_IMODE(members["etc/os-release"].mode) == 0
        assert (members["moved"].uid, members["usr/share/doc/motd"].uid) == (5, 9)
        assert members["home/eve"].uid == 1000
    finally:
        made.remove()


# ---------------------------------------------------------------------- archives
def test_docker_loads_what_is_saved(engine: Engine, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    layerscope("save", "shop/web:1", "shop/base:1", "-o", archive, "--root", engine.root)
    other = Engine()
    try:
        other.start()
        other.call("POST", "/images/load", archive.read_bytes(), "application/x-tar")
        with open_root(engine.root) as session:
            wanted = {tag: session.find(tag).image.id for tag in ("shop/web:1", "shop/base:1")}
        for tag, identity in wanted.items():
            assert other.get(f"/images/{tag}/json")["Id"] == identity
        container = other.run("shop/web:1", ["/bin/cat", "/tree/new"], HostConfig={"NetworkMode": "none"})
        assert "new\n" in other.logs(container)
        back = other.call("GET", "/images/get?names=shop%2Fweb:1&names=shop%2Fbase:1")
    finally:
        other.remove()
    theirs = tmp_path / "theirs.tar"
    theirs.write_bytes(back)
    lab = tmp_path / "lab"
    new_lab(lab, empty=True)
    layerscope("load", theirs, "--root", lab)
    with open_root(lab) as session:
        assert {tag: session.find(tag).image.id for tag in wanted} == wanted
        assert session.problems() == ()


def test_a_repository_is_saved_with_all_of_its_tags_as_by_docker(tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    real = Engine()
    try:
        real.start()
        for name in ("shop/all:one", "shop/more:1"):
            real.import_image(base_tar(), name)
        for repository, tag in (("shop/all", "two"), ("shop/all.more", "latest")):
            real.call("POST", f"/images/shop%2Fmore:1/tag?repo={repository}&tag={tag}")
        layerscope("save", "shop/all", "-o", archive, "--root", real.root)
        theirs = real.call("GET", "/images/get?names=shop%2Fall")
    finally:
        real.remove()
    wanted = _names(theirs)
    assert sorted(tag for tags in wanted.values() for tag in tags) == ["shop/all:one", "shop/all:two"]
    assert _names(archive.read_bytes()) == wanted


def _names(archive: bytes) -> dict[str, list[str]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        return {one["Config"]: sorted(one["RepoTags"]) for one in json.load(manifest)}


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (apt-get install skopeo)")
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_skopeo_copies_what_is_saved(engine: Engine, tmp_path: Path, form: str) -> None:
    archive, layout = tmp_path / "saved.tar", tmp_path / "layout"
    layerscope("save", "shop/web:1", "-o", archive, "--format", form, "--root", engine.root)
    if form == "docker":
        source, target = f"docker-archive:{archive}:shop/web:1", f"docker-archive:{layout}:copy:1"
    else:
        source, target = f"oci-archive:{archive}:shop/web:1", f"oci:{layout}:copy"
    _skopeo("copy", "--insecure-policy", source, target)
    config = json.loads(_skopeo("inspect", "--config", "--raw", target))
    with open_root(engine.root) as session:
        image = session.find("shop/web:1").image
        assert image is not None
    assert config["rootfs"]["diff_ids"] == list(image.diff_ids)
    lab = tmp_path / "lab"
    new_lab(lab, empty=True)
    layerscope("load", layout, "--root", lab)
    with open_root(lab) as session:
        assert [usage.image.id for usage in session.images()] == [image.id]


def _skopeo(*words: str) -> bytes:
    done = subprocess.run(["skopeo", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed (apt-get install umoci)")
def test_umoci_unpacks_what_is_saved(engine: Engine, tmp_path: Path) -> None:
    archive, layout, bundle = tmp_path / "saved.tar", tmp_path / "layout", tmp_path / "bundle"
    layerscope("save", "shop/web:1", "-o", archive, "--format", "oci", "--root", engine.root)
    layout.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
    done = subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:shop/web:1", bundle], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tree = bundle / "rootfs"
    assert (tree / "etc/motd").read_text() == "changed\n"
    assert not (tree / "data/gone").exists()
    assert os.listdir(tree / "tree") == ["new"]
    assert (tree / "data/kept").stat().st_uid == 1000


@pytest.mark.skipif(docker_client() is None, reason="docker's own client is not installed")
def test_the_client_prints_what_we_print(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    with open_root(engine.root) as session:
        web = session.find("image:shop/web:1").image
    assert web is not None
    engine.start()
    with pytest.raises(ApiError) as theirs:
        engine.client("rmi", "shop/base:1")
    engine.stop()
    capfd.readouterr()
    assert run(["rmi", "shop/base:1", "--root", str(engine.root)]) == 4
    ours = capfd.readouterr().err
    assert str(theirs.value).partition("daemon: ")[2].strip() == ours.strip().removeprefix("layerscope: ")
