"""What removals by ctr free on a bare containerd, to the byte, against what was told before; its ledger."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from containerd_engine import NAMESPACES, Containerd, running_containerd
from engine import Tar, minimal_tar
from ledger_facts import assert_closed, du
from removals import freed

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.reclaim import Candidate, ThingKind
from layerscope.services.ledger import ledger
from layerscope.services.reclaim import reclaim

BASE = "docker.io/t/base:1"


@pytest.fixture
def engine() -> Iterator[Containerd]:
    """An empty containerd whose garbage collector runs when it is told to."""
    with running_containerd() as made:
        yield made


def layer(rng: random.Random) -> bytes:
    """A layer of a few files."""
    tar = Tar()
    for _ in range(rng.randrange(1, 6)):
        tar.add(f"data/{rng.randrange(1000)}", rng.randbytes(rng.randrange(1, 60_000)))
    return tar.bytes()


def populate(engine: Containerd, rng: random.Random) -> None:
    """Images that share layers, in two namespaces, some with two names; containers; snapshots of nobody's."""
    base = minimal_tar()
    for command in ("sh", "sleep"):
        base.link(f"bin/{command}", "busybox")
    stacks = {BASE: [base.bytes()]}
    for namespace in NAMESPACES:
        engine.load(BASE, stacks[BASE], namespace)
    for number in range(rng.randrange(3, 7)):
        name = f"docker.io/t/image{number}:1"
        stacks[name] = [*stacks[rng.choice(list(stacks))], layer(rng)]
        for namespace in rng.choice((NAMESPACES, NAMESPACES[:1], NAMESPACES[:1], NAMESPACES[1:])):
            engine.load(name, stacks[name], namespace)
            if rng.random() < 0.3:
                engine.ctr("images", "tag", name, f"docker.io/also/image{number}:2", namespace=namespace)
            if rng.random() < 0.5:
                engine.ctr("containers", "create", name, f"c{number}", namespace=namespace)
            if rng.random() < 0.3:
                engine.run(name, f"r{number}", "echo x > /x; sleep 1000", namespace)
            if rng.random() < 0.3:
                parent = engine.ctr("snapshots", "ls", namespace=namespace).splitlines()[-1].split()[0]
                engine.ctr("snapshots", "prepare", f"s{number}", parent, namespace=namespace)
    engine.collect()


def candidates(engine: Containerd) -> list[Candidate]:
    """What may go by itself, whatever it frees."""
    with open_root(engine.root) as session:
        return [one for one in reclaim(session).candidates if one.command.startswith("ctr ")]


def run(engine: Containerd, commands: str) -> None:
    """The commands as they are printed, and then the garbage collector."""
    for command in commands.split(" && "):
        program, option, namespace, *words = shlex.split(command)
        assert (program, option) == ("ctr", "-n")
        engine.ctr(*words, namespace=namespace)
    engine.collect()


def databases(engine: Containerd) -> list[Path]:
    """What containerd writes anew."""
    return [*engine.root.glob("*/*.db")]


@pytest.mark.parametrize("turn", [*range(3), *(pytest.param(turn, marks=pytest.mark.full) for turn in range(3, 20))])
def test_a_removal_by_ctr_frees_what_was_told(engine: Containerd, turn: int) -> None:
    rng = random.Random(turn)
    populate(engine, rng)
    kinds = set()
    done = 0
    while found := candidates(engine):
        one = rng.choice(found)
        act = partial(run, engine, one.command)
        given = freed(engine.root, lambda: databases(engine), one.command, act)
        assert given == one.frees_disk, (one, given - one.frees_disk)
        kinds.add(one.thing.kind)
        done += 1
    assert done >= 4
    assert {ThingKind.IMAGE} <= kinds


def test_many_at_once(engine: Containerd) -> None:
    populate(engine, random.Random(7))
    words = ("stopped-containers", "unused-images")
    with open_root(engine.root) as session:
        answer = reclaim(session, words)
    assert answer.frees_disk > 0
    commands = " && ".join(answer.commands)
    assert freed(engine.root, lambda: databases(engine), "all", lambda: run(engine, commands)) == answer.frees_disk


def test_the_ledger_of_a_running_containerd_is_dus_sum(engine: Containerd) -> None:
    populate(engine, random.Random(5))
    with open_root(engine.root) as session:
        found = ledger(session)
    assert_closed(found, du(engine.root))
    classes = {one.category for one in found.classes}
    assert not classes & {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE}
    assert classes >= {Category.CONTENT_BLOB, Category.IMAGE_LAYER, Category.CONTAINER_RW, Category.RECORD}
