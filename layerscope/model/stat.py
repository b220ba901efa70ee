"""``lstat`` results of entries that no file system here holds."""

from __future__ import annotations

import os

_SECOND = 1_000_000_000


def made_stat(
    mode: int,
    *,
    inode: int = 0,
    device: int = 0,
    links: int = 1,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime_ns: int = 0,
    rdev: int = 0,
) -> os.stat_result:
    """An ``os.stat_result`` with these facts; ``mode`` has the type bits, all three times are ``mtime_ns``."""
    seconds = mtime_ns // _SECOND
    times = {f"st_{kind}time": mtime_ns / _SECOND for kind in "amc"}
    times_ns = {f"st_{kind}time_ns": mtime_ns for kind in "amc"}
    return os.stat_result(
        (mode, inode, device, links, uid, gid, size, seconds, seconds, seconds),
        {**times, **times_ns, "st_rdev": rdev, "st_blksize": 4096, "st_blocks": 0},
    )
