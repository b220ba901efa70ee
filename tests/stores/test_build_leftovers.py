"""The directories that BuildKit lost to a kill: nobody's where no daemon is, its own as long as one may be working."""

from __future__ import annotations

import fcntl
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from layerscope.formats.gotime import parse_rfc3339
from layerscope.hostfs import Directory
from layerscope.model.claim import Category
from layerscope.services.opening.root import open_root
from layerscope.stores.docker.cache_claims import CacheClaims, claims_now, layer_ids
from layerscope.stores.docker.store import DockerStore

KILLED = Path(__file__).parents[1] / "data" / "buildkit-killed"
TRUTH: dict[str, dict[str, list[str]]] = json.loads((KILLED / "truth.json").read_text())
CASES = ["build-killed", "prune-killed"]
LEASED_AT = "2026-11-22T07:53:22.015270191Z"


def with_databases(root: Path, case: str) -> dict[str, list[str]]:
    """Put the databases of a killed docker into a root, and its directories; gives what is known of them."""
    with tarfile.open(KILLED / "buildkit.tar.gz") as archive:
        archive.extractall(root / "killed", filter="data")
    shutil.rmtree(root / "buildkit")
    shutil.move(root / "killed" / case / "buildkit", root / "buildkit")
    shutil.rmtree(root / "killed")
    for name in TRUTH[case]["directories"]:
        (root / f"overlay2/{name}/diff").mkdir(parents=True)
    return TRUTH[case]


@pytest.mark.parametrize("case", CASES)
def test_they_are_orphans_where_no_daemon_is(records_copy: Path, case: str) -> None:
    truth = with_databases(records_copy, case)
    claims = claims_now(DockerStore(Directory.open_root(records_copy), records_copy, "overlay2"))
    found = {name: claim.category for name in truth["directories"] if (claim := claims.claim(name)) is not None}
    assert found == {
        name: Category.ORPHAN if name in truth["remaining"] else Category.BUILD_CACHE for name in truth["directories"]
    }
    (lost,) = truth["remaining"]
    with open_root(records_copy) as session:
        (owner,) = session.owners(f"overlay2/{lost}")
    assert owner.kind == "orphan"
    assert "BuildKit" in owner.reason


@pytest.mark.parametrize("case", CASES)
def test_they_are_the_caches_while_a_daemon_may_be_making_or_removing_them(records_copy: Path, case: str) -> None:
    truth = with_databases(records_copy, case)
    root, made = Directory.open_root(records_copy), parse_rfc3339(LEASED_AT)
    assert made is not None
    with (records_copy / "volumes/metadata.db").open("rb") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        store = DockerStore(root, records_copy, "overlay2", now=made / 1e9 + 1)
        claims = CacheClaims(root, store, "overlay2", layer_ids(root, "overlay2"), "")
        found = {claim.category for name in truth["directories"] if (claim := claims.claim(name)) is not None}
    assert found == {Category.BUILD_CACHE}


def test_a_lease_that_stays_without_a_record_under_a_daemon_is_over(records_copy: Path) -> None:
    (lost,) = with_databases(records_copy, "build-killed")["remaining"]
    root, made = Directory.open_root(records_copy), parse_rfc3339(LEASED_AT)
    assert made is not None
    with (records_copy / "volumes/metadata.db").open("rb") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        for age, held in ((500, True), (700, False)):
            store = DockerStore(root, records_copy, "overlay2", now=made / 1e9 + age)
            assert (lost in store.build_cache()) is held
