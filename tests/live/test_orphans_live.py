"""Daemons killed in the middle of something: what nobody owns is named, and nothing that docker still lists is."""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterator
from pathlib import Path

import operations
import pytest
from engine import ApiError, Engine
from killer import LOST, Killer, counted, lost_lease
from operations import BASE

from layerscope import open_root
from layerscope.formats.boltdb import Database
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger

RECORDS = "image/overlay2/layerdb"


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    try:
        yield made
    finally:
        made.remove()


def lost(found: Ledger, categories: Collection[Category] = LOST) -> set[str]:
    """The layers' directories that nothing owns."""
    layers = (
        one for one in found.entries if one.path.startswith("overlay2/") and not one.path.startswith("overlay2/l/")
    )
    return {one.path.partition("/")[2] for one in layers if one.category in categories}


def listed(engine: Engine) -> set[str]:
    """The directories of everything that docker lists."""
    found: set[str] = set()
    things = [f"/containers/{one['Id']}/json" for one in engine.get("/containers/json?all=1")]
    things += [f"/images/{one['Id']}/json" for one in engine.get("/images/json?all=1")]
    for path in things:
        for value in (engine.get(path)["GraphDriver"]["Data"] or {}).values():
            found.update(part.rpartition("/overlay2/")[2].partition("/")[0] for part in value.split(":"))
    return found


def prune_cache(engine: Engine) -> None:
    """``docker builder prune -a``, once more for each record whose lease is gone."""
    for _ in range(10):
        try:
            operations.prune(engine, "build")
        except ApiError as error:
            assert lost_lease(error), error
        else:
            return


def remove_everything(engine: Engine) -> bool:
    """By docker's own means. Gives whether docker still lists a build cache, which it then can't remove."""
    for one in engine.get("/containers/json?all=1"):
        engine.call("DELETE", f"/containers/{one['Id']}?force=1&v=1")
    prune_cache(engine)
    for _ in range(8):
        for one in engine.get("/images/json?all=1"):
            try:
                engine.call("DELETE", f"/images/{one['Id']}?force=1")
            except ApiError as error:  # has children: another round
                assert "409" in str(error) or "404" in str(error), error
    prune_cache(engine)
    assert engine.get("/images/json?all=1") == []
    df = engine.get("/system/df")
    assert not df["Containers"]
    assert not df["LayersSize"] or df["BuildCache"]
    return bool(df["BuildCache"])


def told(record: Path, name: str) -> str:
    """A file of a record; empty where there is none: docker writes and removes those of a mount one by one."""
    return (record / name).read_text() if (record / name).exists() else ""


def assert_records_are_named(root: Path, found: Ledger, left: set[str]) -> None:
    """Everything that remains in layerdb belongs to a layer's directory that was named, or is named itself."""
    temporary = {one.path for one in found.entries if one.category is Category.TEMPORARY}
    for chain in sorted((root / RECORDS / "sha256").iterdir()):
        if chain.name.endswith("-removing"):
            assert f"{RECORDS}/sha256/{chain.name}" in temporary, chain
        else:
            assert (chain / "cache-id").read_text() in left, chain
    for mount in sorted((root / RECORDS / "mounts").iterdir()):
        mount_id = told(mount, "mount-id")
        assert mount_id in left or not mount_id, mount  # docker loads none without
    for write in sorted((root / RECORDS / "tmp").iterdir()):
        assert f"{RECORDS}/tmp/{write.name}" in temporary, write


def kept_for_ever(root: Path, named: Collection[str]) -> set[str]:
    """The directories of layers that docker holds for what nobody can remove, all named ones being removed by nobody.

    By its own records, at every start: a layer holds its parent, a writable layer's record the layer that it stands on,
    and a lease of BuildKit its layer, whether BuildKit still has a record of that lease's name or not.
    """
    layers = {chain.name: chain for chain in (root / RECORDS / "sha256").iterdir() if len(chain.name) == 64}
    holders = [chain for chain in layers.values() if (chain / "cache-id").read_text() in named]
    mounts = [mount for mount in (root / RECORDS / "mounts").iterdir() if told(mount, "mount-id") in named]
    pending = [told(holder, "parent") for holder in (*holders, *mounts)] + leased_for_ever(root)
    found = set()
    while pending:
        chain = layers.get(pending.pop().removeprefix("sha256:"))
        if chain is not None and chain.name not in found:
            found.add(chain.name)
            pending.append(told(chain, "parent"))
    return {(layers[name] / "cache-id").read_text() for name in found}


