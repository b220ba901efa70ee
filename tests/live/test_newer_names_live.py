"""Names that a newer docker takes from OCI layouts as they are: it lists them, and finds nothing by them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import newer_engine
import pytest
from archive_makers import tar_of
from newer_engine import SNAPSHOTTER, NewerEngine
from newer_world import Blobs, image, layer
from operations import load
from removals import freed

from layerscope import open_root
from layerscope.services.reclaim import reclaim

pytestmark = pytest.mark.full


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewerEngine]:
    """A daemon that was given a layout of the images ``plain`` and ``1.0``, as skopeo and umoci write them."""
    with newer_engine.newer_system(tmp_path_factory.mktemp("newer")) as system:
        made = NewerEngine(system, SNAPSHOTTER)
        try:
            made.start()
            blobs = Blobs()
            shared = layer("shared", 20_000)
            manifests = [
                {**image(blobs, "amd64", [shared, layer(f"own of {name}", 30_000)]), "annotations": {REF_NAME: name}}
                for name in ("plain", "1.0")
            ]
            members = [("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')]
            members += [(f"blobs/{digest.replace(':', '/')}", content) for digest, content in blobs.by_digest.items()]
            members.append(("index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()))
            load(made, tar_of(members))
            yield made
        finally:
            made.remove()


REF_NAME = "org.opencontainers.image.ref.name"


def databases(engine: NewerEngine) -> list[Path]:
    return list(engine.root.rglob("*.db"))


def test_names_that_are_not_full(engine: NewerEngine) -> None:
    ids = {one["Id"]: one["RepoTags"] for one in engine.get("/images/json")}
    (plain,) = [id_ for id_, tags in ids.items() if "plain" in tags]
    engine.post(f"/images/{plain}/tag?repo=full&tag=1")
    engine.post(f"/images/{plain}/tag?repo=full&tag=2")
    told = {id_: engine.get(f"/images/{id_}/json") for id_ in ids}
    assert {tuple(sorted(one["RepoTags"])) for one in told.values()} == {("1.0",), ("full:1", "full:2", "plain")}
    with open_root(engine.root) as session:
        ours = {one.id: (sorted(one.repo_tags), sorted(one.repo_digests)) for one in session.store.images()}
    assert ours == {id_: (sorted(one["RepoTags"]), sorted(one["RepoDigests"])) for id_, one in told.items()}


def test_the_commands_that_remove_them(engine: NewerEngine) -> None:
    """Each is what docker does with it, and frees what was told."""
    (plain,) = [one["Id"] for one in engine.get("/images/json") if "plain" in one["RepoTags"]]
    engine.post(f"/images/{plain}/tag?repo=full&tag=1")
    engine.post(f"/images/{plain}/tag?repo=full&tag=2")
    left = {one["Id"] for one in engine.get("/images/json")}
    for id_ in (plain, *(left - {plain})):
        with open_root(engine.root) as session:
            answer = reclaim(session, (f"image:{id_}",))
        (command,) = answer.commands

        def act(words: str = command) -> None:
            engine.newer_client(*shlex.split(words)[1:])

        given = freed(engine.root, lambda: databases(engine), command, act)
        left.remove(id_)
        assert {one["Id"] for one in engine.get("/images/json")} == left
        assert given == answer.frees_disk > 0
