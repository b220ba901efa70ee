"""What the claims on layers say while a daemon holds the root: of what no record names, and of what is gone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.model.claim import Category
from layerscope.model.problem import Severity
from layerscope.services.ledger import ledger
from layerscope.services.opening.root import open_root
from layerscope.stores.docker import cache_claims
from layerscope.stores.docker.cache_claims import claims_now
from layerscope.stores.docker.store import DockerStore

NOBODYS = "9" * 64


@pytest.fixture
def held(records_copy: Path) -> Iterator[Path]:
    """A root whose lock is held as a daemon holds it, with a directory that no record names."""
    (records_copy / f"overlay2/{NOBODYS}/diff").mkdir(parents=True)
    with (records_copy / "volumes/metadata.db").open("rb") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        yield records_copy


def store(path: Path) -> DockerStore:
    return DockerStore(Directory.open_root(path), path, "overlay2")


def test_a_young_directory_may_be_being_made(held: Path) -> None:
    claim = claims_now(store(held)).claim(NOBODYS)
    assert claim is not None and claim.category is Category.TEMPORARY
    with open_root(held) as session:
        (owner,) = session.owners(f"overlay2/{NOBODYS}")
    assert owner.kind == "temporary" and "young" in owner.reason


def test_an_old_one_is_an_orphan(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_claims, "YOUNG_SECONDS", 0.0)
    claim = claims_now(store(held)).claim(NOBODYS)
    assert claim is not None and claim.category is Category.ORPHAN
    with open_root(held) as session:
        (owner,) = session.owners(f"overlay2/{NOBODYS}")
    assert owner.kind == "orphan"


def test_one_that_goes_while_it_is_looked_at_is_none(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_claims, "YOUNG_SECONDS", 0.0)
    claims = claims_now(store(held))
    (held / f"overlay2/{NOBODYS}/diff").rmdir()
    (held / f"overlay2/{NOBODYS}").rmdir()
    claim = claims.claim(NOBODYS)
    assert claim is not None and claim.category is Category.TEMPORARY


def test_a_container_gets_its_layer_before_its_own_directory(held: Path) -> None:
    """So a young record of a writable layer without a container is no leftover yet."""
    made = held / "image/overlay2/layerdb/mounts" / ("8" * 64)
    made.mkdir(parents=True)
    (made / "mount-id").write_text(NOBODYS)
    (made / "init-id").write_text(f"{NOBODYS}-init")
    found = store(held)
    claim = claims_now(found).claim(NOBODYS)
    assert claim is not None and claim.category is Category.TEMPORARY
    (problem,) = [one for one in found.problems() if one.path.endswith(made.name)]
    assert problem.severity is Severity.NOTE
    os.utime(made, (0, 0))
    again = store(held)
    claim = claims_now(again).claim(NOBODYS)
    assert claim is not None and claim.category is Category.ORPHAN
    (problem,) = [one for one in again.problems() if one.path.endswith(made.name)]
    assert problem.severity is Severity.WARNING


@pytest.mark.parametrize(
    "path",
    [
        "tmp/qemu-check2340565855",
        "tmp/buildkit-mount123456789",
        "buildkit/executor/hosts.hobv008uyz8rtlo6g79swikol",
        "buildkit/executor/resolv.conf.tmp",
    ],
)
def test_what_builds_write_for_a_moment_has_an_owner(held: Path, path: str) -> None:
    """Seen under builds of 20.10.24."""
    (held / path).parent.mkdir(parents=True, exist_ok=True)
    (held / path).write_bytes(b"x" * 5000)
    with open_root(held) as session:
        found = ledger(session, workers=1)
    assert found.unaccounted_disk == 0, [one for one in found.entries if one.category is Category.UNKNOWN]


def test_a_short_name_is_made_before_the_file_that_tells_it(held: Path) -> None:
    short = "A" * 26
    (held / "overlay2/l").mkdir(exist_ok=True)
    (held / f"overlay2/l/{short}").symlink_to(f"../{NOBODYS}/diff")
    (held / f"overlay2/{NOBODYS}/link").touch()
    with open_root(held) as session:
        found = ledger(session, workers=1)
    assert found.unaccounted_disk == 0, [one for one in found.entries if one.category is Category.UNKNOWN]
