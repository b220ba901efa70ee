"""The demo's root as a real engine sees it, started on a copy that was made as root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import demo_answers
import pytest
from engine import Engine

from layerscope import open_root

TRUTH = json.loads(demo_answers.TRUTH.read_text())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine on what demo_root made."""
    engine = Engine()
    try:
        demo_answers.demo_copy(engine)
        engine.start()
        yield engine
    finally:
        engine.remove()


@pytest.fixture(scope="module")
def answers(engine: Engine) -> dict[str, Any]:
    """Everything that the engine says, through JSON and back as what is on disk."""
    told: dict[str, Any] = json.loads(json.dumps(demo_answers.ask(engine)))
    return told


@pytest.mark.parametrize("subject", sorted(set(TRUTH) - {"engine"}))
def test_truth_on_disk_is_what_an_engine_says(answers: dict[str, Any], subject: str) -> None:
    assert answers[subject] == TRUTH[subject]


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


def test_containers_of_the_lost_power_are_found_ended(engine: Engine) -> None:
    """Recorded as running when the host lost power: the engine notices when it starts."""
    states = {c["Names"][0]: c["State"] for c in engine.get("/containers/json?all=1")}
    assert states == {"/web-1": "exited", "/web-2": "exited", "/db": "exited", "/job-7f": "created"}


def test_engine_goes_on_with_it(engine: Engine) -> None:
    """What an engine does with images and containers of its own: commit, remove, and no layer is left behind."""
    layers = set((engine.root / "image/overlay2/layerdb/sha256").iterdir())
    made = engine.commit("web-1", "shop/web:patched")
    rows = engine.get(f"/images/{made}/history")
    web = next(told for told in TRUTH["containers"] if told["Name"] == "/web-1")
    assert rows[0]["Size"] == web["SizeRw"] and len(rows) == len(TRUTH["history"][web["Image"]]) + 1
    engine.call("DELETE", "/images/shop/web:patched")
    assert set((engine.root / "image/overlay2/layerdb/sha256").iterdir()) == layers
    engine.call("DELETE", "/containers/job-7f")
    assert len(engine.get("/images/json")) == len(TRUTH["images"])
    assert len(layers) - len(set((engine.root / "image/overlay2/layerdb/sha256").iterdir())) == 1
