"""A newer docker, with its own containerd for images and with overlay2: every answer against the daemon's own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import newer_engine
import pytest
import tree_facts
from daemon_answers import assert_containers
from ledger_facts import assert_closed, du
from newer_engine import SNAPSHOTTER, NewerEngine
from newer_world import CAN_BUILD, NewerWorld

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.services import Session
from layerscope.services.ledger import ledger

pytestmark = pytest.mark.full

PHASES = ["running", "stopped", "killed"]
NOBODYS = {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE}


class Scene:
    """A world at one moment, and a session on its root."""

    def __init__(self, world: NewerWorld, phase: str, session: Session) -> None:
        self.world, self.phase, self.session = world, phase, session
        self.truth, self.engine = world.truth, world.engine
        self.in_containerd = world.engine.kind == SNAPSHOTTER

    def run(self, *arguments: str, ends: int = 0) -> bytes:
        """What the program writes."""
        command = [sys.executable, "-m", "layerscope", "--root", str(self.engine.root), *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == ends, done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The same with ``--json``, read."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root directory of a system with a newer docker that can run containers."""
    yield from newer_engine.usable_system(tmp_path_factory)


@pytest.fixture(scope="module")
def worlds(system: Path) -> Iterator[dict[str, NewerWorld]]:
    """One world of each kind of engine, for all phases."""
    made: dict[str, NewerWorld] = {}
    try:
        for kind in (SNAPSHOTTER, "overlay2"):
            made[kind] = NewerWorld(NewerEngine(system, kind))
        yield made
    finally:
        for world in made.values():
            world.engine.remove()


@pytest.fixture(scope="module", params=[f"{kind} {phase}" for kind in (SNAPSHOTTER, "overlay2") for phase in PHASES])
def scene(request: pytest.FixtureRequest, worlds: dict[str, NewerWorld]) -> Iterator[Scene]:
    """The root while its daemon runs, after it was stopped, and after it and all containers got SIGKILL."""
    kind, phase = request.param.split()
    world, engine = worlds[kind], worlds[kind].engine
    if phase == "running":
        engine.start()
        world.populate()
        world.ask()
    elif phase == "stopped":
        engine.stop()
        engine.start()  # to hear what it says of containers that its end stopped
        world.ask()
        engine.stop()
    else:
        engine.start()
        world.serve()
        world.ask()
        engine.kill()
        engine.kill_containers()
    with open_root(engine.root) as session:
        yield Scene(world, phase, session)


# ---------------------------------------------------------------------- the root
def test_info(scene: Scene) -> None:
    told, engine = scene.session.info(), scene.truth["info"]
    assert (told.driver, told.counts["images"], told.counts["containers"], told.counts["running"]) == (
        engine["Driver"],
        len(scene.truth["images"]),  # "Images" counts one with two names twice
        engine["Containers"],
        engine["ContainersRunning"],
    )
    assert told.counts["volumes"] == len(scene.truth["volumes"])
    assert told.daemon.held is (scene.phase == "running")
    assert [problem for problem in told.problems if problem.severity == "error"] == []


def test_doctor_finds_nothing(scene: Scene) -> None:
    found = [one for one in scene.session.doctor() if one.problem.severity != "note"]
    assert found == []


def test_every_layer_is_as_its_digest_says(scene: Scene) -> None:
    for deep in (False, True):
        found = list(scene.session.verify(deep=deep))
        assert found
        assert [one for one in found if one.ok is False] == []


# ---------------------------------------------------------------------- images
def test_images(scene: Scene) -> None:
    """What images share is told among those that ``docker system df`` lists."""
    wanted = {}
    listed = {image["Id"]: image["SharedSize"] for image in scene.truth["df"]["Images"]}
    for image in scene.truth["images"]:
        wanted[image["Id"]] = (
            # 28 takes the name of a pull by digest for a tag, too.
            sorted(tag for tag in image["RepoTags"] or [] if tag != "<none>:<none>" and "@" not in tag),
            sorted(scene.truth["image"][image["Id"]]["RepoDigests"] or []),
            image["ParentId"] or None,
            image["Size"],
            listed.get(image["Id"]),
            image["Created"],
            scene.truth["image"][image["Id"]]["RootFS"]["Layers"],
        )
    told = {
        usage.image.id: (
            sorted(usage.image.repo_tags),
            sorted(usage.image.repo_digests),
            usage.image.parent,
            usage.image.size,
            usage.shared_size if not usage.intermediate else None,
            _seconds(usage.image.created),
            list(usage.image.diff_ids),
        )
        for usage in scene.session.images()
    }
    assert told == wanted


