"""Every looking verb on the root of a live engine against what that engine says: running, stopped, killed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tree_facts
from daemon_answers import assert_containers
from engine import Engine, docker_client
from world import DOCKERFILE, World, base_tar

from layerscope import open_root
from layerscope.services import Session

PHASES = ["running", "stopped", "killed"]
CHECKED_NAMES = ["editor", "on-app", "on-commit", "xattrs", "uploaded", "mounts", "idle", "failed", "orphan", "server"]
_FIRST_PID_NAMESPACE = "pid:[4026531836]"


class Scene:
    """A world at one moment, and a session on its root."""

    def __init__(self, world: World, phase: str, session: Session) -> None:
        self.world, self.phase, self.session = world, phase, session
        self.truth = world.truth

    def run(self, *arguments: str) -> bytes:
        """What the program writes; nothing may be wrong with the root but the image that was removed by force."""
        command = [sys.executable, "-m", "layerscope", "--root", str(self.world.engine.root), *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The same with ``--json``, read."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One engine for all phases."""
    engine = Engine()
    made = World(engine)
    try:
        engine.start()
        made.populate()
        yield made
    finally:
        engine.remove()


@pytest.fixture(scope="module", params=PHASES)
def scene(request: pytest.FixtureRequest, world: World) -> Iterator[Scene]:
    """The root while its daemon runs, after it was stopped, and after it and all containers got SIGKILL."""
    engine = world.engine
    if request.param == "stopped":
        engine.stop()
        engine.start()  # to hear what it says of containers that its end stopped
        world.ask()
        engine.stop()
    elif request.param == "killed":
        engine.start()
        world.serve()
        world.ask()
        engine.kill()
        engine.kill_containers()
    else:
        world.ask()
    with open_root(engine.root) as session:
        yield Scene(world, request.param, session)


# ---------------------------------------------------------------------- the root
def test_whether_a_daemon_holds_the_root(scene: Scene) -> None:
    told = scene.json("info")
    sees_all = os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
    assert told["daemon"]["held"] is (True if scene.phase == "running" else False if sees_all else None)
    assert told["daemon"]["evidence"]


def test_info(scene: Scene) -> None:
    told, engine = scene.session.info(), scene.truth["info"]
    assert (told.driver, told.counts["images"], told.counts["containers"], told.counts["running"]) == (
        engine["Driver"],
        engine["Images"],
        engine["Containers"],
        engine["ContainersRunning"],
    )
    assert told.counts["volumes"] == len(scene.truth["volumes"])
    assert [problem for problem in told.problems if problem.severity == "error"] == []


# ---------------------------------------------------------------------- images
def test_images(scene: Scene) -> None:
    listed = {image["Id"]: image for image in scene.truth["df"]["Images"]}
    wanted = {}
    for image in scene.truth["images"]:
        counted = listed.get(image["Id"])
        wanted[image["Id"]] = (
            sorted(tag for tag in image["RepoTags"] or [] if tag != "<none>:<none>"),
            image["ParentId"] or None,
            image["Size"],
            counted["SharedSize"] if counted else None,
            counted["Size"] - counted["SharedSize"] if counted else None,
            counted["Containers"] if counted else 0,
            scene.truth["image"][image["Id"]]["RootFS"]["Layers"],
            scene.truth["image"][image["Id"]]["Created"],
        )
    told = {
        usage.image.id: (
            sorted(usage.image.repo_tags),
            usage.image.parent,
            usage.image.size,
            usage.shared_size,
            usage.unique_size,
            usage.containers,
            list(usage.image.diff_ids),
            usage.image.created,
        )
        for usage in scene.session.images()
    }
    assert told == wanted


def test_images_without_intermediate_ones(scene: Scene) -> None:
    assert {image["id"] for image in scene.json("images")} == {image["Id"] for image in scene.truth["df"]["Images"]}


def test_history(scene: Scene) -> None:
    for image, rows in scene.truth["history"].items():
        told = scene.session.history(scene.session.find(image))
        assert [(row.created_by, row.comment, row.size, _seconds(row.created)) for row in told] == [
            (row["CreatedBy"], row["Comment"], row["Size"], row["Created"]) for row in rows
        ]


