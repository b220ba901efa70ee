"""The ledger of a live podman's root is du's sum, whatever its containers do."""

from __future__ import annotations

import time
from collections.abc import Iterator

import podman_engine
import pytest
from ledger_facts import assert_closed, du
from podman_engine import LIMITS, Podman
from podman_removals import BASE, base_tar

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger
from layerscope.services.ledger import ledger

pytestmark = [pytest.mark.root, pytest.mark.podman]

NOBODYS = {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE}


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store with everything: running, stopped and new containers, a build, volumes of each kind, secrets, a pod."""
    with podman_engine.bound(str(request.param)) as podman:
        podman.import_tar(base_tar(), BASE)
        (podman.home / "context").mkdir()
        (podman.home / "context/Dockerfile").write_text(f'FROM {BASE}\nRUN ["/bin/sh", "-c", "echo x > /x"]\nENV a=b\n')
        podman.run(
            "build", *LIMITS, "--layers", "--network", "none", "-t", "localhost/built:1", str(podman.home / "context")
        )
        foreign = podman.home / "foreign"
        foreign.mkdir()
        (foreign / "big").write_bytes(b"x" * 300_000)
        podman.run("volume", "create", "kept")
        bound = ("type=none", "o=bind", f"device={foreign}")
        podman.run("volume", "create", *(word for option in bound for word in ("--opt", option)), "bound")
        fleeting = ("type=tmpfs", "device=tmpfs")
        podman.run("volume", "create", *(word for option in fleeting for word in ("--opt", option)), "fleeting")
        podman.run("secret", "create", "word", "-", data=b"secret")
        podman.shell("stopped", "localhost/built:1", "echo y > /y; echo log", "--secret", "word", "-v", "/anonymous")
        podman.create("never", BASE)
        mounts = ("-v", "kept:/kept", "-v", "bound:/bound", "-v", "fleeting:/fleeting")
        podman.shell("runs", BASE, "echo z > /z; echo ready; sleep 1000", "-d", *mounts)
        podman.shell("fleets", BASE, "echo ready; sleep 1000", "-d", "--rm")
        for name in ("runs", "fleets"):
            while "ready" not in podman.run("logs", name):
                time.sleep(0.05)
        podman.run("exec", "runs", "/bin/sh", "-c", "echo more > /more")
        yield podman


def counted(podman: Podman) -> Ledger:
    """The ledger, taken while two du agree."""
    for _ in range(20):
        before = du(podman.root)
        with open_root(podman.root) as session:
            found = ledger(session)
        if before == du(podman.root):
            assert_closed(found, before)
            return found
        time.sleep(0.2)
    raise AssertionError("the root never stayed as it was")


def test_the_ledger_of_a_live_root_is_dus_sum(engine: Podman) -> None:
    found = counted(engine)
    assert not {one.category for one in found.classes} & NOBODYS
    foreign = [one for one in found.entries if one.category is Category.FOREIGN_MOUNT]
    assert [one.path for one in foreign] == ["volumes/bound/_data"]
    assert foreign[0].disk == du(engine.home / "foreign")
    names = {one["Names"][0] for one in engine.json("ps", "-a")}
    assert {one.owner for one in found.entries if one.category is Category.CONTAINER_RW} == names
    assert {one.owner for one in found.entries if one.category is Category.LOG} == {"stopped", "runs", "fleets"}
    volumes = {told["Name"] for told in engine.json("volume", "ls")} - {"fleeting"}
    assert {one.owner for one in found.entries if one.category is Category.VOLUME} >= volumes - {"bound"}


def test_a_layer_that_is_being_made_is_no_orphan(engine: Podman) -> None:
    """While images come and go and containers run, nothing alive is ever nobody's."""
    script = "dd if=/dev/zero of=/big bs=1k count=2000; sleep 0.3; rm /big"
    seen = set()
    for number in range(3):
        with engine.start("run", *LIMITS, "--network", "none", "--rm", BASE, "/bin/sh", "-c", script) as one:
            while one.poll() is None:
                with open_root(engine.root) as session:
                    found = ledger(session, workers=1)
                assert not [entry for entry in found.entries if entry.category in NOBODYS]
                seen |= {entry.owner for entry in found.entries if entry.category is Category.CONTAINER_RW}
        engine.run("commit", "stopped", f"localhost/again{number}:1")
    assert len(seen) >= 4 + 3  # those that stay, and each of these


def test_the_drivers_own_mount_is_no_border(engine: Podman) -> None:
    """overlay mounts its directory on itself; here no other mount of the root is above it but the file system's."""
    if engine.driver != "overlay":
        pytest.skip("only overlay makes that mount")
    other = Podman("overlay")
    try:
        other.import_tar(base_tar(), BASE)
        other.shell("runs", BASE, "sleep 1000", "-d")
        found = counted(other)
        assert Category.FOREIGN_MOUNT not in {one.category for one in found.classes}
        assert Category.CONTAINER_RW in {one.category for one in found.classes}
    finally:
        other.remove()
