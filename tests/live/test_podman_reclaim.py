"""What podman's own removals free, to the byte, against what was told before them, in random situations."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import podman_engine
import pytest
from podman_engine import LIMITS, Podman
from podman_removals import BASE, actions, base_tar, populate, predicted, rewritten, run_all
from removals import freed

from layerscope.errors import UsageError

pytestmark = [pytest.mark.root, pytest.mark.podman]


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store with one image."""
    with podman_engine.bound(str(request.param)) as podman:
        yield podman


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
