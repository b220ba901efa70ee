"""Images saved out of a bare containerd, and taken in by another; blobs that containerd was told to forget."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from containerd_engine import Containerd, running_containerd
from engine import Tar, minimal_tar

from layerscope.cli.main import run

NAME = "docker.io/t/app:1"
BLOBS = "io.containerd.content.v1.content/blobs/sha256"


@pytest.fixture
def engine() -> Iterator[Containerd]:
    """An empty containerd."""
    with running_containerd() as made:
        yield made


def layers() -> list[bytes]:
    """Two layers, base first."""
    top = Tar()
    top.add("data/file", b"content\n" * 1000)
    return [minimal_tar().bytes(), top.bytes()]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config_in(engine: Containerd, namespace: str = "default") -> str:
    """The digest of the image's config, as containerd has it."""
    (line,) = (line for line in engine.ctr("images", "ls", namespace=namespace).splitlines() if line.startswith(NAME))
    target = next(word for word in line.split() if word.startswith("sha256:"))
    document = json.loads(engine.ctr("content", "get", target, namespace=namespace))
    while "manifests" in document:
        document = json.loads(engine.ctr("content", "get", document["manifests"][0]["digest"], namespace=namespace))
    return str(document["config"]["digest"])


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_containerd_takes_in_what_is_saved(engine: Containerd, tmp_path: Path, form: str) -> None:
    """The layers are those that it was given; another namespace knows the same config by the same digest."""
    engine.load(NAME, layers())
    archive = tmp_path / "saved.tar"
    words = ["save", "t/app:1", "-o", str(archive), "--format", form, "--root", str(engine.root)]
    assert run([*words, "--namespace", "default"]) == 0
    with tarfile.open(archive) as tar:
        found = {digest(tar.extractfile(one).read()) for one in tar if one.isfile()}  # type: ignore[union-attr]
    config = config_in(engine)
    assert {*map(digest, layers()), config} <= found
    engine.ctr("images", "import", str(archive), namespace="other")
    assert config_in(engine, "other") == config


def test_a_forgotten_blob_is_named(engine: Containerd, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The unpacked files are all there, but nothing tells how the tar was that they came in."""
    engine.load(NAME, layers())
    top = digest(layers()[-1])
    assert (engine.root / BLOBS / top.removeprefix("sha256:")).exists()
    engine.ctr("content", "rm", top)
    engine.collect()
    assert not (engine.root / BLOBS / top.removeprefix("sha256:")).exists()
    archive = tmp_path / "saved.tar"
    capfd.readouterr()
    assert run(["save", NAME, "-o", str(archive), "--root", str(engine.root)]) == 4
    why = capfd.readouterr().err
    assert f"cannot save the layer {top}: its blob {top} is not in the store: it was thrown away once" in why
    assert list(tmp_path.iterdir()) == []
