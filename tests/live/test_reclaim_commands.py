"""What ``reclaim`` prints, given to docker word for word, frees what was told, and no command of it fails."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from docker_removals import BASE, import_base, populate, rewritten
from engine import Engine, docker_client, started
from ledger_facts import du
from operations import build_with_buildkit
from removals import freed

from layerscope import open_root
from layerscope.errors import UsageError
from layerscope.model.claim import Category
from layerscope.model.reclaim import Reclaim
from layerscope.services.reclaim import GROUPS, reclaim

TRUE = ["/bin/busybox", "true"]


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A daemon with one image, and docker's client for it."""
    if docker_client() is None:
        pytest.skip("docker's own client isn't installed")
    with started(request.param, BASE) as made:
        yield made


def told(engine: Engine, *words: str, with_volumes: bool = False) -> Reclaim:
    """The answer to some words."""
    with open_root(engine.root) as session:
        return reclaim(session, words, with_volumes=with_volumes)


def run_all(engine: Engine, commands: tuple[str, ...]) -> None:
    """Each command as it is printed; one that asks for a yes gets no answer."""
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "docker"
        engine.client(*words)


def check(engine: Engine, *words: str, with_volumes: bool = False) -> int:
    """Do what is printed for some words; gives the bytes that came back, which are those that were told."""
    answer = told(engine, *words, with_volumes=with_volumes)
    given = freed(engine.root, lambda: rewritten(engine), str(words), partial(run_all, engine, answer.commands))
    assert given == answer.frees_disk, (words, answer.commands)
    return given


def image(engine: Engine, name: str, kilobytes: int) -> str:
    """An image of its own bytes on the base."""
    container = engine.shell(BASE, f"dd if=/dev/urandom of=/own bs=1k count={kilobytes}")
    made = engine.commit(container, name)
    engine.call("DELETE", f"/containers/{container}")
    return made


def test_all_names_of_an_image_together(engine: Engine) -> None:
    """One of them only untags; in any other spelling they are the same names."""
    image(engine, "named/a:latest", 100)
    engine.post("/images/named/a:latest/tag?repo=named/b&tag=2")
    assert check(engine, "named/b:2") == 0
    assert check(engine, "named/a", "docker.io/named/b:2") > 100 << 10


def test_a_group_takes_an_image_with_all_its_names(engine: Engine) -> None:
    image(engine, "named/a:1", 100)
    engine.post("/images/named/a:1/tag?repo=named/b&tag=2")
    used = engine.create(BASE, TRUE, "uses-base")
    assert check(engine, "named/a:1", "unused-images") > 100 << 10
    engine.call("DELETE", f"/containers/{used}")


def test_digests_of_the_repository_go_with_its_last_tag_and_others_stay(engine: Engine) -> None:
    """As a pull by digest, and a pull by tag, leave them."""
    digest = f"@sha256:{'ab' * 32}"
    made = [image(engine, f"tagged/{name}:1", 100 + number) for number, name in enumerate("abc")]
    engine.stop()
    record = engine.root / "image" / engine.driver / "repositories.json"
    repositories = json.loads(record.read_text())
    names = repositories["Repositories"]
    names["pulled/a"] = {f"pulled/a{digest}": made[0]}
    names["tagged/b"][f"tagged/b{digest}"] = made[1]
    names["tagged/c"] = {f"tagged/c{digest}": made[2]}
    record.write_text(json.dumps(repositories))
    engine.start()
    assert check(engine, "tagged/a:1") == 0
    assert check(engine, made[0]) > 100 << 10
    assert check(engine, f"tagged/b{digest}") == 0
    assert check(engine, "tagged/b:1") > 100 << 10
    assert check(engine, f"tagged/c{digest}") > 100 << 10


def test_volumes_that_a_container_mounts_stay(engine: Engine) -> None:
    """No command is printed for them: docker would refuse it."""
    engine.post("/volumes/create", {"Name": "shared"})
    write = ["/bin/busybox", "sh", "-c", "echo 1 > /v/x; echo 2 > /anonymous/y"]
    engine.run(BASE, write, "first", HostConfig={"Binds": ["shared:/v"]}, Volumes={"/anonymous": {}})
    engine.create(BASE, TRUE, "second", HostConfig={"VolumesFrom": ["first"]})
    assert check(engine, "volume:shared") == 0
    assert told(engine, "volume:shared").kept[0].because == ("container first", "container second")
    assert told(engine, "first", with_volumes=True).commands == ("docker rm first",)
    check(engine, "first", with_volumes=True)
    assert check(engine, "unused-volumes") == 0
    assert check(engine, "second", "volume:shared", with_volumes=True) > 0
    assert engine.get("/volumes")["Volumes"] in ([], None)


