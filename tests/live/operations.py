"""Everything by which docker makes or removes layers, each long enough to be looked at, or killed, in the middle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from archive_makers import saved_members, tar_of
from engine import Engine, Tar, docker_client, minimal_tar
from world import context

BASE = "world/base:1"
SOURCE = "source"
_STEP = (
    'RUN ["/bin/busybox", "sh", "-c", "mkdir /made{step}; for i in $(seq 60); do echo {turn} > /made{step}/$i; done"]'
)


@dataclass(frozen=True)
class Operation:
    """``work`` is the operation itself, after ``prepare``; both get a number that no other turn has."""

    name: str
    work: Callable[[Engine, int], object]
    prepare: Callable[[Engine, int], object] = lambda engine, turn: None


def populate(engine: Engine) -> None:
    """What the operations stand on: an image, and a container that is committed."""
    engine.import_image(minimal_tar().bytes(), BASE)
    engine.create(BASE, ["/bin/busybox", "true"], SOURCE, Labels={"stays": "yes"})
    engine.put(SOURCE, many_files("source", 500))


def many_files(folder: str, count: int) -> bytes:
    """A tar of small files with random bytes."""
    tar = Tar()
    tar.folder(folder)
    for number in range(count):
        tar.add(f"{folder}/{number}", os.urandom(4096))
    return tar.bytes()


def archive(name: str, layers: int = 5) -> bytes:
    """What ``docker load`` takes: an image of layers that no other image has."""
    contents = [many_files(f"layer{number}", 120) for number in range(layers)]
    return tar_of(list(saved_members(contents, (name,)).items()))


def load(engine: Engine, content: bytes) -> None:
    """``docker load``."""
    engine.call("POST", "/images/load?quiet=1", content, "application/x-tar")


def _load_all(engine: Engine, *names: str) -> None:
    for name in names:
        load(engine, archive(name))


def _lay_down(engine: Engine, turn: int, content: bytes) -> None:
    """What a later call sends is made beforehand: the daemon must be what takes the time."""
    (engine.home / f"tar{turn}").write_bytes(content)


def _taken(engine: Engine, turn: int) -> bytes:
    path = engine.home / f"tar{turn}"
    content = path.read_bytes()
    path.unlink()
    return content


def dockerfile(turn: int, steps: int = 3) -> str:
    """Steps that run, and one that copies; no two turns share a layer."""
    runs = "\n".join(_STEP.format(turn=turn, step=step) for step in range(steps))
    return f"FROM {BASE}\nENV TURN={turn}\nCOPY app.conf /app{turn}.conf\n{runs}\n"


def build_with_buildkit(engine: Engine, turn: int, name: str) -> None:
    """A build of new layers by BuildKit, through docker's client."""
    with _context_folder(engine, turn) as folder:
        engine.client("build", "-q", "--network=none", "-t", name, str(folder), environment={"DOCKER_BUILDKIT": "1"})


@contextmanager
def _context_folder(engine: Engine, turn: int) -> Iterator[Path]:
    folder = engine.home / f"context{turn}"
    folder.mkdir(exist_ok=True)
    try:
        (folder / "Dockerfile").write_text(dockerfile(turn))
        (folder / "app.conf").write_bytes(os.urandom(300_000))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _containers(engine: Engine, turn: int, count: int = 6) -> None:
    for number in range(count):
        name = f"c{turn}-{number}"
        engine.create(BASE, ["/bin/busybox", "true"], name, Labels={f"turn{turn}": "yes"})
        engine.put(name, many_files("data", 150))


def _run(engine: Engine, turn: int) -> None:
    for number in range(6):
        engine.run(BASE, ["/bin/busybox", "touch", "/ran"], f"run{turn}-{number}")


def _remove(engine: Engine, turn: int) -> None:
    for number in range(6):
        engine.call("DELETE", f"/containers/c{turn}-{number}?v=1")


def _cached(engine: Engine, turn: int) -> None:
    build_with_buildkit(engine, turn, f"cached/t{turn}:1")
    engine.call("DELETE", f"/images/cached/t{turn}:1")


def prune(engine: Engine, kind: str, **filters: list[str]) -> None:
    """``docker image prune`` and the like; BuildKit's cache goes whole."""
    query = "all=1" if kind == "build" else f"filters={quote(json.dumps(filters))}"
    engine.call("POST", f"/{kind}/prune?{query}")


def operations() -> list[Operation]:
    """All of them; those of BuildKit only where docker's client is."""
    found = [
        Operation("commit", lambda engine, turn: engine.commit(SOURCE, f"commit/t{turn}:1")),
        Operation(
            "import",
            lambda engine, turn: engine.import_image(_taken(engine, turn), f"import/t{turn}:1"),
            lambda engine, turn: _lay_down(engine, turn, many_files("in", 600)),
        ),
        Operation(
            "load",
            lambda engine, turn: load(engine, _taken(engine, turn)),
            lambda engine, turn: _lay_down(engine, turn, archive(f"load/t{turn}:1")),
        ),
        Operation("run", _run),
        Operation("rm", _remove, _containers),
        Operation(
            "rmi",
            lambda engine, turn: [engine.call("DELETE", f"/images/gone/t{turn}-{number}:1") for number in range(3)],
            lambda engine, turn: _load_all(engine, *(f"gone/t{turn}-{number}:1" for number in range(3))),
        ),
        Operation(
            "image prune",
            lambda engine, turn: prune(engine, "images", dangling=["false"]),
            lambda engine, turn: _load_all(engine, f"unused/t{turn}-0:1", f"unused/t{turn}-1:1"),
        ),
        Operation(
            "container prune", lambda engine, turn: prune(engine, "containers", label=[f"turn{turn}"]), _containers
        ),
        Operation("build", lambda engine, turn: engine.build(context(dockerfile(turn, steps=2)), f"built/t{turn}:1")),
    ]
    if docker_client() is not None:
        found += [
            Operation("BuildKit build", lambda engine, turn: build_with_buildkit(engine, turn, f"kit/t{turn}:1")),
            Operation("builder prune", lambda engine, turn: prune(engine, "build"), _cached),
        ]
    return found