def _seconds(moment: str | None) -> int:
    assert moment is not None
    return int(datetime.fromisoformat(moment[:19] + "+00:00").timestamp())


# ---------------------------------------------------------------------- containers
def test_ps(scene: Scene) -> None:
    assert_containers(scene.session, scene.truth)


def test_a_container_that_outlived_its_daemon_is_unclean(scene: Scene) -> None:
    unclean = {container["name"] for container in scene.json("ps") if container["unclean"]}
    assert unclean == ({"server"} if scene.phase == "killed" else set())


def test_stack_is_what_is_mounted(scene: Scene) -> None:
    for container in scene.truth["inspected"].values():
        mounted = container["GraphDriver"]["Data"]
        directories = [mounted["UpperDir"], *mounted["LowerDir"].split(":")]
        levels = scene.session.levels(scene.session.find(container["Id"]))
        assert [str(scene.world.engine.root / str(level.path)) for level in levels[::-1]] == directories


def test_whose_directory(scene: Scene) -> None:
    for container in scene.truth["inspected"].values():
        upper = container["GraphDriver"]["Data"]["UpperDir"]
        owners = scene.session.owners(upper)
        assert [(owner.kind, owner.id) for owner in owners] == [("container", container["Id"])]


# ---------------------------------------------------------------------- changes
def _as_api(path: str) -> str:
    """A path as JSON brings it: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


@pytest.mark.parametrize("name", CHECKED_NAMES)
def test_diff(scene: Scene, name: str) -> None:
    changes = scene.session.changes(scene.session.find(name))
    told = sorted((str(change.kind), "/" + _as_api(change.path)) for change in changes)
    assert told == sorted(scene.truth["diff"][name])


def test_diff_as_program(scene: Scene) -> None:
    lines = {f"{kind} {path}" for kind, path in scene.truth["diff"]["on-commit"]}
    assert sorted(os.fsdecode(scene.run("diff", "on-commit")).splitlines()) == sorted(lines)


def test_an_image_and_a_commit_of_a_container_differ_by_its_changes(scene: Scene) -> None:
    """A commit of ``editor`` against its base, but for what only the engine's init layer has."""
    session = scene.session
    below = session.compare(session.find("world/base:1"), session.find("world/committed:1"))
    told = {(str(change.kind), "/" + _as_api(change.path)) for change in below if change.kind != "C"}
    wanted = {line for line in scene.truth["diff"]["editor"] if line[0] != "C"}
    assert told == wanted


# ---------------------------------------------------------------------- the merged tree
@pytest.mark.parametrize("name", CHECKED_NAMES)
def test_tree(scene: Scene, name: str) -> None:
    wanted = tree_facts.by_first_name(tree_facts.of_tar(scene.truth["export"][name]))
    assert tree_facts.of_session(scene.session, scene.session.find(name)) == wanted


@pytest.mark.parametrize("name", CHECKED_NAMES)
def test_export(scene: Scene, name: str) -> None:
    out = io.BytesIO()
    assert scene.session.export(scene.session.find(name), out) == []
    wanted = scene.truth["export"][name]
    assert tree_facts.of_tar(out.getvalue()) == tree_facts.of_tar(wanted)


def test_tree_as_program(scene: Scene) -> None:
    wanted = tree_facts.of_tar(scene.truth["export"]["editor"])
    listed = tree_facts.of_json(scene.json("ls", "-R", "editor"))
    assert listed == tree_facts.without_contents(tree_facts.by_first_name(wanted))
    assert tree_facts.of_tar(scene.run("export", "editor")) == wanted


