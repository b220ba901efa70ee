"""Damage made in a stopped engine's root: what the engine then does at its start is what was foretold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from engine import ApiError, Engine, minimal_tar

from layerscope.model.diagnosis import Diagnosis, Outcome
from layerscope.services.doctor import examine
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

RECORDS = "image/overlay2"


class World(NamedTuple):
    """What the engine was given before the damage: an image of two layers, a container of it, one that never ran."""

    engine: Engine
    image: str
    base: str
    box: str
    idle: str

    def path(self, inside: str) -> Path:
        return self.engine.root / inside

    def chain(self, image: str) -> list[str]:
        """Chain IDs by the engine's own records, base first."""
        tops = json.loads(self.path(f"{RECORDS}/imagedb/content/sha256/{image[7:]}").read_text())["rootfs"]["diff_ids"]
        found: list[str] = []
        for record in self.path(f"{RECORDS}/layerdb/sha256").iterdir():
            found += [record.name] if (record / "diff").read_text() == tops[-1] else []
        return found

    def cache(self, image: str) -> str:
        (chain,) = self.chain(image)
        return self.path(f"{RECORDS}/layerdb/sha256/{chain}/cache-id").read_text()


@pytest.fixture(scope="module")
def stopped() -> Iterator[World]:
    """A stopped engine; its root is set back for each test."""
    engine = Engine()
    try:
        engine.start()
        base = engine.import_image(minimal_tar().bytes(), "base:1")
        made = engine.shell("base:1", "echo one > /one; echo two > /two", "maker")
        image = engine.commit(made, "top:1")
        engine.call("DELETE", f"/containers/{made}")
        box = engine.shell("top:1", "echo three > /three", "box")
        idle = engine.create("top:1", ["/bin/busybox", "true"], "idle")
        engine.stop()
        world = World(engine, image, base, box, idle)
        subprocess.run(["cp", "-a", str(engine.root), str(engine.home / "kept")], check=True)
        yield world
    finally:
        engine.remove()


@pytest.fixture
def world(stopped: World) -> Iterator[World]:
    yield stopped
    stopped.engine.stop()
    stopped.engine.kill_containers()
    stopped.engine.unmount()
    shutil.rmtree(stopped.engine.root)
    subprocess.run(["cp", "-a", str(stopped.engine.home / "kept"), str(stopped.engine.root)], check=True)


def chain_file(name: str, content: str) -> Callable[[World], str]:
    def make(world: World) -> str:
        path = f"{RECORDS}/layerdb/sha256/{world.chain(world.image)[0]}/{name}"
        world.path(path).write_text(content)
        return path

    return make


def names_garbage(world: World) -> str:
    world.path(f"{RECORDS}/repositories.json").write_text("")
    return f"{RECORDS}/repositories.json"


def names_missing(world: World) -> str:
    world.path(f"{RECORDS}/repositories.json").unlink()
    return f"{RECORDS}/repositories.json"


def image_changed(world: World) -> str:
    path = f"{RECORDS}/imagedb/content/sha256/{world.image[7:]}"
    world.path(path).write_text(world.path(path).read_text() + " ")
    return path


def contents_gone(world: World) -> str:
    path = f"overlay2/{world.cache(world.image)}"
    shutil.rmtree(world.path(path))
    return path


def short_name_gone(world: World) -> str:
    short = world.path(f"overlay2/{world.cache(world.image)}/link").read_text()
    world.path(f"overlay2/l/{short}").unlink()
    return f"overlay2/l/{short}"


def config_empty(world: World) -> str:
    path = f"containers/{world.box}/config.v2.json"
    world.path(path).write_text("")
    return path


def settings_bad(world: World) -> str:
    path = f"containers/{world.box}/hostconfig.json"
    world.path(path).write_text("{")
    return path


def mount_gone(world: World) -> str:
    path = f"{RECORDS}/layerdb/mounts/{world.box}"
    shutil.rmtree(world.path(path))
    return path


def orphan(world: World) -> str:
    world.path(f"overlay2/{'9' * 64}/diff").mkdir(parents=True)
    return f"overlay2/{'9' * 64}"


def container_gone(world: World) -> str:
    shutil.rmtree(world.path(f"containers/{world.idle}"))
    return f"{RECORDS}/layerdb/mounts/{world.idle}"


