"""Owners on disk as they are inside of a user namespace.

A daemon with ``--userns-remap`` keeps the files of containers under IDs that mean nobody on the host: what is 0 in a
container is the first ID of a range on disk. Source: user_namespaces(7); moby
daemon/daemon_unix.go ``setupRemappedRoot``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

OVERFLOW_ID = 65534
"""What the kernel shows inside for an owner that the namespace doesn't map."""
USUAL_COUNT = 65_536
"""How many IDs a range has where nobody chose: ``SUB_UID_COUNT`` of login.defs(5)."""


@dataclass(frozen=True, slots=True)
class OwnerMap:
    """``count`` owners from ``first_user`` and ``first_group`` on are 0 and up inside."""

    first_user: int
    first_group: int
    count: int = USUAL_COUNT

    def inside(self, stat: os.stat_result) -> os.stat_result:
        """``stat`` with the owner and group that a container sees."""
        reduced: Any = stat.__reduce__()
        values = list(reduced[1][0])
        values[4] = self._inside(stat.st_uid, self.first_user)
        values[5] = self._inside(stat.st_gid, self.first_group)
        return os.stat_result(tuple(values), reduced[1][1])

    def _inside(self, identifier: int, first: int) -> int:
        return identifier - first if first <= identifier < first + self.count else OVERFLOW_ID
