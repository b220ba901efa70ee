"""Whether a daemon holds a root right now, told without taking a lock or opening a file.

A daemon keeps an exclusive flock on its bolt files for as long as it lives; ``/proc/locks`` lists it by device and
inode. Where the device there isn't that of ``stat`` (btrfs, overlay), the holders' open files are compared instead. A
process in its own PID namespace isn't shown the locks of the processes outside: there, no lock proves nothing.
Mounts below the root remain after a crash, so they speak of containers, not of a daemon.
Source: proc_locks(5), fs/locks.c ``locks_show``, pid_namespaces(7); seen with 20.10.24 and 26.1.5.
"""

from __future__ import annotations

import os
import re
import stat as modes
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.hostfs.locks import Lock, held_locks, lock_on
from layerscope.hostfs.mounts import Mount, file_system_type, mounts_below
from layerscope.stores.records.files import shown

if TYPE_CHECKING:
    from pathlib import Path

_LOCKED_FILES = (
    "volumes/metadata.db",
    "buildkit/cache.db",
    "buildkit/metadata_v2.db",
    "buildkit/snapshots.db",
    "buildkit/containerdmeta.db",
    "buildkit/history.db",
    "network/files/local-kv.db",
)
_CONTAINERD = "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db"
"""Locked by the containerd that a daemon started, which outlives a killed daemon: says no more than a mount does."""
_OTHER_DEVICE = {"btrfs", "overlay"}
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_OF_CONTAINERS = re.compile(
    r"/(merged|mnt/[^/]+|containers/[0-9a-f]{64}/mounts/shm|buildkit/executor/[^/]+/rootfs|volumes/[^/]+/_data)$"
)


class Liveness(Struct, frozen=True):
    """``held``: true if a daemon has the root, false if none has, None if that can't be told. ``evidence``: why."""

    held: bool | None
    evidence: tuple[str, ...]


def find_liveness(root: Directory, path: Path | str, locked: Sequence[str] = _LOCKED_FILES) -> Liveness:
    """What this machine's locks and mounts tell of the root that lies at ``path`` on the host.

    ``locked`` are the files that an engine locks for as long as it lives, relative to the root.
    """
    real = os.path.realpath(path)
    alive = _mount_evidence(mounts_below(real))
    files = [(name, stat) for name in locked if (stat := _stat(root, name)) is not None]
    if not files:
        return Liveness(None, ("there is no file that a daemon would lock", *alive))
    locks = held_locks()
    if locks is None:
        return Liveness(None, ("/proc/locks can't be read", *alive))
    exact = file_system_type(real) not in _OTHER_DEVICE
    containerd = _stat(root, _CONTAINERD)
    if containerd is not None:
        holder, _ = _holder(_CONTAINERD, containerd, locks, exact)
        if holder is not None:
            alive = (f"{_CONTAINERD} is locked by process {holder}{_program(holder)}", *alive)
    certain = True
    for name, stat in files:
        holder, told = _holder(name, stat, locks, exact)
        if holder is not None:
            return Liveness(held=True, evidence=(f"{name} is locked by process {holder}{_program(holder)}", *alive))
        certain = certain and told
    if not certain:
        evidence = "locks on this file system can't be matched with files, and not all holders can be looked at"
        return Liveness(None, (evidence, *alive))
    if not _sees_all_processes():
        return Liveness(None, ("locks held outside of this PID namespace are not shown to it", *alive))
    return Liveness(held=False, evidence=(f"no process locks {', '.join(name for name, _stat in files)}", *alive))


def _holder(name: str, stat: os.stat_result, locks: list[Lock], exact: bool) -> tuple[int | None, bool]:
    """The process that holds the lock of a file, and whether "none" is certain."""
    if not exact:
        return _holder_by_open_files(name, stat, locks)
    lock = lock_on(stat, locks)
    return (lock.pid if lock else None), True


def _stat(root: Directory, path: str) -> os.stat_result | None:
    folder, _, name = path.rpartition("/")
    directory = root.descend(folder)
    try:
        stat = directory.stat(name)
    except OSError:
        return None
    finally:
        directory.close()
    return stat if modes.S_ISREG(stat.st_mode) else None


def _mount_evidence(mounts: Iterable[Mount]) -> tuple[str, ...]:
    points = [mount.point for mount in mounts if _OF_CONTAINERS.search(mount.point)]
    if not points:
        return ()
    more = f" and {len(points) - 1} more" if len(points) > 1 else ""
    return (f"containers have mounts below it: {shown(points[0], 200)}{more}",)


def _holder_by_open_files(name: str, stat: os.stat_result, locks: list[Lock]) -> tuple[int | None, bool]:
    """The process that has a lock and this very file open, and whether every possible holder could be looked at."""
    told = True
    for pid in sorted({lock.pid for lock in locks if lock.type == "FLOCK" and lock.access == "WRITE"}):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if _is_open(f"/proc/{pid}/fd/{descriptor}", os.path.basename(name), stat):
                    return pid, True
        except FileNotFoundError:
            continue
        except OSError:
            told = False
    return None, told


def _is_open(link: str, name: str, stat: os.stat_result) -> bool:
    """Whether a descriptor is of this file. Its name is compared first: looking at a descriptor may block."""
    try:
        return os.path.basename(os.readlink(link)) == name and os.path.samestat(os.stat(link), stat)
    except FileNotFoundError:
        return False


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f" ({shown(file.read().strip())})"
    except OSError:
        return ""


def _sees_all_processes() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
    except OSError:
        return False
