"""What ``reclaim`` prints, given to podman word for word, frees what was told, and no command of it fails."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import podman_engine
import pytest
from podman_engine import LIMITS, Podman
from podman_removals import BASE, base_tar, populate, predicted, rewritten, run_all
from removals import freed

from layerscope import open_root
from layerscope.services.reclaim import reclaim

pytestmark = [pytest.mark.root, pytest.mark.podman]


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store that is mounted as podman does it itself."""
    with podman_engine.bound(str(request.param)) as podman:
        yield podman


@pytest.fixture
def engine(store: Podman) -> Iterator[Podman]:
    """The store with one image, and empty again afterwards."""
    store.import_tar(base_tar(), BASE)
    yield store
    with suppress(RuntimeError):  # of two, one of which needs the other, it may remove only one
        store.run("rm", "-a", "-f", "-v", "-t", "0")
    store.run("rm", "-a", "-f", "-v", "-t", "0")
    store.run("rmi", "-a", "-f")
    store.run("volume", "rm", "-a", "-f")


def check(podman: Podman, *words: str, with_volumes: bool = False) -> int:
    """Do what is printed for some words; gives the bytes that came back, which are those that were told."""
    told, commands = predicted(podman, *words, with_volumes=with_volumes)
    given = freed(podman.root, lambda: rewritten(podman), str(words), partial(run_all, podman, commands))
    assert given == told, (words, commands)
    return given


def image(podman: Podman, name: str, kilobytes: int) -> str:
    """An image of its own bytes on the base; gives its ID."""
    podman.shell("maker", BASE, f"dd if=/dev/zero of=/own bs=1k count={kilobytes}")
    made = podman.run("commit", "-q", "-f", "docker", "maker", name).strip()
    podman.run("rm", "maker")
    return made


def test_a_nameless_image_that_a_container_uses_outlives_its_child(engine: Podman) -> None:
    """podman removes the child, tries its parents, and fails on that one; what is printed here does not fail."""
    for name, parent in (("used", BASE), ("between", "localhost/used:1"), ("top", "localhost/between:1")):
        engine.shell(f"maker-{name}", parent, f"dd if=/dev/zero of=/{name} bs=1k count=50")
        engine.run("commit", "-f", "docker", f"maker-{name}", f"localhost/{name}:1")
        engine.run("rm", f"maker-{name}")
    engine.create("user", "localhost/used:1")
    for name in ("used", "between"):
        engine.run("untag", f"localhost/{name}:1")
    told, commands = predicted(engine, "localhost/top:1")
    assert told > 100_000
    with open_root(engine.root, driver=engine.driver) as session:
        (top,) = (one for one in reclaim(session).candidates if one.name == "localhost/top:1")
    assert (top.frees_disk, top.command) == (told, " && ".join(commands))
    assert freed(engine.root, lambda: rewritten(engine), "rmi", partial(run_all, engine, commands)) == told
    assert len(engine.json("images", "-a")) == 2


def test_a_nameless_image_by_its_id_leaves_its_children(engine: Podman) -> None:
    """It goes before them; podman then tries the image that it was made of, which a container uses."""
    made = {}
    for name, parent in (("used", BASE), ("between", "localhost/used:1"), ("top", "localhost/between:1")):
        engine.shell(f"maker-{name}", parent, f"dd if=/dev/zero of=/{name} bs=1k count=50")
        made[name] = engine.run("commit", "-q", "-f", "docker", f"maker-{name}", f"localhost/{name}:1").strip()
        engine.run("rm", f"maker-{name}")
    engine.create("user", "localhost/used:1")
    for name in ("used", "between"):
        engine.run("untag", f"localhost/{name}:1")
    assert 0 < check(engine, made["between"]) < 50 << 10
    assert {one["Id"] for one in engine.json("images", "-a")} >= {made["used"], made["top"]}


def test_all_names_of_an_image_together(engine: Podman) -> None:
    image(engine, "localhost/named:1", 100)
    engine.run("tag", "localhost/named:1", "localhost/other:latest")
    assert check(engine, "localhost/named:1") == 0
    assert check(engine, "named:1", "other") > 100 << 10


