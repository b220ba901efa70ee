"""podman's artifacts: whose each blob is, and what comes back when one goes, by podman's own removals."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
from collections.abc import Iterator

import podman_engine
import pytest
from ledger_facts import assert_closed, du
from podman_engine import Podman
from removals import freed

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.reclaim import Candidate
from layerscope.services.ledger import ledger
from layerscope.services.reclaim import reclaim

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.full]
FILES = {
    "localhost/one:1": ("big", "shared"),
    "localhost/one:2": ("shared",),
    "localhost/two:1": ("other", "big"),
    "localhost/same:1": ("alone",),
}


@pytest.fixture
def podman() -> Iterator[Podman]:
    """A store with artifacts that share files."""
    made = podman_engine.made("newer overlay")
    try:
        rng = random.Random(0)
        for name, size in (("big", 300_000), ("shared", 9_000), ("other", 20_000), ("alone", 5)):
            (made.home / name).write_bytes(rng.randbytes(size))
        for artifact, names in FILES.items():
            made.run("artifact", "add", artifact, *(str(made.home / name) for name in names))
        yield made
    finally:
        made.remove()


def blobs_of(podman: Podman, artifact: str) -> set[str]:
    """As podman tells them: its manifest's digest, its configuration's and its files'."""
    (told,) = [podman.json("artifact", "inspect", artifact)]
    manifest = told["Manifest"]
    return {told["Digest"], manifest["config"]["digest"], *(one["digest"] for one in manifest["layers"])}


def test_each_blob_is_its_artifacts(podman: Podman) -> None:
    with open_root(podman.root) as session:
        found = ledger(session)
        assert "4 artifacts" in session.info().features
    assert_closed(found, du(podman.root))
    ours: dict[str, set[str]] = {}
    for entry in found.entries:
        if entry.category is Category.CONTENT_BLOB:
            for name in entry.owner.removeprefix("artifact ").split(", "):
                ours.setdefault(name, set()).add(f"sha256:{entry.path.rpartition('/')[2]}")
    assert ours == {name: blobs_of(podman, name) for name in FILES}


def test_a_removal_frees_what_was_told(podman: Podman) -> None:
    for _ in FILES:
        with open_root(podman.root) as session:
            told: tuple[Candidate, ...] = reclaim(session).candidates
        first = told[0]

        def act(command: str = first.command) -> None:
            podman.run(*shlex.split(command)[1:])

        given = freed(podman.root, lambda: [*podman.root.glob("db.sql*")], first.command, act)
        assert given == first.frees_disk
    assert podman.run("artifact", "ls", "-n") == ""


def test_what_no_artifact_has_is_nobodys(podman: Podman) -> None:
    """While an artifact may be coming, what it brings isn't called so."""
    folder = podman.root / "artifacts"
    left = folder / "blobs/sha256" / ("ab" * 32)
    left.write_bytes(b"of an artifact that never was")
    path = str(left.relative_to(podman.root))
    locks = "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX)"
    waits = "print(1, flush=True); input()"
    for locked in (True, False):
        holder = subprocess.Popen(
            [sys.executable, "-c", f"{locks}; {waits}" if locked else waits, str(folder / "index.lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        with open_root(podman.root) as session:
            found = {one.path: one.category for one in ledger(session).entries}
        holder.communicate(b"\n")
        assert (found.get(path) is Category.ORPHAN) is not locked