def test_tree_is_the_mounted_one(scene: Scene, tmp_path: Path) -> None:
    """Nanoseconds and all extended attributes, against the kernel: docker's own mount, or ours where that is gone."""
    told = tree_facts.exact_of_session(scene.session, scene.session.find("server"))
    directories = scene.truth["inspected"][scene.world.containers["server"]]["GraphDriver"]["Data"]
    if scene.phase != "stopped":
        assert os.path.ismount(directories["MergedDir"])
        assert told == tree_facts.of_kernel(Path(directories["MergedDir"]))
        return
    stack = f"lowerdir={directories['UpperDir']}:{directories['LowerDir']}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,{stack}", str(tmp_path)], check=True)
    try:
        assert told == tree_facts.of_kernel(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_blame_of_what_a_script_did(scene: Scene) -> None:
    def steps(name: str, path: str) -> list[str]:
        blame = scene.session.blame(scene.session.find(name), path)
        return [str(step.event) for step in blame.steps]

    assert steps("editor", "/data/remove") == ["created", "deleted"]
    assert steps("editor", "/data/modify") == ["created", "modified"]
    assert steps("editor", "/data/chmod") == ["created", "metadata"]
    assert steps("editor", "/srv/opaque/b") == ["created", "hidden"]
    assert steps("editor", "/srv/to-file") == ["created", "replaced"]
    assert steps("on-app", "/data/keep") == ["created", "deleted", "recreated"]
    assert steps("on-commit", "/srv/gone/a") == ["created", "hidden", "recreated"]
    assert steps("on-commit", "/data/keep") == ["created", "deleted"]


# ---------------------------------------------------------------------- BuildKit
@pytest.fixture(scope="module")
def built() -> Iterator[Engine]:
    """An engine with an image built by BuildKit, and one built and removed again: its layer stays in the cache."""
    client = docker_client()
    if client is None:
        pytest.skip("docker's own client is not installed")
    engine = Engine()
    try:
        engine.start()
        engine.import_image(base_tar(), "world/base:1")
        folder = engine.home / "context"
        folder.mkdir()
        (folder / "app.conf").write_text("conf\n")
        for name, text in (
            ("world/kit:1", DOCKERFILE),
            ("world/gone:1", 'FROM world/base:1\nRUN ["/bin/busybox", "touch", "/cached"]\n'),
        ):
            (folder / "Dockerfile").write_text(text)
            arguments = ("build", "--network=none", "-t", name, str(folder))
            done = subprocess.run(
                [str(client), "-H", f"unix://{engine.home}/s", *arguments],
                env={**os.environ, "DOCKER_BUILDKIT": "1", "HOME": str(engine.home)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode and "buildx" in done.stderr:
                pytest.skip("this client needs docker-buildx to use BuildKit")
            assert done.returncode == 0, done.stderr
        engine.call("DELETE", "/images/world/gone:1")
        engine.shell("world/kit:1", "echo x > /srv/gone/b; rm /data/built", "on-kit")
        yield engine
    finally:
        engine.remove()


def test_an_image_built_by_buildkit(built: Engine) -> None:
    wanted = {image["Id"]: (image["Size"], image["RepoTags"]) for image in built.get("/images/json?all=1")}
    with open_root(built.root) as session:
        images = session.images()
        assert {usage.image.id: (usage.image.size, list(usage.image.repo_tags)) for usage in images} == wanted
        kit = session.find("on-kit")
        container = built.get("/containers/json?all=1&size=1")[0]
        assert session.containers()[0].size_rw == container["SizeRw"]
        assert [(str(change.kind), "/" + change.path) for change in session.changes(kit)] == built.diff(container["Id"])
        assert tree_facts.of_session(session, kit) == tree_facts.of_tar(built.export(container["Id"]))
        assert session.problems() == ()


def test_layers_that_only_the_build_cache_holds(built: Engine) -> None:
    """Every layer directory is claimed by an image, a container or the build cache; none is an orphan."""
    cached = 0
    with open_root(built.root) as session:
        for folder in sorted((built.root / "overlay2").iterdir()):
            if folder.name == "l":
                continue
            kinds = {owner.kind for owner in session.owners(f"overlay2/{folder.name}")}
            assert kinds and "orphan" not in kinds, folder.name
            cached += "build-cache" in kinds
    assert cached
