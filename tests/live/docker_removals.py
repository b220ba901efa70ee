"""Random situations in a docker, what can be removed in them, and what ``reclaim`` tells of that beforehand."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from engine import Engine, docker_client, minimal_tar
from operations import build_with_buildkit
from removals import script
from world import context

from layerscope import open_root
from layerscope.services.reclaim import reclaim

BASE = "world/base:1"
NAMELESS = "<none>:<none>"
PRUNES = {
    "image prune": ("POST /images/prune", "dangling-images"),
    "image prune -a": ('POST /images/prune?filters={"dangling":["false"]}', "unused-images"),
    "container prune": ("POST /containers/prune", "stopped-containers"),
    "volume prune": ("POST /volumes/prune", "unused-volumes"),
    "builder prune": ("POST /build/prune?all=1", "build-cache"),
}


def base_tar() -> bytes:
    """A small system with a file to change."""
    tar = minimal_tar()
    tar.add("data/file", b"from the base\n" * 1000)
    return tar.bytes()


def import_base(engine: Engine) -> None:
    """Bring the base, unless it is there; it may have gone in an earlier turn."""
    if not any(BASE in (one["RepoTags"] or ()) for one in engine.get("/images/json")):
        engine.import_image(minimal_tar().bytes(), BASE)


def populate(engine: Engine, rng: random.Random, turn: int) -> None:
    """Images on images, by commit and by the old builder, some untagged or with two names; containers; volumes."""
    names = [BASE]
    for number in range(rng.randrange(2, 5)):
        parent = rng.choice(names)
        container = engine.shell(parent, script(rng))
        name = f"made/t{turn}-{number}:1"
        engine.commit(container, name)
        if rng.random() < 0.7:
            engine.call("DELETE", f"/containers/{container}?v=1")
        names.append(name)
        if rng.random() < 0.3:
            engine.post(f"/images/{name}/tag?repo=other/t{turn}&tag=n{number}")
        if rng.random() < 0.3:  # the name goes to another image: this one is dangling, or has only children
            engine.post(f"/images/{rng.choice(names)}/tag?repo=made/t{turn}-{number}&tag=1")
    steps = "\n".join(f'RUN ["/bin/busybox", "sh", "-c", "{script(rng)}"]' for _ in range(rng.randrange(1, 4)))
    engine.build(context(f"FROM {rng.choice(names)}\nENV TURN={turn}\n{steps}\n"), f"built/t{turn}:1")
    names.append(f"built/t{turn}:1")
    if rng.random() < 0.6 and docker_client() is not None:
        build_with_buildkit(engine, 100 + turn, f"kit/t{turn}:1")
        if rng.random() < 0.5:  # its layers stay in the cache
            engine.call("DELETE", f"/images/kit/t{turn}:1")
    for number in range(rng.randrange(1, 4)):
        engine.post("/volumes/create", {"Name": f"v{turn}-{number}"})
    for number in range(rng.randrange(2, 5)):
        binds = [f"v{turn}-0:/v"] if rng.random() < 0.5 else []
        volumes = {"/anonymous": {}} if rng.random() < 0.5 else {}
        command = ["/bin/busybox", "sh", "-c", f"{script(rng)}; echo x > /anonymous/x; echo log"]
        stays = rng.random() < 0.4
        if stays:
            command[-1] += "; echo ready; sleep 1000"
        container = engine.run(
            rng.choice(names),
            command,
            f"c{turn}-{number}",
            wait=not stays,
            HostConfig={"Binds": binds},
            Volumes=volumes,
            StopSignal="SIGKILL",
        )
        while stays and "ready" not in engine.logs(container):
            time.sleep(0.05)
    if rng.random() < 0.5:
        engine.create(rng.choice(names), ["/bin/busybox", "true"], f"created{turn}")


def rewritten(engine: Engine) -> list[Path]:
    """What docker writes anew whenever it removes something. What its containerd has of a container is foretold."""
    return [*engine.root.glob("image/*/repositories.json"), *engine.root.rglob("*.db")]


def predicted(engine: Engine, *words: str, with_volumes: bool = False) -> int:
    """The bytes that are told."""
    with open_root(engine.root) as session:
        answer = reclaim(session, words, with_volumes=with_volumes)
    assert answer.asked == words
    assert answer.at_most is (engine.driver == "btrfs")
    return answer.frees_disk


def actions(engine: Engine, rng: random.Random) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Requests with what they are in our words, and whether they take anonymous volumes."""
    listed = engine.get("/containers/json?all=1")
    for one in rng.sample(listed, min(3, len(listed))):
        name = one["Names"][0].lstrip("/")
        volumes = rng.random() < 0.5
        query = "&".join(["force=1"] * (one["State"] == "running") + ["v=1"] * volumes)
        yield f"DELETE /containers/{one['Id']}?{query}", (f"container:{name}",), volumes
    images = [one for one in engine.get("/images/json") if not {BASE, NAMELESS} & {*(one["RepoTags"] or [NAMELESS])}]
    for one in rng.sample(images, min(3, len(images))):
        tag = rng.choice(one["RepoTags"])
        yield f"DELETE /images/{tag}", (f"image:{tag}",), False
    order = list(PRUNES)
    rng.shuffle(order)
    for name in order[:4]:
        action, word = PRUNES[name]
        yield action.replace('"', "%22").replace("{", "%7B").replace("}", "%7D"), (word,), False
