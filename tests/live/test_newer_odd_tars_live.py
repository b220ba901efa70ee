"""Tars that delete what they bring, and the like, loaded by a newer docker: what it made has no findings."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import newer_engine
import pytest
from containerd_engine import image_archive
from engine import ApiError
from newer_engine import SNAPSHOTTER, NewerEngine
from odd_tars import TARS, Member, packed
from random_members import random_members
from test_containerd_odd_tars_live import AGAIN, BELOW, OF_THE_BASE, REFUSED, make

from layerscope.model.verdict import Verdict
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewerEngine]:
    """A daemon without images."""
    with newer_engine.newer_system(tmp_path_factory.mktemp("newer")) as system:
        made = NewerEngine(system, SNAPSHOTTER)
        try:
            made.start()
            yield made
        finally:
            made.remove()


def mark_of(name: str) -> str:
    """A file by which a layer is known."""
    return f"mark of {name.replace('/', ' ')}"


def load(engine: NewerEngine, name: str, members: Sequence[Member], place: str) -> str:
    """An image whose top layer is that of ``members``; its chain ID.

    Raises:
        ApiError: docker could not unpack it.
    """
    tars = [packed([*members, Member(mark_of(name))])]
    if place == "above":
        tars.insert(0, packed(BELOW))
    answer = engine.call("POST", "/images/load", image_archive(name, tars), "application/x-tar")
    if b"Error unpacking" in answer:
        raise ApiError(answer.decode())
    chain, *more = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
    for diff_id in more:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
    return chain


def verdicts(engine: NewerEngine) -> dict[str, Verdict]:
    """By chain ID."""
    with open_root(engine.root) as session:
        return {str(one.chain_id): one for one in verify(session, deep=True) if one.chain_id}


def directory(engine: NewerEngine, name: str) -> Path:
    """Where the layer lies that was loaded by a name."""
    snapshots = engine.containerd_root / "io.containerd.snapshotter.v1.overlayfs/snapshots"
    (mark,) = snapshots.glob(f"*/fs/{mark_of(name)}")
    return mark.parent


@pytest.mark.parametrize("place", ["base", "above"])
def test_what_docker_made_has_no_findings(engine: NewerEngine, place: str) -> None:
    made, refused = {}, set()
    for number, (name, members) in enumerate({**TARS, **AGAIN}.items()):
        try:
            made[name] = load(engine, f"odd/{place}{number}:1", members, place)
        except ApiError:
            refused.add(name)
    assert refused == REFUSED["overlayfs", place]
    found = verdicts(engine)
    told = {name: (found[chain].ok, found[chain].findings) for name, chain in made.items()}
    assert told == dict.fromkeys(made, (True, ()))


@pytest.mark.parametrize("turn", range(4))
def test_what_docker_made_of_random_tars_has_no_findings(engine: NewerEngine, turn: int) -> None:
    rng = random.Random(turn)
    made = {}
    for number in range(20):
        members = random_members(rng)
        try:
            made[load(engine, f"random/{turn}:{number}", members, ("base", "above")[number % 2])] = members
        except ApiError:
            continue
    found = verdicts(engine)
    assert [(made[chain], found[chain].findings) for chain in made if found[chain].ok is not True] == []
    assert len(made) >= 5


def test_each_change_to_it_is_named(engine: NewerEngine) -> None:
    expected = {}
    for number, change in enumerate(OF_THE_BASE):
        name = f"change/{number}:1"
        chain = load(engine, name, {**TARS, **AGAIN}[change.tar], "base")
        make(change, directory(engine, name))
        expected[chain] = {(f"/{change.path}", change.subject)}
    found = verdicts(engine)
    assert {chain: {(one.path, one.subject) for one in found[chain].findings} for chain in expected} == expected
