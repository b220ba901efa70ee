"""What docker's own removals free, to the byte, against what was told before them, in random situations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

import pytest
from btrfs_engine import data_used, mount_btrfs, no_btrfs, trees_of
from docker_removals import BASE, actions, base_tar, import_base, populate, predicted, rewritten
from engine import ApiError, Engine
from removals import freed


@pytest.fixture(scope="module", params=["overlay2", "vfs", pytest.param("btrfs", marks=pytest.mark.btrfs)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A daemon with one image."""
    made = Engine(request.param)
    try:
        if request.param == "btrfs":
            if (reason := no_btrfs()) is not None:
                pytest.skip(reason)
            mount_btrfs(made)
        made.start()
        made.import_image(base_tar(), BASE)
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("turn", [*range(4), *(pytest.param(turn, marks=pytest.mark.full) for turn in range(4, 14))])
def test_a_removal_frees_what_was_told(engine: Engine, turn: int) -> None:
    """On a btrfs, where layers share extents, du's sum changes by what was told, and the disk's by no more."""
    rng = random.Random(f"{engine.driver} {turn}")
    import_base(engine)
    populate(engine, rng, turn)
    done = 0
    for action, words, volumes in actions(engine, rng):
        told = predicted(engine, *words, with_volumes=volumes)
        method, _, path = action.partition(" ")
        used = data_used(engine) if engine.driver == "btrfs" else 0
        try:
            given = freed(
                engine.root,
                lambda: rewritten(engine),
                action,
                partial(engine.call, method, path),
                lambda: trees_of(engine),
            )
        except ApiError as error:
            # docker refuses to untag what a container uses; then nothing comes back, as was told.
            assert "409" in str(error) or "404" in str(error), error
            assert told == 0 or "409" in str(error)
            continue
        assert given == told, (action, words, given - told)
        if engine.driver == "btrfs":
            assert used - data_used(engine) <= told, (action, words)
        done += 1
    print(f"{engine.driver}, turn {turn}: {done} removals freed what was told")
    assert done >= 3