def test_anonymous_volumes_are_a_group_of_their_own(engine: Engine) -> None:
    """Before 23.0 docker tells them by their names; its prune takes the others, too."""
    engine.post("/volumes/create", {"Name": "named"})
    engine.create(BASE, TRUE, "keeps", Volumes={"/kept": {}})
    loser = engine.create(BASE, TRUE, Volumes={"/lost": {}})
    lost = engine.get(f"/containers/{loser}/json")["Mounts"][0]["Name"]
    engine.call("DELETE", f"/containers/{loser}")
    assert told(engine, "anonymous-volumes").commands == (f"docker volume rm {lost}",)
    assert check(engine, "anonymous-volumes") > 0
    assert told(engine, "unused-volumes").commands == ("docker volume rm named",)
    assert check(engine, "keeps", "unused-volumes", with_volumes=True) > 0


def test_the_build_cache_goes_without_a_question(engine: Engine) -> None:
    build_with_buildkit(engine, 1, "kit/cached:1")
    check(engine, "kit/cached:1")
    assert check(engine, "build-cache") > 0


def test_containers_that_docker_does_not_load(engine: Engine) -> None:
    """It removes none of them, whatever is there; the layers below stay where the record of theirs is whole."""
    below = image(engine, "below/a:1", 100), image(engine, "below/b:1", 100)
    no_config, no_layer = (engine.create(one, TRUE) for one in below)
    engine.post("/volumes/create", {"Name": "theirs"})
    mounting = engine.create(BASE, TRUE, HostConfig={"Binds": ["theirs:/v"]})
    engine.stop()
    (engine.root / "containers" / no_config / "config.v2.json").write_text("{")
    for one in (no_layer, mounting):
        shutil.rmtree(engine.root / "image" / engine.driver / "layerdb/mounts" / one)
    engine.start()
    assert engine.get("/containers/json?all=1") == []
    for one in (no_config, no_layer, mounting):
        with pytest.raises(UsageError, match="doesn't know it"):
            told(engine, one)
    assert check(engine, "stopped-containers") == 0
    kept = check(engine, "below/a:1")
    assert 0 < kept < 100 << 10
    assert check(engine, "below/b:1") > 100 << 10
    assert check(engine, "volume:theirs") > 0


def test_what_a_crash_left_of_a_running_container_stays(engine: Engine) -> None:
    """Its own containerd's folder of it goes with no command of docker's; the container is told without it."""
    container = engine.run(BASE, ["/bin/busybox", "sleep", "1000"], "crashed", wait=False, StopSignal="SIGKILL")
    task = engine.root / "containerd/daemon/io.containerd.runtime.v2.task/moby" / container
    assert task.is_dir()
    engine.kill()
    engine.kill_containers()
    engine.unmount()
    shutil.rmtree(engine.home / "x")
    assert "docker rm crashed" in told(engine, "crashed").commands
    engine.start()
    assert task.is_dir()
    assert check(engine, "crashed") > 0
    assert task.is_dir()


def test_what_a_swarm_writes_is_claimed(engine: Engine) -> None:
    """libnetwork's files of the ingress network lie beside its database, and outlive the swarm."""
    engine.client("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:0")
    try:
        end = time.monotonic() + 20
        while not (engine.root / "network/files/hosts").exists() and time.monotonic() < end:
            time.sleep(0.1)
        nobodys = unclaimed(engine.root)
    finally:
        engine.client("swarm", "leave", "--force")
    assert nobodys == []
    assert unclaimed(engine.root) == []
    with open_root(engine.root) as session:
        ledger = session.ledger()
    assert ledger.total_disk == du(engine.root)


@pytest.mark.parametrize("turn", [*range(2), *(pytest.param(turn, marks=pytest.mark.full) for turn in range(2, 12))])
def test_any_words_together(engine: Engine, turn: int) -> None:
    """Containers, images by any of their names or by ID, volumes and groups in any mixture, and plans."""
    rng = random.Random(f"words {engine.driver} {turn}")
    import_base(engine)
    populate(engine, rng, turn)
    done = 0
    for _ in range(6):
        images = engine.get("/images/json")
        words = [f"container:{one['Names'][0][1:]}" for one in engine.get("/containers/json?all=1")]
        words += [
            f"image:{name}" for one in images for name in (*(one["RepoTags"] or ()), one["Id"]) if "<" not in name
        ]
        words += [f"volume:{one['Name']}" for one in engine.get("/volumes")["Volumes"] or ()]
        words += sorted(GROUPS.keys() - {"orphans", "unused-layers", "logs", "unused-images"})
        chosen = rng.sample(words, min(len(words), rng.randrange(1, 8)))
        done += check(engine, *chosen, with_volumes=rng.random() < 0.4) > 0
    with open_root(engine.root) as session:
        plan = reclaim(session, (), wanted=rng.randrange(10_000, 300_000))
    act = partial(run_all, engine, plan.commands)
    assert freed(engine.root, lambda: rewritten(engine), "plan", act) == plan.frees_disk
    assert done > 0


def unclaimed(root: Path) -> list[str]:
    """What the ledger has no owner of."""
    with open_root(root) as session:
        return [one.path for one in session.ledger().entries if one.category is Category.UNKNOWN]
