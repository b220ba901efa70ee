"""BuildKit's claims and records against docker's own list of the build cache, and against damaged databases."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import struct
import tarfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from layerscope.formats.gotime import format_rfc3339, parse_rfc3339
from layerscope.formats.units import human_size
from layerscope.model.digest import ChainID, is_digest
from layerscope.model.problem import Severity
from layerscope.stores.docker.buildkit import BuildCacheRecord, BuildKitClaims, read_claims, shared_records
from layerscope.stores.docker.buildkit_databases import LEASES, METADATA, SNAPSHOTS

DATA = Path(__file__).parents[1] / "data"
SAMPLE = DATA / "overlay2-buildkit"


@cache
def root_files() -> Mapping[str, bytes]:
    """Every regular file of the sample root, by its path."""
    files = {}
    with tarfile.open(SAMPLE / "root.tar.gz") as root:
        for member in root:
            file = root.extractfile(member) if member.isreg() else None
            if file is not None:
                files[member.name.removeprefix("./")] = file.read()
    return files


@cache
def empty_database() -> bytes:
    with tarfile.open(DATA / "bolt" / "bolt.tar.gz") as archive:
        file = archive.extractfile("empty.db")
        assert file is not None
        return file.read()


def claims() -> BuildKitClaims:
    files = root_files()
    return read_claims(files[METADATA], files[SNAPSHOTS], files[LEASES])


def truth(name: str) -> Any:
    return json.loads((SAMPLE / "truth" / name).read_text())


def layer_records() -> dict[ChainID, str]:
    """Cache ID of each layer of the layer store, by chain ID."""
    records = "image/overlay2/layerdb/sha256/"
    return {
        ChainID(f"sha256:{path.removeprefix(records).removesuffix('/cache-id')}"): data.decode()
        for path, data in root_files().items()
        if path.startswith(records) and path.endswith("/cache-id")
    }


def image_chains() -> set[ChainID]:
    """The chain ID of every layer of every image, computed from the diff IDs that the daemon reports."""
    chains = set()
    for image in truth("inspect-images.json"):
        chain = ""
        for diff_id in image["RootFS"]["Layers"]:
            chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}" if chain else diff_id
            chains.add(ChainID(chain))
    return chains


def directories() -> set[str]:
    with tarfile.open(SAMPLE / "root.tar.gz") as root:
        names = [member.name.removeprefix("./").split("/") for member in root if member.isdir()]
    return {parts[1] for parts in names if len(parts) == 2 and parts[0] == "overlay2" and parts[1] != "l"}


def mounted() -> set[str]:
    """The directories of containers and of their init layers."""
    mounts = "image/overlay2/layerdb/mounts/"
    return {
        data.decode()
        for path, data in root_files().items()
        if path.startswith(mounts) and path.endswith(("/mount-id", "/init-id"))
    }


def test_records_are_those_that_docker_lists() -> None:
    found = claims()
    shared = shared_records(found.records, image_chains())
    listed = {record["ID"]: record for record in truth("api-system-df.json")["BuildCache"]}
    assert len(listed) == 10
    assert [record.id for record in found.records] == sorted(listed)
    for record in found.records:
        assert {
            "ID": record.id,
            "Parent": "".join(record.parents),
            "Type": record.type,
            "Description": record.description,
            "InUse": False,
            "Shared": record.id in shared,
            "Size": record.size,
            "CreatedAt": format_rfc3339(record.created_at or 0),
            "LastUsedAt": format_rfc3339(record.last_used_at or 0),
            "UsageCount": record.usage_count,
        } == listed[record.id]
    assert found.problems == ()
    assert found.complete


def test_records_add_up_to_dockers_summary() -> None:
    records = claims().records
    shared = shared_records(records, image_chains())
    lines = (SAMPLE / "truth" / "system-df.jsonl").read_text().splitlines()
    summary = next(row for row in map(json.loads, lines) if row["Type"] == "Build Cache")
    assert human_size(sum(record.size or 0 for record in records if record.id not in shared), 4) == summary["Size"]
    assert sum(record.size or 0 for record in records) == truth("api-system-df.json")["BuilderSize"]
    assert str(len(records)) == summary["TotalCount"]


def test_every_directory_has_an_owner_and_the_cache_alone_holds_four() -> None:
    found = claims()
    cache_of = layer_records()
    used_by_images = {cache_of[chain] for chain in image_chains()}
    held = set(found.cache_ids) | {cache_of[chain] for chain in found.chain_ids}
    assert directories() == used_by_images | mounted() | held
    only_cache = directories() - used_by_images - mounted()
    # The layer of the removed image, the two build contexts and the Dockerfile.
    assert {path for path in root_files() if path.split("/")[1] in only_cache and "/diff/" in path} == {
        "overlay2/1xcm7vxixfyvefgmcvc7sz17k/diff/only-cache",
        "overlay2/klyigyhufvw31ucpjzuzl8qbt/diff/app.conf",
        "overlay2/yiuv7s4636tp9d5h72rgnck2b/diff/Dockerfile",
    }
    assert len(only_cache) == 4
    assert only_cache <= set(found.cache_ids)
    only_cache_chains = set(cache_of) - image_chains()
    assert len(only_cache_chains) == 1
    assert only_cache_chains <= set(found.chain_ids)


def test_directories_and_layers_of_records_are_those_on_disk() -> None:
    cache_of = layer_records()
    for record in claims().records:
        assert record.cache_id is not None or record.chain_id is not None
        if record.cache_id is not None:
            assert record.cache_id in directories()
        if record.chain_id is not None and record.cache_id is not None:
            assert cache_of[record.chain_id] == record.cache_id


def test_snapshots_alone_prove_nothing() -> None:
    found = read_claims(empty_database(), root_files()[SNAPSHOTS], empty_database())
    assert found == BuildKitClaims()


@pytest.mark.parametrize("kept", [METADATA, LEASES])
def test_a_record_and_a_lease_are_each_a_root_of_life(kept: str) -> None:
    files = {METADATA: empty_database(), SNAPSHOTS: root_files()[SNAPSHOTS], LEASES: empty_database()}
    files[kept] = root_files()[kept]
    found = read_claims(files[METADATA], files[SNAPSHOTS], files[LEASES])
    assert (found.cache_ids, found.chain_ids) == (claims().cache_ids, claims().chain_ids)
    assert bool(found.records) == (kept == METADATA)


def test_without_snapshots_a_key_stands_for_its_own_directory() -> None:
    found = read_claims(root_files()[METADATA], empty_database(), root_files()[LEASES])
    assert {"ir826yfkhgi20nmp8gnasb9ui", "klyigyhufvw31ucpjzuzl8qbt", "yiuv7s4636tp9d5h72rgnck2b"} <= found.cache_ids
    assert all(record.size is None for record in found.records if record.type == "source.local")


def test_a_root_where_nothing_was_built_has_no_claims() -> None:
    assert read_claims(None, None, None) == BuildKitClaims()
    assert read_claims(empty_database(), empty_database(), empty_database()) == BuildKitClaims()


@pytest.mark.parametrize("lost", [METADATA, SNAPSHOTS, LEASES])
@pytest.mark.parametrize("damage", [None, b"", b"\0" * 4096, "torn"], ids=["missing", "empty", "zeros", "torn"])
def test_a_lost_database_is_told_and_the_others_are_used(lost: str, damage: bytes | str | None) -> None:
    files: dict[str, bytes | None] = dict(root_files())
    whole = root_files()[lost]
    files[lost] = whole[:8192] + bytes(len(whole) - 8192) if isinstance(damage, str) else damage
    found = read_claims(files[METADATA], files[SNAPSHOTS], files[LEASES])
    (problem,) = found.problems
    assert (problem.path, problem.severity) == (lost, Severity.ERROR)
    assert problem.what
    assert problem.effect
    assert not found.complete
    if lost != SNAPSHOTS:
        assert found.cache_ids == claims().cache_ids


def test_one_damaged_field_costs_that_field() -> None:
    data = root_files()[METADATA]
    before = b'{"value":"mount / from exec /bin/tl w /only-cache'
    assert data.count(before) >= 1
    damaged = data.replace(before, before.replace(b"value", b"val\xffe"))
    found = read_claims(damaged, root_files()[SNAPSHOTS], root_files()[LEASES])
    (problem,) = found.problems
    assert (problem.path, problem.severity) == (METADATA, Severity.WARNING)
    assert "record 'n8s0afe0u32x0a99t2im0nwuk', field 'cache.description'" in problem.what
    assert found.complete
    expected = {record.id: record for record in claims().records}
    expected["n8s0afe0u32x0a99t2im0nwuk"] = replace(expected["n8s0afe0u32x0a99t2im0nwuk"], description="")
    assert {record.id: record for record in found.records} == expected


def test_the_older_state_is_used_when_the_newest_is_torn() -> None:
    data = bytearray(root_files()[METADATA])
    size = 4096
    newest = max((0, 1), key=lambda slot: data[slot * size + 64 : slot * size + 72][::-1])
    page = int.from_bytes(data[newest * size + 32 : newest * size + 40], "little")
    data[page * size] ^= 0xFF
    found = read_claims(bytes(data), root_files()[SNAPSHOTS], root_files()[LEASES])
    (problem,) = found.problems
    assert (problem.path, problem.severity) == (METADATA, Severity.WARNING)
    assert "the newest state is torn" in problem.what
    assert len(found.records) == 10


@cache
def killed(case: str) -> tuple[bytes, bytes, bytes]:
    """The three databases of a docker that was killed."""
    with tarfile.open(DATA / "buildkit-killed" / "buildkit.tar.gz") as archive:
        files = [archive.extractfile(f"{case}/{path}") for path in (METADATA, SNAPSHOTS, LEASES)]
        metadata, snapshots, leases = (file.read() for file in files if file is not None)
    return metadata, snapshots, leases


KILLED: dict[str, dict[str, list[str]]] = json.loads((DATA / "buildkit-killed" / "truth.json").read_text())


@pytest.mark.parametrize("case", ["build-killed", "prune-killed"])
def test_what_docker_could_never_remove_is_lost_where_no_daemon_is(case: str) -> None:
    found, truth = read_claims(*killed(case), math.inf), KILLED[case]
    assert found.lost_ids == set(truth["remaining"])
    assert found.cache_ids == set(truth["directories"]) - set(truth["remaining"])


def test_a_layer_is_lost_to_the_build_cache_with_its_record() -> None:
    found = read_claims(*killed("prune-of-a-layer-killed"), math.inf)
    (lost,) = found.lost_ids
    assert lost in KILLED["prune-of-a-layer-killed"]["remaining"]
    before = read_claims(*killed("prune-of-a-layer-killed"))
    assert len(before.chain_ids - found.chain_ids) == 1


def test_a_lease_without_a_record_holds_no_layer() -> None:
    assert read_claims(*killed("pull-killed")).chain_ids
    found = read_claims(*killed("pull-killed"), math.inf)
    assert (found.chain_ids, found.lost_ids) == (frozenset(), frozenset())
    assert found.cache_ids == set(KILLED["pull-killed"]["directories"])


def test_under_a_daemon_a_lease_may_still_get_its_record() -> None:
    files, (lost,) = killed("build-killed"), KILLED["build-killed"]["remaining"]
    made = parse_rfc3339("2026-11-22T07:53:22.015270191Z")  # what its own label says
    assert made is not None
    for settled, is_lost in ((made / 1e9 - 1, False), (made / 1e9 + 1, True)):
        found = read_claims(*files, settled)
        assert (lost in found.lost_ids, lost in found.cache_ids) == (is_lost, not is_lost)


def test_under_a_daemon_a_removal_may_be_going_on() -> None:
    (lost,) = KILLED["prune-killed"]["remaining"]
    found = read_claims(*killed("prune-killed"), time.time())
    assert lost in found.cache_ids
    assert not found.lost_ids


def test_a_temporary_lease_needs_no_record() -> None:
    metadata, snapshots, leases = killed("build-killed")
    (lost,) = KILLED["build-killed"]["remaining"]
    old, new = b"containerd.io/gc.flat", b"buildkit/lease.temporary"
    time_ = b"2026-11-22T07:53:22.015270191Z"
    changed = bytearray(leases)
    for found_at in re.finditer(re.escape(old + time_), leases):  # in pages of older states, too
        sizes = leases.rindex(struct.pack("<II", len(old), len(time_)), 0, found_at.start())
        struct.pack_into("<II", changed, sizes, len(new), len(time_) + len(old) - len(new))
        changed[found_at.start() : found_at.start() + len(new)] = new
    found = read_claims(metadata, snapshots, bytes(changed), math.inf)
    assert lost in found.cache_ids
    assert found.problems == ()


@pytest.mark.parametrize("damaged", [METADATA, LEASES])
@pytest.mark.parametrize("case", list(KILLED))
def test_nothing_is_lost_by_a_database_that_cannot_be_read(case: str, damaged: str) -> None:
    files = dict(zip((METADATA, SNAPSHOTS, LEASES), killed(case), strict=True))
    files[damaged] = bytes(4096)
    found = read_claims(files[METADATA], files[SNAPSHOTS], files[LEASES], math.inf)
    assert not found.lost_ids
    assert not found.complete


def test_shared_goes_down_to_the_parents() -> None:
    def record(id_: str, chain_id: ChainID | None, *parents: str) -> BuildCacheRecord:
        return BuildCacheRecord(id_, "regular", "", None, None, 0, 0, parents, None, chain_id)

    chain, other = ChainID("sha256:1"), ChainID("sha256:2")
    records = [record("a", None), record("b", chain, "a"), record("c", other, "b"), record("d", None, "a")]
    assert shared_records(records, {chain}) == {"a", "b"}
    looped = [record("a", chain, "b"), record("b", None, "a", "gone")]
    assert shared_records(looped, {chain}) == {"a", "b"}


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(1000, 11_000), marks=pytest.mark.full)], ids=len)
def test_damaged_databases_never_raise(seeds: range) -> None:
    told = 0
    for seed in seeds:
        chance = random.Random(seed)
        files = dict(root_files())
        path = (METADATA, SNAPSHOTS, LEASES)[seed % 3]
        data = bytearray(files[path])
        for _ in range(chance.randint(1, 40)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 2, 16, 34, 47, 58, 92, 123, 125, 255])
        files[path] = bytes(data)
        found = read_claims(files[METADATA], files[SNAPSHOTS], files[LEASES])
        told += bool(found.problems)
        assert all("/" not in cache_id and cache_id not in ("", ".", "..") for cache_id in found.cache_ids)
        assert all(is_digest(chain_id) for chain_id in found.chain_ids)
    assert told > len(seeds) // 10
