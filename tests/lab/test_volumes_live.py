"""Containers with volumes made by docker and by layerscope: the same records, the same files, and docker takes ours."""

from __future__ import annotations

import json
import os
import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live.engine import Engine, Tar, busybox, missing, started

from layerscope.cli.main import run

REASON = missing()
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

IMAGE = "volumes/base:1"
CHANGES = (
    'VOLUME ["/data", "/linked/", "/none/at/all", "/full/../empty"]',
    "WORKDIR /made/here/",
    'CMD ["/bin/busybox", "cat", "/data/file"]',
)
CAPABILITY = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"


def base_tar() -> bytes:
    program = busybox()
    assert program is not None
    tar = Tar()
    for folder, mode, owner in (("bin", 0o755, 0), ("data", 0o2750, 7), ("data/inner", 0o1777, 8), ("empty", 0o700, 9)):
        tar.folder(folder, mode=mode, uid=owner, gid=owner)
    tar.add("bin/busybox", program.read_bytes(), mode=0o755)
    tar.add("data/file", b"of the image\n", mode=0o4640, uid=1, gid=2)
    tar.add("data/inner/caps", b"c", xattrs={"security.capability": CAPABILITY})
    tar.add("data/again", kind=b"1", linkname="data/file")
    tar.link("data/link", "file", uid=5, gid=6)
    tar.link("linked", "data/inner")
    tar.add("data/null", kind=b"3", devmajor=1, devminor=3, mode=0o600)
    return tar.bytes()


@dataclass
class Made:
    """The mounts of a container as recorded, names left out, and the files of each by its path."""

    mounts: dict[str, Any]
    config: dict[str, Any]
    files: dict[str, list[tuple[object, ...]]]


def made(root: Path, container: str) -> Made:
    recorded = json.loads((root / "containers" / container / "config.v2.json").read_text())
    mounts, files = recorded["MountPoints"], {}
    for path, mount in mounts.items():
        folder = root / "volumes" / mount.pop("Name")
        assert modes.S_IMODE(folder.stat().st_mode) == 0o701
        assert os.listdir(folder) == ["_data"]
        files[path] = tree(folder / "_data")
    return Made(mounts, {key: recorded["Config"][key] for key in ("Volumes", "WorkingDir")}, files)


def tree(top: Path) -> list[tuple[object, ...]]:
    """Everything at and below a directory; times of what is no directory, and of empty ones."""
    found = []
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        when = None if path.is_dir() and not path.is_symlink() and os.listdir(path) else status.st_mtime
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        links = 0 if path.is_dir() else status.st_nlink
        capability = "security.capability" in os.listxattr(path, follow_symlinks=False)
        facts = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, links, capability)
        found.append((str(path.relative_to(top)), *facts, None if top == path else when, content))
    return found


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started() as made:
        yield made


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "base.tar").write_bytes(base_tar())
    assert run(["lab", "new", "--empty", str(folder / "lab")]) == 0
    changes = [word for change in CHANGES for word in ("-c", change)]
    assert run(["import", str(folder / "base.tar"), IMAGE, *changes, "--root", str(folder / "lab")]) == 0
    return folder / "lab"


def create_here(root: Path, name: str, capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert run(["create", IMAGE, "--name", name, "--network", "none", "--root", str(root)]) == 0
    return capfd.readouterr().out.strip()


def test_volumes_are_those_that_docker_makes(engine: Engine, lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    engine.import_image(base_tar(), IMAGE, [change.replace(" ", "%20").replace('"', "%22") for change in CHANGES])
    theirs = engine.client("create", "--network", "none", IMAGE).strip()
    ours = create_here(lab, "web", capfd)
    want, got = made(engine.root, theirs), made(lab, ours)
    assert got.config == want.config
    assert got.mounts == want.mounts
    assert list(got.mounts) == list(want.mounts)
    assert got.files == want.files
    assert len(got.files["/data"]) > 5
    capfd.readouterr()
    assert run(["diff", "web", "--root", str(lab)]) == 0
    lines = [f"{letter} {path}" for letter, path in engine.diff(theirs)]
    assert lines == ["A /made", "A /made/here"]
    assert capfd.readouterr().out.splitlines() == lines


def test_an_engine_runs_a_container_with_our_volumes(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    container = create_here(lab, "runs", capfd)
    names = set(os.listdir(lab / "volumes"))
    assert len(names) >= 4
    other = Engine()
    try:
        os.rmdir(other.root) if other.root.exists() else None
        os.rename(lab, other.root)
        other.start()
        told = other.get(f"/containers/{container}/json")
        assert {mount["Name"] for mount in told["Mounts"]} <= names
        assert sorted(mount["Destination"] for mount in told["Mounts"]) == [
            "/data",
            "/empty",
            "/linked",
            "/none/at/all",
        ]
        assert {volume["Name"] for volume in other.get("/volumes")["Volumes"]} == names
        other.post(f"/containers/{container}/start")
        assert other.post(f"/containers/{container}/wait")["StatusCode"] == 0
        assert "of the image\n" in other.logs(container)
        other.call("DELETE", f"/containers/{container}?v=1")
        assert len(other.get("/volumes")["Volumes"]) == len(names) - 4
    finally:
        other.remove()