def running(world: World) -> str:
    path = f"containers/{world.box}/config.v2.json"
    record = json.loads(world.path(path).read_text())
    record["State"].update(Running=True, Pid=1 << 21)
    world.path(path).write_text(json.dumps(record))
    return path


def changed_file(world: World) -> str:
    path = f"overlay2/{world.cache(world.image)}/diff/one"
    world.path(path).write_text("two\n")
    return path


def record_gone(world: World) -> str:
    path = f"{RECORDS}/layerdb/sha256/{world.chain(world.image)[0]}/tar-split.json.gz"
    world.path(path).unlink()
    return path


DAMAGE: dict[str, Callable[[World], str]] = {
    "names garbage": names_garbage,
    "names missing": names_missing,
    "image changed": image_changed,
    "diff empty": chain_file("diff", ""),
    "size bad": chain_file("size", "x"),
    "contents gone": contents_gone,
    "short name gone": short_name_gone,
    "config empty": config_empty,
    "settings bad": settings_bad,
    "mount gone": mount_gone,
    "orphan": orphan,
    "container gone": container_gone,
    "running": running,
    "changed file": changed_file,
    "record gone": record_gone,
}


def foretold(world: World, path: str) -> Diagnosis:
    with open_root(world.engine.root) as session:
        found = [one for one in examine(session) if one.path == path]
    assert found, f"nothing was said of {path}"
    return found[0]


def witnessed(world: World, path: str) -> set[Outcome]:
    """What the engine really does with the root."""
    engine = world.engine
    try:
        engine.start()
    except RuntimeError:
        return {Outcome.REFUSES_TO_START}
    seen: set[Outcome] = set()
    images = {one["Id"]: one["RepoTags"] for one in engine.get("/images/json?all=1")}
    containers = {one["Id"]: one["State"] for one in engine.get("/containers/json?all=1")}
    if not {world.image, world.base} <= images.keys():
        seen.add(Outcome.HIDES_IMAGE)
    if {world.image, world.base} <= images.keys() and not any(map(_named, images.values())):
        seen.add(Outcome.FORGETS_NAMES)
    if world.image in images and not {world.box, world.idle} <= containers.keys():
        seen.add(Outcome.SKIPS_CONTAINER)
    if not seen and not _works(lambda: engine.post(f"/containers/{world.box}/start")):
        seen.add(Outcome.FAILS_ON_USE)
    if not seen and not _works(lambda: engine.call("GET", f"/images/{world.image}/get")):
        seen.add(Outcome.FAILS_ON_SAVE)
    if path.endswith("config.v2.json") and containers.get(world.box) == "exited":
        seen.add(Outcome.REPAIRS)
    engine.stop()
    if os.path.lexists(world.path(path)):
        seen.add(Outcome.KEEPS)
    return seen


def _named(tags: list[str] | None) -> bool:
    return any(tag != "<none>:<none>" for tag in tags or ())


def _works(action: Callable[[], object]) -> bool:
    try:
        action()
    except ApiError:
        return False
    return True


@pytest.mark.parametrize("name", DAMAGE)
def test_what_the_engine_does_was_foretold(world: World, name: str) -> None:
    path = DAMAGE[name](world)
    told = foretold(world, path)
    seen = witnessed(world, path)
    expected = {told.outcome} - {Outcome.WORKS}
    assert expected <= seen, (told, seen)
    gravest = {Outcome.REFUSES_TO_START, Outcome.FORGETS_NAMES, Outcome.HIDES_IMAGE, Outcome.SKIPS_CONTAINER}
    gravest |= {Outcome.FAILS_ON_USE, Outcome.FAILS_ON_SAVE}
    if name != "container gone":  # that container was taken away by hand
        assert seen & gravest == expected & gravest, (told, seen)


def test_an_undamaged_engine_has_nothing_and_verifies(world: World) -> None:
    with open_root(world.engine.root) as session:
        assert [one for one in examine(session) if one.rule != "write interrupted"] == []
        found = list(verify(session, deep=True))
    assert len(found) == 2 and all(one.ok is True for one in found)
    world.engine.start()
    started = time.monotonic()
    with open_root(world.engine.root) as session:
        assert all(one.ok is True for one in verify(session, deep=True))
    assert time.monotonic() - started < 60
