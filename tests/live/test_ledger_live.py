"""The ledger of a live daemon's root: du's bytes while containers run, orphans only where something was lost."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from btrfs_engine import mount_btrfs, no_btrfs, trees_of
from engine import Engine, docker_client
from ledger_facts import assert_closed, du
from world import World

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger
from layerscope.services.ledger import ledger

_AGO = re.compile(r"(\d+|About an?|Less than a) (second|minute|hour)s?")
NOBODYS = {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE}


def total(engine: Engine) -> int:
    """What du says of the root, on a btrfs with its layers, which are file systems of their own to it."""
    return du(*trees_of(engine))


def counted(engine: Engine) -> Ledger:
    """The ledger, taken while two du agree; with the sums that are kept of committed layers it is du's, too."""
    for _ in range(20):
        before = total(engine)
        with open_root(engine.root) as session:
            found = ledger(session)
        with open_root(engine.root) as session:
            by_cache = ledger(session, cache=True)
        if before == total(engine):
            assert_closed(found, before)
            assert_closed(by_cache, before)
            return found
        time.sleep(0.2)
    raise AssertionError("the root never stayed as it was")


@pytest.fixture(scope="module", params=["overlay2", "overlay", "vfs", pytest.param("btrfs", marks=pytest.mark.btrfs)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A daemon with everything: running containers, volumes of each kind, a bind mount of the same file system."""
    engine = Engine(request.param)
    made = World(engine)
    try:
        if request.param == "btrfs":
            if (reason := no_btrfs()) is not None:
                pytest.skip(reason)
            mount_btrfs(engine)
        engine.start()
        made.populate()
        foreign = engine.home / "foreign"
        foreign.mkdir()
        (foreign / "big").write_bytes(b"x" * 300_000)
        options = {"type": "none", "o": "bind", "device": str(foreign)}
        engine.post("/volumes/create", {"Name": "bound", "DriverOpts": options})
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
        engine.post("/volumes/create", {"Name": "fleeting", "DriverOpts": options})
        binds = {"Binds": ["bound:/bound", "fleeting:/fleeting", "kept:/kept"]}
        command = ["/bin/busybox", "sleep", "1000"]
        engine.run("world/base:1", command, "mounter", wait=False, HostConfig=binds, StopSignal="SIGKILL")
        yield made
    finally:
        engine.remove()


def test_the_ledger_of_a_running_daemon_is_dus_sum(world: World) -> None:
    found = counted(world.engine)
    assert not {one.category for one in found.classes} & NOBODYS
    foreign = [one for one in found.entries if one.category is Category.FOREIGN_MOUNT]
    if world.engine.driver == "btrfs":  # the directory lies on another file system than the root
        assert foreign == []
    else:
        assert [one.path for one in foreign] == ["volumes/bound/_data"]
        assert foreign[0].disk == du(world.engine.home / "foreign")
    writable = {one.owner for one in found.entries if one.category is Category.CONTAINER_RW}
    assert writable == {*world.containers, "mounter"}


def test_the_same_by_the_command_line(world: World) -> None:
    command = [sys.executable, "-m", "layerscope", "df", "--json", "--root", str(world.engine.root)]
    before = total(world.engine)
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["total_disk"] == before == total(world.engine)


def test_docker_df_prints_what_docker_prints(world: World) -> None:
    if docker_client() is None:
        pytest.skip("docker's client is not installed")
    command = [sys.executable, "-m", "layerscope", "df", "--docker", "--root", str(world.engine.root)]
    told = world.engine.client("system", "df", "-v")
    ours = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    for mine, theirs in zip(sections(ours), sections(told), strict=True):
        assert sorted({*mine} ^ {*theirs}) == []


def sections(text: str) -> list[list[str]]:
    """The lines of each part, sorted: docker lists volumes in no order. How long ago something was goes on."""
    parts: list[list[str]] = []
    for line in _AGO.sub("a while", text).splitlines():
        if "space usage" in line or line.startswith("Build cache usage"):
            parts.append([])
        parts[-1].append(" ".join(line.split()))
    return [sorted(part) for part in parts]


def test_a_writer_costs_no_more_than_the_equality(world: World) -> None:
    script = "while true; do mkdir -p /w/a/b; echo x > /w/a/b/c; rm -r /w; done"
    writer = world.engine.run("world/base:1", ["/bin/busybox", "sh", "-c", script], "busy", wait=False)
    try:
        for _ in range(8):
            with open_root(world.engine.root) as session:
                found = ledger(session, workers=2)
            assert not {one.category for one in found.classes} & NOBODYS
            assert found.total_disk == sum(one.disk for one in found.entries)
    finally:
        world.engine.call("DELETE", f"/containers/{writer}?force=1")


def test_what_a_load_makes_is_never_an_orphan(world: World, tmp_path: Path) -> None:
    """A layer that comes slowly is unclaimed for as long as that takes."""
    program = docker_client()
    if program is None:
        pytest.skip("docker's client is not installed")
    reading, writing = os.pipe()
    slow = subprocess.Popen(
        [str(program), "-H", f"unix://{world.engine.home}/s", "import", "-", "slow:1"],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    os.close(reading)
    seen = set()
    try:
        with os.fdopen(writing, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|") as tar:
            for number in range(40):
                member = tarfile.TarInfo(f"file{number}")
                member.size = 64 << 10
                tar.addfile(member, io.BytesIO(bytes(member.size)))
                with open_root(world.engine.root) as session:
                    found = ledger(session, workers=1)
                seen |= {one.category for one in found.entries}
                assert not [one for one in found.entries if one.category in NOBODYS]
    finally:
        slow.wait(60)
    assert slow.returncode == 0
    assert Category.TEMPORARY in seen
