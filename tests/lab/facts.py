"""A directory tree on disk as comparable facts, by system calls alone."""

from __future__ import annotations

import hashlib
import os
import stat as modes
from pathlib import Path
from typing import NamedTuple


class Fact(NamedTuple):
    """One entry. ``links`` are the other names of its inode; ``mtime_ns`` and ``mode`` None where they mean nothing."""

    kind: str
    mode: int | None
    uid: int
    gid: int
    mtime_ns: int | None
    target: str
    rdev: tuple[int, int]
    sha256: str
    xattrs: dict[str, bytes]
    links: tuple[str, ...]


def facts(top: Path, *, times: bool = True) -> dict[str, Fact]:
    """Every entry below ``top`` by path. Of whiteouts mode, time and links are left out, of symlinks the mode."""
    stats = {}
    waiting = [top]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            stat = entry.stat(follow_symlinks=False)
            stats[os.path.relpath(entry.path, top)] = stat
            if modes.S_ISDIR(stat.st_mode):
                waiting.append(Path(entry.path))
    names: dict[int, list[str]] = {}
    for path, stat in sorted(stats.items()):
        if not modes.S_ISDIR(stat.st_mode):
            names.setdefault(stat.st_ino, []).append(path)
    found = {}
    for path, stat in stats.items():
        whole = top / path
        whiteout = modes.S_ISCHR(stat.st_mode) and stat.st_rdev == 0
        symlink = modes.S_ISLNK(stat.st_mode)
        found[path] = Fact(
            kind=oct(modes.S_IFMT(stat.st_mode)),
            mode=None if whiteout or symlink else modes.S_IMODE(stat.st_mode),
            uid=stat.st_uid,
            gid=stat.st_gid,
            mtime_ns=stat.st_mtime_ns if times and not whiteout else None,
            target=os.readlink(whole) if symlink else "",
            rdev=(os.major(stat.st_rdev), os.minor(stat.st_rdev)),
            sha256=hashlib.sha256(whole.read_bytes()).hexdigest() if modes.S_ISREG(stat.st_mode) else "",
            xattrs={
                key: os.getxattr(whole, key, follow_symlinks=False)
                for key in os.listxattr(whole, follow_symlinks=False)
            },
            links=() if whiteout else tuple(name for name in names.get(stat.st_ino, ()) if name != path),
        )
    return found
