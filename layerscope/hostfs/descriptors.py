"""A bounded set of open directory descriptors, so that deep and wide trees need few of them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Protocol


class _Holder(Protocol):
    """What the pool keeps: something with a descriptor that it can open again when needed."""

    fd: int
    pins: int

    def is_below(self, top: _Holder) -> bool:
        """Whether it lies below ``top``."""


def _limit() -> int:
    """How many descriptors may stay open: a quarter of what the process may have, at most 512."""
    try:
        allowed = os.sysconf("SC_OPEN_MAX")  # the soft limit; -1 where there is none
    except (AttributeError, ValueError, OSError):  # pragma: no cover - not a Unix
        allowed = -1
    return max(16, min(512, (allowed if allowed > 0 else 1024) // 4))


class DescriptorPool:
    """Least recently used descriptors are closed first; one that is pinned never is."""

    def __init__(self, limit: int | None = None) -> None:
        self.lock = threading.RLock()
        self._limit = limit or _limit()
        self._open: OrderedDict[_Holder, None] = OrderedDict()

    def touch(self, holder: _Holder) -> None:
        """Mark ``holder`` (known or new) as the most recently used, and close what is over the limit."""
        self._open[holder] = None
        self._open.move_to_end(holder)
        if len(self._open) > self._limit:
            self._shrink()

    def drop(self, holder: _Holder) -> None:
        """Close the descriptor of ``holder`` now."""
        if self._open.pop(holder, False) is None and holder.fd >= 0:
            os.close(holder.fd)
            holder.fd = -1

    def drop_below(self, top: _Holder) -> None:
        """Close the descriptors of everything below ``top``, so that its file system can be unmounted."""
        for holder in [holder for holder in self._open if holder.is_below(top) and not holder.pins]:
            self.drop(holder)

    def _shrink(self) -> None:
        while len(self._open) > self._limit:
            idle = next((holder for holder in self._open if not holder.pins), None)
            if idle is None:
                return
            self.drop(idle)


POOL = DescriptorPool()