def leased_for_ever(root: Path) -> list[str]:
    """The snapshots of BuildKit's leases that have no record: docker asks only for leases that bear a record's name."""
    held = Database.checked((root / "buildkit/containerdmeta.db").read_bytes()).root.walk(b"v1", b"buildkit", b"leases")
    known = Database.checked((root / "buildkit/metadata_v2.db").read_bytes()).root.bucket(b"_main")
    found = []
    for name, lease in held.buckets() if held is not None else ():
        snapshots = lease.walk(b"snapshots", b"default")
        if snapshots is not None and (known is None or known.bucket(name) is None):
            found += [key.decode() for key, _nothing in snapshots.items()]
    return found


def rounds(hits: int, seed: int) -> list[object]:
    full = [pytest.mark.full] if hits > 6 else []
    return [pytest.param(hits, seed, marks=full, id=f"{hits} hits")]


@pytest.mark.parametrize(("hits", "seed"), [*rounds(6, 11), *rounds(33, 12)])
def test_what_kills_leave_is_named(engine: Engine, hits: int, seed: int) -> None:
    killer = Killer(engine, random.Random(seed))
    engine.start()
    operations.populate(engine)
    known = operations.operations()
    order = list(known)
    while killer.hits.total() < hits or (hits > len(known) and len(killer.hits) < len(known)):
        assert killer.turn < 4 * hits, f"too few kills hit: {killer.hits}"
        if not order:  # those that were missed, or hit least, come first
            killer.rng.shuffle(known)
            order = sorted(known, key=lambda one: -killer.hits[one.name])
        elif killer.turn == 0:
            killer.rng.shuffle(order)
        killer.hit(order.pop())
        killer.clear(boot=killer.rng.random() < 0.5)
        named = lost(counted(engine))
        engine.start()
        assert not named & listed(engine)
    hit = ", ".join(f"{name} {count}" for name, count in sorted(killer.hits.items()))
    print(f"\n{killer.turn} kills, {killer.hits.total()} in the middle: {hit}")

    engine.stop()  # ends removals that were begun, and empties no more than docker empties by itself
    before = counted(engine)
    kept = kept_for_ever(engine.root, lost(before))
    engine.start()
    engine.shell(BASE, "true")  # it still works
    cached = remove_everything(engine)
    engine.stop()
    left = {name for name in os.listdir(engine.root / "overlay2") if name not in ("l", "backingFsBlockDev")}
    after = counted(engine)
    orphans = lost(before, (Category.ORPHAN,))
    print(
        f"{len(left)} directories of nobody remain, {len(orphans)} orphans were named before,"
        f" {len(kept - lost(before))} layers were others' then, and held by what nobody can remove"
    )
    stuck = lost(after, (Category.BUILD_CACHE,)) if cached else set()
    assert lost(after) | stuck == left
    wrong = orphans - left
    assert [one for one in before.entries if one.path.rpartition("/")[2] in wrong] == []
    assert left <= lost(before) | kept | stuck
    assert kept <= left
    assert_records_are_named(engine.root, after, left)
    half_made = {one.name for one in (engine.root / "containers").iterdir() if not (one / "config.v2.json").exists()}
    with open_root(engine.root) as session:
        owners = [owner for name in left for owner in session.owners(f"overlay2/{name}")]
    kinds = {owner.kind for owner in owners if owner.id not in half_made}
    assert kinds <= {"orphan", "record", "temporary", *(["build-cache"] if stuck else ())}
