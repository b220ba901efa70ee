"""The demo's root as a real engine sees it, started on a copy that was unpacked as root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine

from layerscope import open_root
from layerscope.services.demo import demo_root

TRUTH = json.loads((Path(__file__).parents[1] / "data" / "demo" / "truth.json").read_text())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine on what demo_root unpacked."""
    engine = Engine()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(engine.home / "cache"))
            demo_root().rename(engine.root)
        engine.start()
        yield engine
    finally:
        engine.remove()


def test_engine_lists_what_the_records_say(engine: Engine) -> None:
    images = engine.get("/images/json")
    containers = engine.get("/containers/json?all=1&size=1")
    with open_root(engine.root) as session:
        told = {(u.image.id, tuple(sorted(u.image.repo_tags)), u.image.size) for u in session.images()}
        sizes = {(u.container.id, u.container.name, u.size_rw or 0, u.size_root_fs) for u in session.containers()}
    tags = [sorted(tag for tag in image["RepoTags"] or () if tag != "<none>:<none>") for image in images]
    assert told == {(image["Id"], tuple(names), image["Size"]) for image, names in zip(images, tags, strict=True)}
    assert sizes == {
        (c["Id"], c["Names"][0].removeprefix("/"), c.get("SizeRw", 0), c["SizeRootFs"]) for c in containers
    }


@pytest.mark.parametrize("container", sorted(TRUTH["diff"]))
def test_changes_are_those_of_this_engine(engine: Engine, container: str) -> None:
    with open_root(engine.root) as session:
        found = [(str(change.kind), f"/{change.path}") for change in session.changes(session.find(container))]
    assert found == engine.diff(container)


@pytest.mark.parametrize("container", sorted(TRUTH["diff"]))
def test_truth_on_disk_is_what_an_engine_says(engine: Engine, container: str) -> None:
    assert TRUTH["diff"][container] == [f"{letter} {path}" for letter, path in engine.diff(container)]


def test_containers_of_the_lost_power_are_found_ended(engine: Engine) -> None:
    """Recorded as running when the host lost power: the engine notices when it starts."""
    states = {c["Names"][0]: c["State"] for c in engine.get("/containers/json?all=1")}
    assert states == {"/web-1": "exited", "/web-2": "exited", "/db": "exited", "/job-7f": "created"}