def test_a_name_with_a_digest_is_a_name_as_others_are(engine: Podman) -> None:
    """It stays when the tag goes; of an image that has a tag alone each digest means the image."""
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    made = image(engine, "localhost/digested:1", 100)
    (digest,) = (one["Digest"] for one in engine.json("images") if one["Id"] == made)
    store = f"containers-storage:[{engine.driver}@{engine.root}+{engine.home}/run]"
    sides = (f"{store}localhost/digested:1", f"{store}localhost/pulled@{digest}")
    subprocess.run(["skopeo", "copy", "-q", *sides], check=True, env=engine.environment)
    (names,) = (one["Names"] for one in engine.json("images") if one["Id"] == made)
    assert len(names) == 2
    assert [check(engine, name) for name in names] == [0, 0]
    assert check(engine, made) > 100 << 10
    made = image(engine, "localhost/digested:1", 100)
    (digest,) = (one["Digest"] for one in engine.json("images") if one["Id"] == made)
    assert check(engine, f"localhost/digested@{digest}") > 100 << 10


def test_volumes_that_a_container_mounts_stay(engine: Podman) -> None:
    """No command is printed for them: podman would refuse it."""
    engine.run("volume", "create", "shared")
    engine.shell("first", BASE, "echo 1 > /v/x; echo 2 > /anonymous/y", "-v", "shared:/v", "-v", "/anonymous")
    engine.create("second", BASE, "--volumes-from", "first")
    assert check(engine, "volume:shared") == 0
    assert predicted(engine, "first", with_volumes=True)[1] == ("podman rm first",)
    check(engine, "first", with_volumes=True)
    assert check(engine, "unused-volumes") == 0
    engine.run("rm", "second")
    assert predicted(engine, "unused-volumes")[0] > check(engine, "anonymous-volumes") > 0
    assert check(engine, "unused-volumes") > 0
    assert engine.run("volume", "ls", "-q") == ""


def test_a_running_container_that_removes_itself_takes_its_volumes(engine: Podman) -> None:
    """Its end removes them or not, whichever is first, so the command does; not what another one mounts."""
    for name, more in (("ends", ()), ("shares", ("--volumes-from", "ends"))):
        words = ("--network", "none", "-d", "--rm", "--name", name, "-v", f"/of-{name}", *more)
        engine.run("run", *LIMITS, *words, BASE, "sh", "-c", f"echo 1 > /of-{name}/x; echo ready; sleep 1000")
        while "ready" not in engine.run("logs", name):
            time.sleep(0.05)
    assert check(engine, "shares") > 0
    assert len(engine.run("volume", "ls", "-q").split()) == 1
    assert check(engine, "ends") > 0
    assert engine.run("volume", "ls", "-q") == ""


def test_a_container_that_another_one_requires_stays(engine: Podman) -> None:
    engine.create("required", BASE)
    engine.create("requiring", BASE, "--requires", "required")
    assert check(engine, "required") == 0
    assert check(engine, "required", "requiring") > 0


def test_a_list_of_manifests_goes_without_the_images_in_it(engine: Podman) -> None:
    image(engine, "localhost/listed:1", 100)
    engine.run("manifest", "create", "localhost/list:1")
    engine.run("manifest", "add", "localhost/list:1", "containers-storage:localhost/listed:1")
    assert 0 < check(engine, "localhost/list:1") < 100 << 10
    assert check(engine, "localhost/listed:1") > 100 << 10


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.full) for turn in range(1, 10))])
def test_any_words_together(engine: Podman, turn: int) -> None:
    """Containers, images by any of their names or by ID, volumes and groups in any mixture, and plans."""
    rng = random.Random(f"words {engine.driver} {turn}")
    populate(engine, rng, turn)
    shutil.rmtree(engine.home / f"context{turn}")
    done = 0
    for _ in range(6):
        images = engine.json("images", "-a")
        words = [f"container:{one['Names'][0]}" for one in engine.json("ps", "-a")]
        words += sorted({f"image:{name}" for one in images for name in (*(one.get("Names") or ()), one["Id"])})
        words += [f"volume:{name}" for name in engine.run("volume", "ls", "-q").split()]
        words += ["stopped-containers", "dangling-images", "unused-volumes", "anonymous-volumes"]
        chosen = rng.sample(words, min(len(words), rng.randrange(1, 8)))
        done += check(engine, *chosen, with_volumes=rng.random() < 0.4) > 0
    with open_root(engine.root, driver=engine.driver) as session:
        plan = reclaim(session, (), wanted=rng.randrange(10_000, 300_000))
    act = partial(run_all, engine, plan.commands)
    assert freed(engine.root, lambda: rewritten(engine), "plan", act) == plan.frees_disk
    assert done > 0