def test_containers_of_images(scene: Scene) -> None:
    listed = {image["Id"]: image["Containers"] for image in scene.truth["df"]["Images"]}
    told = {one["id"]: one["containers"] for one in scene.json("images")}
    assert told == listed


def test_platforms(scene: Scene) -> None:
    """Those that ``docker images --tree`` shows, with their bytes."""
    wanted = {}
    for image in scene.truth["images"]:
        for one in image.get("Manifests") or ():
            wanted[image["Id"], one["ID"]] = (
                one["Kind"] == "attestation",
                one["Available"],
                one["Size"]["Content"],
                one["Size"]["Total"],
            )
    told = {}
    for usage in scene.session.images():
        for one in usage.image.manifests or ():
            total = one.content_size + (one.unpacked_size or 0)
            told[usage.image.id, one.digest] = (one.attests is not None, one.available, one.content_size, total)
    assert told == wanted
    assert bool(told) is scene.in_containerd


def test_history(scene: Scene) -> None:
    for image, rows in scene.truth["history"].items():
        told = scene.session.history(scene.session.find(image))
        assert [(row.created_by, row.comment, row.size, _seconds(row.created)) for row in told] == [
            (row["CreatedBy"], row["Comment"], row["Size"], row["Created"]) for row in rows
        ]


def _seconds(moment: str | None) -> int:
    """As docker says it, of an image without a time too."""
    if moment is None:
        return -62135596800
    return int(datetime.fromisoformat(moment[:19] + "+00:00").timestamp())


# ---------------------------------------------------------------------- containers
def test_ps(scene: Scene) -> None:
    assert_containers(scene.session, scene.truth)


def test_inspect(scene: Scene) -> None:
    """docker's own words of a container's and an image's configuration are in what ``inspect`` joins."""
    for id_, wanted in scene.truth["inspected"].items():
        told = json.dumps(scene.session.records(scene.session.find(id_)))
        assert json.dumps(wanted["Config"]["Cmd"]) in told
        assert id_ in told


def test_diff(scene: Scene) -> None:
    for name, wanted in scene.truth["diff"].items():
        changes = scene.session.changes(scene.session.find(name))
        told = sorted((str(change.kind), "/" + _as_api(change.path)) for change in changes)
        assert told == sorted(wanted), name


def _as_api(path: str) -> str:
    """A path as JSON brings it: bytes that are not UTF-8 are replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def test_export(scene: Scene) -> None:
    for name, wanted in scene.truth["export"].items():
        out = io.BytesIO()
        assert scene.session.export(scene.session.find(name), out) == []
        assert tree_facts.of_tar(out.getvalue()) == tree_facts.of_tar(wanted), name


# ---------------------------------------------------------------------- bytes
def test_the_ledger_is_dus_sum(scene: Scene) -> None:
    for cache in (False, True):
        for _ in range(20):
            before = du(scene.engine.root)
            with open_root(scene.engine.root) as session:
                found = ledger(session, cache=cache)
            if before == du(scene.engine.root):
                break
            time.sleep(0.2)
        assert_closed(found, before)
        assert [one for one in found.entries if one.category in NOBODYS] == []
        assert {one.category for one in found.classes} >= {Category.IMAGE_LAYER, Category.CONTAINER_RW, Category.LOG}
    writable = {one.owner for one in found.entries if one.category is Category.CONTAINER_RW}
    assert writable == {one.container.name for one in scene.session.containers()}


def test_docker_df(scene: Scene) -> None:
    ours = scene.run("df", "--docker").decode().replace(" (unclean)", "")
    for mine, theirs in zip(_sections(ours), _sections(scene.truth["text"]["df"]), strict=True):
        assert sorted({*mine} ^ {*theirs}) == []


def _sections(text: str) -> list[list[str]]:
    """The lines of each part, sorted: docker lists volumes in no order. How long ago something was goes on."""
    parts: list[list[str]] = []
    for line in newer_engine.AGO.sub("a while", text).splitlines():
        if "space usage" in line or line.startswith("Build cache usage"):
            parts.append([])
        parts[-1].append(" ".join(line.split()))
    return [sorted(part) for part in parts]


def test_the_build_cache_is_known(scene: Scene) -> None:
    if not CAN_BUILD:
        pytest.skip("docker's own client is not installed here")
    assert Category.BUILD_CACHE in {one.category for one in scene.session.ledger().classes}
