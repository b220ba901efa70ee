"""podman's artifacts where their records are damaged or hostile: what can't be told isn't called nobody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layerscope.hostfs import Directory
from layerscope.stores.podman.artifacts import Artifact, Artifacts, read_artifacts

NAME = "org.opencontainers.image.ref.name"
MANIFEST, CONFIG, FILE = ("a" * 64, "b" * 64, "c" * 64)


def layout(top: Path, index: object, manifest: object = None) -> Artifacts:
    """What is read of a layout of these records."""
    blobs = top / "artifacts/blobs/sha256"
    blobs.mkdir(parents=True)
    (top / "artifacts/index.json").write_text(index if isinstance(index, str) else json.dumps(index))
    if manifest is not None:
        (blobs / MANIFEST).write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    root = Directory.open_root(top)
    try:
        return read_artifacts(root)
    finally:
        root.close()


def named(name: str | None = "localhost/a:1", digest: object = f"sha256:{MANIFEST}") -> dict[str, Any]:
    return {"digest": digest, **({"annotations": {NAME: name}} if name else {})}


GOOD = {"config": {"digest": f"sha256:{CONFIG}"}, "layers": [{"digest": f"sha256:{FILE}"}] * 2}


def test_names_share_what_they_have(tmp_path: Path) -> None:
    found = layout(tmp_path, {"manifests": [named("one"), named("two"), named(None)]}, GOOD)
    blobs = (MANIFEST, CONFIG, FILE)
    assert found == Artifacts((Artifact("one", blobs), Artifact("two", blobs), Artifact(MANIFEST[:12], blobs)), True)
    assert found.owners()[FILE] == ["one", "two", MANIFEST[:12]]


def test_a_root_without_artifacts(tmp_path: Path) -> None:
    root = Directory.open_root(tmp_path)
    try:
        assert read_artifacts(root) == Artifacts((), True)
    finally:
        root.close()


@pytest.mark.parametrize(
    ("index", "manifest"),
    [
        ("{", None),
        ({"manifests": "x"}, GOOD),
        ({"manifests": [None]}, GOOD),
        ({"manifests": [named(digest="sha256:../../../etc/passwd")]}, GOOD),
        ({"manifests": [named(digest=5)]}, GOOD),
        ({"manifests": [named()]}, None),
        ({"manifests": [named()]}, "no JSON"),
        ({"manifests": [named()]}, {"layers": [{"digest": 1}]}),
        ({"manifests": [named()] * 10_001}, GOOD),
    ],
)
def test_what_cannot_be_read_makes_it_incomplete(tmp_path: Path, index: object, manifest: object) -> None:
    assert not layout(tmp_path, index, manifest).complete


def test_no_more_is_kept_than_is_bounded(tmp_path: Path) -> None:
    many = {"layers": [{"digest": f"sha256:{number:064x}"} for number in range(20_000)]}
    found = layout(tmp_path, {"manifests": [named(f"a:{number}") for number in range(100)]}, many)
    assert not found.complete
    assert sum(len(one.blobs) for one in found.listed) <= 1_000_000
