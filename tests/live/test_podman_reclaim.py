"""What podman's own removals free, to the byte, against what was told before them, in random situations."""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import podman_engine
import pytest
from engine import Tar, minimal_tar
from podman_engine import LIMITS, Podman
from removals import freed, script

from layerscope import open_root
from layerscope.errors import UsageError
from layerscope.services.reclaim import reclaim

pytestmark = [pytest.mark.root, pytest.mark.podman]

BASE = "localhost/base:1"
COMMANDS = ("sh", "rm", "mkdir", "dd", "ln", "truncate", "chmod", "sleep", "true")
PRUNES = {
    ("image", "prune"): "dangling-images",
    ("image", "prune", "-a"): "unused-images",
    ("container", "prune"): "stopped-containers",
    ("volume", "prune"): "unused-volumes",
}


def base_tar() -> bytes:
    """A small system with a file to change."""
    tar: Tar = minimal_tar()
    for command in COMMANDS:
        tar.link(f"bin/{command}", "busybox")
    tar.add("data/file", b"from the base\n" * 1000)
    return tar.bytes()


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store with one image."""
    podman = podman_engine.made(str(request.param))
    try:
        podman.root.mkdir()
        subprocess.run(["mount", "--bind", podman.root, podman.root], check=True)
        yield podman
    finally:
        podman.remove()


def populate(podman: Podman, rng: random.Random, turn: int) -> None:
    """Images on images, by commit and by build, some without a name or with two; containers of each state; volumes."""
    podman.import_tar(base_tar(), BASE)
    names = [BASE]
    for number in range(rng.randrange(2, 4)):
        maker, name = f"maker{turn}-{number}", f"localhost/made/t{turn}-{number}:1"
        podman.shell(maker, rng.choice(names), script(rng))
        podman.run("commit", "-f", "docker", maker, name)
        if rng.random() < 0.7:
            podman.run("rm", maker)
        names.append(name)
        if rng.random() < 0.3:
            podman.run("tag", name, f"localhost/other/t{turn}:n{number}")
        if rng.random() < 0.3:  # the name goes to another image: this one is dangling, or has only children
            podman.run("tag", rng.choice(names), name)
    steps = "".join(f'RUN ["/bin/sh", "-c", "{script(rng)}"]\n' for _ in range(rng.randrange(1, 4)))
    folder = podman.home / f"context{turn}"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {rng.choice(names)}\nENV TURN={turn}\n{steps}")
    podman.run("build", *LIMITS, "--layers", "--network", "none", "-t", f"localhost/built/t{turn}:1", str(folder))
    names.append(f"localhost/built/t{turn}:1")
    for number in range(rng.randrange(1, 4)):
        podman.run("volume", "create", f"v{turn}-{number}")
    for number in range(rng.randrange(2, 4)):
        options = ["-v", f"v{turn}-0:/v"] if rng.random() < 0.5 else []
        options += ["-v", "/anonymous"] if rng.random() < 0.5 else []
        command = f"{script(rng)}; mkdir -p /anonymous; echo x > /anonymous/x; echo log"
        name = f"c{turn}-{number}"
        if rng.random() < 0.4:
            podman.shell(name, rng.choice(names), f"{command}; echo ready; sleep 1000", "-d", *options)
            while "ready" not in podman.run("logs", name):
                time.sleep(0.05)
        else:
            podman.shell(name, rng.choice(names), command, *options)
    if rng.random() < 0.5:
        podman.create(f"created{turn}", rng.choice([one["Id"] for one in podman.json("images", "-a")]))
    if rng.random() < 0.5:
        shared = ("--ipc", f"container:c{turn}-0")
        podman.run("create", *LIMITS, "--network", "none", "--name", f"shares{turn}", *shared, BASE, "true")


def rewritten(podman: Podman) -> list[Path]:
    """The lists and databases, which are written anew whenever something is removed."""
    found = [*podman.root.glob("*-layers/*.json"), *podman.root.glob("*-images/*.json")]
    return [
        *found,
        *podman.root.glob("*-containers/*.json"),
        *podman.root.glob("libpod/*.db"),
        *podman.root.glob("*.sql"),
    ]


def predicted(podman: Podman, *words: str, with_volumes: bool = False) -> tuple[int, tuple[str, ...]]:
    """The bytes that are told, and the commands."""
    with open_root(podman.root, driver=podman.driver) as session:
        answer = reclaim(session, words, with_volumes=with_volumes)
    assert answer.asked == words
    return answer.frees_disk, answer.commands


def actions(podman: Podman, rng: random.Random, turn: int) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], bool]]:
    """Commands with what they are in our words, and whether they take anonymous volumes."""
    if any(f"shares{turn}" in one["Names"] for one in podman.json("ps", "-a")):
        for name in (f"c{turn}-0", f"shares{turn}"):
            yield ("rm", "-f", "-t", "0", name), (f"container:{name}",), False
    listed = podman.json("ps", "-a")
    for one in rng.sample(listed, min(3, len(listed))):
        volumes = rng.random() < 0.5
        force = ["-f", "-t", "0"] if one["State"] == "running" else []
        yield ("rm", *force, *(["-v"] * volumes), one["Names"][0]), (f"container:{one['Names'][0]}",), volumes
    images = podman.json("images", "-a")
    for one in rng.sample(images, min(4, len(images))):
        name = rng.choice(one.get("Names") or [one["Id"]])
        yield ("rmi", name), (f"image:{name}",), False
    order = list(PRUNES)
    rng.shuffle(order)
    for words in order:
        yield (*words, "-f"), (PRUNES[words],), False


@pytest.mark.parametrize("turn", [*range(3), *(pytest.param(turn, marks=pytest.mark.full) for turn in range(3, 20))])
def test_a_removal_frees_what_was_told(engine: Podman, turn: int) -> None:
    rng = random.Random(f"{engine.driver} {turn}")
    populate(engine, rng, turn)
    done = 0
    for command, words, volumes in actions(engine, rng, turn):
        try:
            told, commands = predicted(engine, *words, with_volumes=volumes)
        except UsageError:  # an earlier removal took it along
            with pytest.raises(RuntimeError, match="not known"):
                engine.run(*command)
            continue
        assert all(one.startswith("podman ") for one in commands)
        try:
            act = partial(engine.run, *command)
            if any("--no-prune" in one for one in commands):  # else podman removes, and then fails on what stays
                act = partial(run_all, engine, commands)
            given = freed(engine.root, lambda: rewritten(engine), " ".join(command), act)
        except RuntimeError as error:
            # podman refuses what something else needs; then nothing comes back, as was told.
            assert "dependent" in str(error) or "in use" in str(error), error
            assert told == 0, (command, told)
            continue
        assert given == told, (command, words, given - told)
        done += 1
    assert done >= 5


def test_a_pods_own_container_goes_with_the_pod(engine: Podman) -> None:
    """It holds the namespaces of the others, which must go first; none of them is pruned."""
    engine.import_tar(base_tar(), BASE)
    infra = ("--infra-image", BASE, "--infra-command", "/bin/sleep", "--infra-name", "infra", "--network", "none")
    engine.run("pod", "create", *infra, "--share", "ipc", "--name", "pod")
    for name in ("one", "two"):
        engine.run("create", *LIMITS, "--pod", "pod", "--network", "none", "--name", name, BASE, "true")
    assert predicted(engine, "container:infra")[0] == 0
    assert predicted(engine, "stopped-containers") == (0, ())
    told, commands = predicted(engine, "container:infra", "container:one", "container:two")
    assert sorted(commands[:2]) == ["podman rm one", "podman rm two"]
    assert commands[2:] == ("podman pod rm pod",)
    act = partial(run_all, engine, commands)
    assert freed(engine.root, lambda: rewritten(engine), "pod", act) == told


def run_all(podman: Podman, commands: tuple[str, ...]) -> None:
    """The commands as they are printed."""
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "podman"
        podman.run(*words)


def test_the_commands_that_are_printed_free_what_was_told(engine: Podman) -> None:
    """Everything at once: containers before images, children before parents, nothing that is gone already."""
    populate(engine, random.Random(99), 99)
    engine.run("stop", "-a", "-t", "0")
    words = ("stopped-containers", "unused-images", "unused-volumes")
    told, commands = predicted(engine, *words)
    assert told > 0
    assert freed(engine.root, lambda: rewritten(engine), "all", partial(run_all, engine, commands)) == told
    assert engine.json("images", "-a") == []


def test_a_container_of_buildahs_is_no_prunes(engine: Podman) -> None:
    """A build that was cut off leaves one: podman lists it as external, and an image that it is of stays."""
    engine.import_tar(base_tar(), BASE)
    folder = engine.home / "cut"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(f'FROM {BASE}\nRUN ["/bin/sh", "-c", "echo x > /x; sleep 3"]\n')
    known = set(Path("/run").glob("*run*/buildah-*"))
    with engine.start("build", *LIMITS, "--network", "none", str(folder)) as build:
        while not [one for one in engine.json("ps", "-a", "--external") if one["State"] == "storage"]:
            time.sleep(0.05)
        time.sleep(0.3)
        build.kill()
    external = [one for one in engine.json("ps", "-a", "--external") if one["State"] == "storage"]
    name = external[0]["Names"][0]
    assert predicted(engine, BASE) == (0, ())
    assert predicted(engine, "stopped-containers") == (0, ())
    told, commands = predicted(engine, f"container:{name}")
    assert commands == (f"podman rm -f {name}",)
    assert told > 0
    given = freed(engine.root, lambda: rewritten(engine), "rm", partial(run_all, engine, commands))
    for path in set(Path("/run").glob("*run*/buildah-*")) - known:
        shutil.rmtree(path)  # what the runtime keeps of a step whose builder is gone
    assert given == told
