"""Whether work can be dealt out to other processes: how many processors there are, and whether this one may be forked.

Only a process with a single thread can be forked: a lock that another thread holds at that moment would stay locked in
the fork for ever.
"""

from __future__ import annotations

import os
import threading


def processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover - macOS
        return os.cpu_count() or 1


def may_fork() -> bool:
    """Whether this process may be forked now."""
    return hasattr(os, "fork") and threading.active_count() == 1
