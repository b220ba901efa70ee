"""Layers that are measured ahead of the records: sizes stay docker's own, and a wrong guess changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_roots import DATA, copied, unpack

from layerscope.analysis.measuring.ahead import Ahead
from layerscope.analysis.measuring.pool import Pool
from layerscope.hostfs.measure import Task
from layerscope.services import open_root
from layerscope.services.ahead import measured_ahead

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the sample need root to be unpacked")

MOUNTS = "image/overlay2/layerdb/mounts"


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is of use, whatever this machine has."""
    monkeypatch.setattr("layerscope.services.ahead.processors", lambda: 2)
    monkeypatch.setattr("layerscope.services.ahead.COMPILED", True)


@pytest.fixture
def root(overlay2_root: Path, tmp_path: Path) -> Path:
    return copied(overlay2_root, tmp_path / "root")


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The tasks that a pool was given after its crew had begun."""
    tasks: list[Task] = []
    add = Pool.add
    monkeypatch.setattr(Pool, "add", lambda self, task: (tasks.append(task), add(self, task))[1])
    return tasks


def listed(root: Path, ahead: Ahead | None) -> dict[str, tuple[int | None, int | None]]:
    with open_root(root) as session:
        return {one.container.id: (one.size_rw, one.size_root_fs) for one in session.containers(True, ahead)}


def layer_of(root: Path, container: str) -> Path:
    return root / "overlay2" / (root / MOUNTS / container / "mount-id").read_text() / "diff"


def bytes_below(tree: Path) -> int:
    """The sizes of all inodes below that are no directories, each once."""
    told = subprocess.run(["find", tree, "!", "-type", "d", "-printf", r"%i %s\n"], capture_output=True, check=True)
    return sum(int(size) for _inode, size in {tuple(line.split()) for line in told.stdout.splitlines()})


def test_sizes_are_dockers(root: Path, dealt: list[Task], sample_truth: Callable[..., Any]) -> None:
    told = {one["Id"]: (one.get("SizeRw", 0), one["SizeRootFs"]) for one in sample_truth("overlay2", "api-containers")}
    with measured_ahead(str(root)) as ahead:
        assert ahead is not None
        assert listed(root, ahead) == told
    assert len(told) > 1
    assert all(unit < 0 for unit, *_ in dealt), "what was begun is not begun again"


def test_large_layers_and_links_between_their_parts(root: Path) -> None:
    containers = sorted(path.name for path in (root / MOUNTS).iterdir())[:2]
    for container in containers:
        top = layer_of(root, container)
        for number in range(70):
            (top / f"srv/{number}").mkdir(parents=True)
            for name in range(100):
                (top / f"srv/{number}/{name}").write_bytes(b"x" * (number + name))
            os.link(top / f"srv/{number}/1", top / f"srv/{number // 2}/link-{number}")
    with measured_ahead(str(root)) as ahead:
        found = listed(root, ahead)
    for container in containers:
        assert found[container][0] == bytes_below(layer_of(root, container)) > 70 * 100 * 50


def test_a_mount_of_no_container_gives_the_guess_up(root: Path, dealt: list[Task]) -> None:
    before = listed(root, None)
    dealt.clear()
    (root / "overlay2" / ("0" * 64) / "diff").mkdir(parents=True)
    (root / MOUNTS / ("1" * 64)).mkdir()
    (root / MOUNTS / ("1" * 64) / "mount-id").write_text("0" * 64)
    with measured_ahead(str(root)) as ahead:
        assert ahead is not None
        assert listed(root, ahead) == before
    assert dealt and all(unit >= 0 for unit, *_ in dealt)


@pytest.mark.parametrize("lie", ["../../etc", "/etc", "x" * 200, "", "\udcff", "0" * 63 + "\n0"])
def test_an_identifier_that_is_none_leads_nowhere(root: Path, lie: str) -> None:
    for mount in (root / MOUNTS).iterdir():
        (mount / "mount-id").write_bytes(os.fsencode(lie))
    with measured_ahead(str(root)) as ahead:
        assert ahead is None


def test_what_a_link_or_a_pipe_stands_for_is_not_touched(root: Path) -> None:
    linked, piped, *_ = sorted((root / MOUNTS).iterdir())
    top = layer_of(root, linked.name)
    shutil.rmtree(top)
    top.symlink_to("/usr")
    (piped / "mount-id").unlink()
    os.mkfifo(piped / "mount-id")
    with measured_ahead(str(root)) as ahead:
        found = listed(root, ahead)
    assert found == listed(root, None)
    assert linked.name in found and found[linked.name][0] is None


@pytest.mark.parametrize("place", ["/no/such/place", "", "a\0b", "/etc/passwd", "/proc"])
def test_nothing_is_raised(place: str) -> None:
    with measured_ahead(place) as ahead:
        assert ahead is None


def test_other_drivers_are_left_alone(tmp_path: Path) -> None:
    with measured_ahead(str(unpack(DATA / "vfs/root.tar.gz", tmp_path / "vfs"))) as ahead:
        assert ahead is None


def test_everyone_ends(root: Path) -> None:
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt), measured_ahead(str(root)) as ahead:
        assert ahead is not None and threading.active_count() == threads + 1
        raise KeyboardInterrupt
    with measured_ahead(str(root)) as ahead:
        listed(root, ahead)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)
