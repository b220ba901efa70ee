"""What makes two copies of a path differ.

| rule | sees |
| --- | --- |
| :data:`DOCKER` | type, mode, owner, device; capabilities; size and time of what is no directory |
| :data:`STORAGE` | the same, and a directory's time, a symlink's target, ``user.*`` attributes |
| :data:`EXACT` | mode, owner, content byte by byte, all extended attributes; times of what is no directory |

The first two are what docker and containers/storage (podman) do, defects included. Source: moby pkg/archive/changes.go,
changes_unix.go ``statDifferent``; the files of these names in containers/storage.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable
from typing import NamedTuple

from layerscope.overlay.entry_state import content_differs_by_stat, different_owner_or_mode, own_xattrs, same_bytes
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part

_CAPABILITY = "security.capability"
_SECOND = 1_000_000_000


class Copy(NamedTuple):
    """One side of a comparison: the directory of the view, the name in it, the part that serves it, its ``lstat``."""

    directory: MergedDirectory
    name: str
    part: Part
    stat: os.stat_result


class Rule(NamedTuple):
    """What makes two copies of a path differ: what ``lstat`` says, and (asked only if that doesn't) the rest."""

    stats_differ: Callable[[os.stat_result, os.stat_result], bool]
    rest_differs: Callable[[Copy, Copy], bool]


def _docker_stats_differ(one: os.stat_result, other: os.stat_result) -> bool:
    if different_owner_or_mode(one, other) or one.st_rdev != other.st_rdev:
        return True
    # docker's "is a directory" is one bit of the mode, which block devices and sockets have too.
    if one.st_mode & modes.S_IFDIR:
        return False
    return one.st_size != other.st_size or not _same_docker_time(one, other)


def _capability_differs(old: Copy, new: Copy) -> bool:
    return old.part.directory.xattr(_CAPABILITY, old.name) != new.part.directory.xattr(_CAPABILITY, new.name)


def _storage_stats_differ(one: os.stat_result, other: os.stat_result) -> bool:
    if different_owner_or_mode(one, other) or one.st_rdev != other.st_rdev or not _same_docker_time(one, other):
        return True
    return not one.st_mode & modes.S_IFDIR and one.st_size != other.st_size


def _storage_rest_differs(old: Copy, new: Copy) -> bool:
    if modes.S_ISLNK(new.stat.st_mode) and content_differs(old, new):
        return True
    mine, theirs = (copy.part.directory.xattrs(copy.name) for copy in (old, new))
    counted = {key for key in mine.keys() | theirs.keys() if key.startswith("user.") or key == _CAPABILITY}
    return any(mine.get(key) != theirs.get(key) for key in counted)


def _same_docker_time(one: os.stat_result, other: os.stat_result) -> bool:
    """Equal seconds; nanoseconds count only if both sides have some."""
    left, right = one.st_mtime_ns, other.st_mtime_ns
    if left == right:
        return True
    return left // _SECOND == right // _SECOND and (left % _SECOND == 0 or right % _SECOND == 0)


def _content_or_metadata_differs(old: Copy, new: Copy) -> bool:
    return content_differs(old, new) or _metadata_differs(old, new)


def _metadata_differs(old: Copy, new: Copy) -> bool:
    times_count = not modes.S_ISDIR(new.stat.st_mode)
    if times_count and old.stat.st_mtime_ns != new.stat.st_mtime_ns:
        return True
    return own_xattrs(old.part, old.name) != own_xattrs(new.part, new.name)


def content_differs(old: Copy, new: Copy) -> bool:
    """Whether two copies hold other bytes, lead elsewhere or are of another type or device."""
    if content_differs_by_stat(old.stat, new.stat):
        return True
    if modes.S_ISLNK(new.stat.st_mode):
        return old.part.directory.readlink(old.name) != new.part.directory.readlink(new.name)
    if not modes.S_ISREG(new.stat.st_mode) or not new.stat.st_size:
        return False
    if (old.stat.st_dev, old.stat.st_ino) == (new.stat.st_dev, new.stat.st_ino):
        return False
    return not same_bytes(new.directory, new.part, new.name, old.part, old.name)


DOCKER = Rule(_docker_stats_differ, _capability_differs)
STORAGE = Rule(_storage_stats_differ, _storage_rest_differs)
EXACT = Rule(different_owner_or_mode, _content_or_metadata_differs)
