"""Who holds a file lock, told from ``/proc/locks`` without taking one.

``1: FLOCK  ADVISORY  WRITE 1234 fd:01:393222 0 EOF`` – type, process, device (hexadecimal major:minor) and inode.
Source: proc_locks(5). On btrfs and overlay the device there is not ``st_dev``: then only the inode can be compared.
"""

from __future__ import annotations

import os
import re

from msgspec import Struct

_LINE = re.compile(r"^\d+: (\w+)\s+\w+\s+(\w+)\s+(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ")


class Lock(Struct, frozen=True):
    """One lock held by a process. ``pid`` is -1 when it is in another process namespace."""

    type: str
    access: str
    pid: int
    major: int
    minor: int
    inode: int


def parse_locks(text: str) -> list[Lock]:
    """The locks of a ``/proc/locks`` text; waiting ones (``->``) and odd lines are passed over."""
    locks = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            kind, access, pid, major, minor, inode = match.groups()
            locks.append(Lock(kind, access, int(pid), int(major, 16), int(minor, 16), int(inode)))
    return locks


def held_locks() -> list[Lock] | None:
    """All file locks of this machine, or None where the kernel doesn't tell."""
    try:
        with open("/proc/locks") as file:
            return parse_locks(file.read())
    except OSError:
        return None


def lock_on(stat: os.stat_result, locks: list[Lock]) -> Lock | None:
    """The exclusive flock on the file of ``stat``, if one is held."""
    major, minor = os.major(stat.st_dev), os.minor(stat.st_dev)
    for lock in locks:
        same_file = (lock.major, lock.minor, lock.inode) == (major, minor, stat.st_ino)
        if lock.type == "FLOCK" and lock.access == "WRITE" and same_file:
            return lock
    return None
