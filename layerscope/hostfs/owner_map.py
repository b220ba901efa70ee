"""Owners on disk as they are inside of a user namespace.

A daemon with ``--userns-remap``, and an engine that a user runs without privilege, keep the files of containers under
IDs that mean nobody on the host: what is 0 in a container is the first ID of a range on disk, or the user's own.
Source: user_namespaces(7); moby daemon/daemon_unix.go ``setupRemappedRoot``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Self

from msgspec import Struct

OVERFLOW_ID = 65534
"""What the kernel shows inside for an owner that the namespace doesn't map."""
USUAL_COUNT = 65_536
"""How many IDs a range has where nobody chose: ``SUB_UID_COUNT`` of login.defs(5)."""
MOST_RANGES = 340
"""How many ranges a namespace can have. Source: user_namespaces(7)."""
_MOST_IDS = 1 << 32


class OwnerRange(Struct, frozen=True):
    """``count`` IDs from ``outside`` on are ``inside`` and up in the namespace."""

    inside: int
    outside: int
    count: int

    @property
    def is_sound(self) -> bool:
        """Whether there can be such a range."""
        return min(self.inside, self.outside) >= 0 < self.count <= _MOST_IDS - max(self.inside, self.outside)


Ranges = tuple[OwnerRange, ...]


class OwnerMap(Struct, frozen=True):
    """The ranges of users and of groups; where there are none, IDs are the same inside."""

    users: Ranges
    groups: Ranges

    @classmethod
    def remapped(cls, first_user: int, first_group: int) -> Self:
        """As many owners as usual from ``first_user`` and ``first_group`` on are 0 and up inside."""
        return cls((OwnerRange(0, first_user, USUAL_COUNT),), (OwnerRange(0, first_group, USUAL_COUNT),))

    def inside(self, stat: os.stat_result) -> os.stat_result:
        """``stat`` with the owner and group that a container sees."""
        reduced: Any = stat.__reduce__()
        values = list(reduced[1][0])
        values[4] = _inside(stat.st_uid, self.users)
        values[5] = _inside(stat.st_gid, self.groups)
        return os.stat_result(tuple(values), reduced[1][1])

    def then(self, inner: OwnerMap) -> OwnerMap:
        """From the disk into a namespace within this one, whose ranges count from this one's IDs."""
        return OwnerMap(_joined(self.users, inner.users), _joined(self.groups, inner.groups))


def sound_ranges(ranges: Iterable[OwnerRange]) -> Ranges:
    """Those that there can be, as many as a namespace takes."""
    return tuple(islice((one for one in ranges if one.is_sound), MOST_RANGES))


def _inside(identifier: int, ranges: Ranges) -> int:
    for one in ranges:
        if one.outside <= identifier < one.outside + one.count:
            return identifier - one.outside + one.inside
    return OVERFLOW_ID if ranges else identifier


def _joined(outer: Ranges, inner: Ranges) -> Ranges:
    if not outer or not inner:
        return outer or inner
    return tuple(islice(_overlaps(outer, inner), MOST_RANGES)) or (OwnerRange(0, _MOST_IDS, 1),)


def _overlaps(outer: Ranges, inner: Ranges) -> Iterator[OwnerRange]:
    for within in inner:
        for around in outer:
            start = max(within.outside, around.inside)
            end = min(within.outside + within.count, around.inside + around.count)
            if start < end:
                yield OwnerRange(
                    within.inside + start - within.outside, around.outside + start - around.inside, end - start
                )
