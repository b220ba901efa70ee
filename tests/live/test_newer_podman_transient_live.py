"""Containers of a transient store: podman records them in the run root, while their files lie in the root."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import podman_engine
import pytest
from ledger_facts import assert_closed, du
from newer_podman_world import BASE, QUIET
from podman_engine import LIMITS, WAIT_SECONDS, Podman
from podman_story import base_tar

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.services.ledger import ledger
from layerscope.services.reclaim import reclaim
from layerscope.stores.podman.layer_claims import ELSEWHERE

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.full]


WORDS = ("--name", "passing", BASE, "sh", "-c", "echo x > /x; sleep 10000")
NOBODYS = (Category.ORPHAN, Category.ORPHAN)
UNSURE = (Category.UNKNOWN, Category.UNKNOWN)
ITS_OWN = (Category.CONTAINER_RW, Category.CONTAINER_RECORD)


@pytest.fixture
def podman() -> Iterator[Podman]:
    podman = podman_engine.made("newer overlay")
    try:
        podman.import_tar(base_tar(), BASE)
        yield podman
    finally:
        podman.run("--transient-store", "rm", "-a", "-f", "-t", "0")
        podman.remove()


class Passing:
    """A container of a transient store: its layer and its folder below the root."""

    def __init__(self, podman: Podman) -> None:
        self._podman = podman
        self.id = podman.run("--transient-store", "run", *LIMITS, *QUIET, "-d", *WORDS).strip()
        (told,) = podman.json("--transient-store", "inspect", "passing")
        self.layer = told["GraphDriver"]["Data"]["UpperDir"].removesuffix("/diff").removeprefix(f"{podman.root}/")

    def end(self) -> None:
        """Stop it, and wait until it is tidied up behind it."""
        self._podman.run("--transient-store", "kill", "passing")
        self._podman.run("--transient-store", "wait", "passing")
        end = time.monotonic() + WAIT_SECONDS
        while self.layer in Path("/proc/self/mounts").read_text() and time.monotonic() < end:
            time.sleep(0.05)

    def told(self, root: Path) -> tuple[Category, Category]:
        """What is said of its layer and its folder; the sums must be right."""
        with open_root(root) as session:
            book = ledger(session)
        assert_closed(book, du(root))
        found = {one.path: one for one in book.entries}
        layer, folder = found[self.layer], found[f"overlay-containers/{self.id}"]
        assert {layer.owner, folder.owner} in ({"passing"}, {""}, {ELSEWHERE})
        return layer.category, folder.category


def orphans(root: Path) -> int:
    with open_root(root) as session:
        return reclaim(session, ("orphans",)).frees_disk


def test_as_long_as_it_is_recorded_it_is_no_orphan(podman: Podman) -> None:
    """Whether it runs or not, until podman removes it: then its layer and its folder are gone."""
    passing = Passing(podman)
    assert passing.told(podman.root) == ITS_OWN
    passing.end()
    assert [one["Names"] for one in podman.json("--transient-store", "ps", "-a")] == [["passing"]]
    assert podman.json("ps", "-a") == []
    assert passing.told(podman.root) == ITS_OWN
    assert orphans(podman.root) == 0
    podman.run("--transient-store", "rm", "passing")
    with open_root(podman.root) as session:
        paths = {one.path for one in ledger(session).entries}
    assert paths.isdisjoint({passing.layer, f"overlay-containers/{passing.id}"})


def test_where_the_run_root_is_gone(podman: Podman, tmp_path: Path) -> None:
    """On its own machine that is certain; what a copy of the root can't tell is left open, unless it can't be such."""
    passing = Passing(podman)
    passing.end()
    copy = tmp_path / "root"
    subprocess.run(["cp", "-a", podman.root, copy], check=True)
    run_root = podman.home / "run"
    run_root.rename(podman.home / "away")
    assert passing.told(podman.root) == NOBODYS
    assert passing.told(copy) == UNSURE
    assert orphans(podman.root) > 0
    assert orphans(copy) == 0
    shutil.rmtree(copy / "overlay-containers" / passing.id)
    with open_root(copy) as session:
        (layer,) = (one for one in ledger(session).entries if one.path == passing.layer)
    assert layer.category is Category.ORPHAN, "a container has a folder, too"
    (podman.home / "away").rename(run_root)
    assert passing.told(podman.root) == ITS_OWN


def test_a_root_that_has_transient_containers_alone(podman: Podman) -> None:
    """podman's database is in the run root then, so nothing in the root says where that is."""
    passing = Passing(podman)
    passing.end()
    (podman.root / "db.sql").unlink()
    assert passing.told(podman.root) == UNSURE
