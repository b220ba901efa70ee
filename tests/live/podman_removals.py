"""Random situations in a podman's store, what can be removed in them, and what ``reclaim`` tells of that beforehand."""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from engine import Tar, minimal_tar
from podman_engine import LIMITS, Podman
from removals import script

from layerscope import open_root
from layerscope.services.reclaim import reclaim

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


def run_all(podman: Podman, commands: tuple[str, ...]) -> None:
    """The commands as they are printed."""
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "podman"
        podman.run(*words)
