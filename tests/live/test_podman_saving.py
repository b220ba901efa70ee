"""Images saved out of a store that a real podman wrote, held by podman and by docker to be the very same."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import engine as docker
import podman_engine
import pytest
from engine import Tar, minimal_tar
from podman_engine import LIMITS, Podman

from layerscope.cli.main import run

pytestmark = [pytest.mark.root, pytest.mark.podman]

NAMES = ("localhost/base:1", "localhost/app:1", "localhost/oci:1")
SCRIPT = "rm /data/gone && echo changed > /data/file && mkdir -p /new/folder && ln /data/file /hard"


def base_tar() -> bytes:
    """A small system."""
    tar: Tar = minimal_tar()
    for command in ("sh", "rm", "mkdir", "ln", "cat"):
        tar.link(f"bin/{command}", "busybox")
    tar.folder("data")
    for name in ("file", "gone"):
        tar.add(f"data/{name}", f"{name}\n".encode())
    return tar.bytes()


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def podman(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store with an image of one layer, and two of two layers with configs of both kinds."""
    made = podman_engine.made(str(request.param))
    try:
        made.import_tar(base_tar(), "localhost/base:1")
        made.shell("changed", "localhost/base:1", SCRIPT)
        made.run("commit", "-f", "docker", "-m", "said", "changed", "localhost/app:1")
        made.run("commit", "-f", "oci", "changed", "localhost/oci:1")
        yield made
    finally:
        made.remove()


def saved(podman: Podman, folder: Path, form: str) -> Path:
    """Every image of the store, in one archive."""
    archive = folder / f"{form}.tar"
    assert run(["save", *NAMES, "-o", str(archive), "--format", form, "--root", str(podman.root)]) == 0
    return archive


def identities(podman: Podman) -> dict[str, str]:
    """The ID of each image, as podman tells it."""
    return {name: podman.json("inspect", "--type", "image", name)[0]["Id"] for name in NAMES}


def test_another_podman_loads_them(podman: Podman, tmp_path: Path) -> None:
    """The images have the IDs that they had, and run."""
    other = podman_engine.made(podman.driver)
    try:
        other.run("load", "-q", data=saved(podman, tmp_path, "docker").read_bytes())
        assert identities(other) == identities(podman)
        words = (*LIMITS, "--network", "none", "localhost/app:1", "cat", "/hard")
        assert other.run("run", "--rm", *words) == "changed\n"
    finally:
        other.remove()


@pytest.mark.docker
def test_docker_loads_them(podman: Podman, tmp_path: Path) -> None:
    """docker's ID of an image is the digest of its config, too."""
    reason = docker.missing()
    if reason is not None:
        pytest.skip(reason)
    archive = saved(podman, tmp_path, "docker")
    engine = docker.Engine()
    try:
        engine.start()
        engine.call("POST", "/images/load", archive.read_bytes(), "application/x-tar")
        for name, identity in identities(podman).items():
            assert engine.get(f"/images/{name}/json")["Id"] == f"sha256:{identity}"
        container = engine.run("localhost/app:1", ["/bin/cat", "/hard"], HostConfig={"NetworkMode": "none"})
        assert "changed\n" in engine.logs(container)
    finally:
        engine.remove()


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (apt-get install skopeo)")
def test_skopeo_takes_layouts(podman: Podman, tmp_path: Path) -> None:
    """It checks every digest on the way."""
    archive, copy = saved(podman, tmp_path, "oci"), tmp_path / "copy"
    for name, identity in identities(podman).items():
        words = ["skopeo", "copy", "-q", "--insecure-policy", f"oci-archive:{archive}:{name}", f"dir:{copy}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads((copy / "manifest.json").read_text())["config"]["digest"] == f"sha256:{identity}"
        shutil.rmtree(copy)
