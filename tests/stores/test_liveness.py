"""Whether a daemon holds a root: real locks of real processes, on real file systems."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sample_roots import copied

from layerscope.hostfs import Directory
from layerscope.hostfs.mounts import Mount
from layerscope.services.opening.root import open_root
from layerscope.stores.docker import liveness
from layerscope.stores.docker.liveness import Liveness, find_liveness

HOLD = "import fcntl,sys; f=open(sys.argv[1],'rb'); fcntl.flock(f, fcntl.LOCK_EX); print('held',flush=True); input()"
ASK = """
import sys
from pathlib import Path
from layerscope.hostfs import Directory
from layerscope.stores.docker.liveness import find_liveness
path = Path(sys.argv[1])
print(find_liveness(Directory.open_root(path), path))
"""
FIRST_NAMESPACE = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
NOT_HELD = False if FIRST_NAMESPACE else None
"""Inside a PID namespace nobody can be sure."""


def look(path: Path) -> Liveness:
    root = Directory.open_root(path)
    try:
        return find_liveness(root, path)
    finally:
        root.close()


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """A process that holds an exclusive flock on ``file`` as a daemon does; its ID."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


def test_nobody_holds_a_copied_root(records_copy: Path) -> None:
    found = look(records_copy)
    assert found.held is NOT_HELD
    assert found.evidence


@pytest.mark.parametrize("name", ["volumes/metadata.db", "buildkit/cache.db", "buildkit/snapshots.db"])
def test_a_lock_is_a_daemon(records_copy: Path, name: str) -> None:
    with locked(records_copy / name) as pid:
        found = look(records_copy)
        assert found.held is True
        assert name in found.evidence[0] and str(pid) in found.evidence[0]
    assert look(records_copy).held is NOT_HELD


def test_a_lock_on_another_file_says_nothing(records_copy: Path) -> None:
    with locked(records_copy / "image/overlay2/repositories.json"):
        assert look(records_copy).held is NOT_HELD


def test_a_containerd_that_outlived_its_daemon_is_told(records_copy: Path) -> None:
    meta = records_copy / "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db"
    meta.parent.mkdir(parents=True)
    meta.write_text("")
    with locked(meta):
        found = look(records_copy)
        assert found.held is NOT_HELD
        assert any("containerd" in line for line in found.evidence)


def test_without_a_lock_file_it_is_unknown(records_copy: Path) -> None:
    for folder in ("volumes", "buildkit", "network"):
        shutil.rmtree(records_copy / folder)
    assert look(records_copy).held is None


def test_a_linked_lock_file_is_not_looked_at(records_copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "metadata.db"
    other.write_text("")
    for folder in ("buildkit", "network"):
        shutil.rmtree(records_copy / folder)
    (records_copy / "volumes/metadata.db").unlink()
    (records_copy / "volumes/metadata.db").symlink_to(other)
    with locked(other):
        assert look(records_copy).held is None


def test_a_lock_is_found_by_open_files_where_devices_differ(
    records_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "file_system_type", lambda path: "btrfs")
    with locked(records_copy / "volumes/metadata.db") as pid:
        found = look(records_copy)
        assert found.held is True and str(pid) in found.evidence[0]
    assert look(records_copy).held is NOT_HELD


def test_no_proc_locks_is_unknown(records_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "held_locks", lambda: None)
    assert look(records_copy).held is None


def test_mounts_below_the_root_are_evidence_of_containers(records_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [f"{records_copy}/overlay2/x/merged", f"{records_copy}/containers/{'a' * 64}/mounts/shm"]
    mounts = [Mount(1, "0:1", "/", point, "overlay", "overlay", "rw", "rw") for point in points]
    monkeypatch.setattr(liveness, "mounts_below", lambda path: mounts)
    found = look(records_copy)
    assert found.held is NOT_HELD
    assert "merged" in found.evidence[-1] and "1 more" in found.evidence[-1]


@pytest.mark.root
@pytest.mark.overlayfs
def test_a_lock_on_an_overlay(records_copy: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    upper, work, merged = folders
    options = f"lowerdir={records_copy},upperdir={upper},workdir={work}"
    mounted = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"an overlay can't be mounted here: {mounted.stderr.decode().strip()}")
    try:
        assert look(merged).held is NOT_HELD
        with locked(merged / "volumes/metadata.db") as pid:
            found = look(merged)
            assert found.held is True and str(pid) in found.evidence[0]
    finally:
        subprocess.run(["umount", str(merged)], check=True)


@pytest.mark.root
def test_in_a_pid_namespace_no_lock_proves_nothing(records_copy: Path) -> None:
    """The kernel doesn't show locks of processes outside; a process inside must not say that nobody holds the root."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", ASK, str(records_copy)]
    if subprocess.run([*command[:4], "true"], capture_output=True).returncode:
        pytest.skip("no right to make a PID namespace")
    with locked(records_copy / "volumes/metadata.db"):
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("Liveness(held=None")


def test_locks_are_looked_at_only_where_a_state_depends_on_them(
    overlay2_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lists them after a grace period of some ten milliseconds: as long as much else that ps does."""
    asked: list[bool] = []
    monkeypatch.setattr(liveness, "held_locks", lambda: asked.append(True) or [])
    root = copied(overlay2_root, tmp_path / "root")
    records = [json.loads(path.read_text()) for path in root.glob("containers/*/config.v2.json")]
    for running in (False, True):
        for record in records:
            record["State"].update(Running=running, Paused=False, Dead=False, RemovalInProgress=False)
            (root / "containers" / record["ID"] / "config.v2.json").write_text(json.dumps(record))
        asked.clear()
        with open_root(root) as session:
            assert len(session.containers()) == len(records) > 0
            session.problems()
        assert len(asked) == running
