"""File trees as comparable facts: from docker's tars, from the kernel's mounts, from layerscope's three faces."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat as modes
import tarfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from layerscope.model.subject import Subject
from layerscope.services import Session

_CAPABILITY = "security.capability"
_TAR_TYPES = {
    modes.S_IFREG: "0",
    modes.S_IFLNK: "2",
    modes.S_IFCHR: "3",
    modes.S_IFBLK: "4",
    modes.S_IFDIR: "5",
    modes.S_IFIFO: "6",
}
_TYPE_OF_WORD = {"file": "0", "symlink": "2", "char": "3", "block": "4", "dir": "5", "fifo": "6", "socket": "socket"}


class Fact(NamedTuple):
    """What a tar says of one entry. ``type`` is tar's letter (``1``: another name of ``link``); ``mtime`` in seconds.

    ``size`` and ``sha256`` are those of regular files; ``rdev`` is ``M:m`` for devices; ``capability`` the raw bytes.
    """

    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str
    rdev: str
    capability: bytes | None
    sha256: str | None


Tree = dict[str, Fact]


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def of_tar(data: bytes) -> Tree:
    """The members of a tar, by path without the closing slash."""
    found: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            kind = member.type.decode()
            file = tar.extractfile(member) if kind == "0" else None
            capability = member.pax_headers.get(f"SCHILY.xattr.{_CAPABILITY}")
            path = member.name.rstrip("/")
            assert path not in found, f"{path!r} is twice in the tar"
            found[path] = Fact(
                kind,
                modes.S_IMODE(member.mode),
                member.uid,
                member.gid,
                member.size if kind == "0" else 0,
                int(member.mtime),
                member.linkname if kind in "12" else "",
                f"{member.devmajor}:{member.devminor}" if kind in "34" else "",
                None if capability is None else capability.encode("utf-8", "surrogateescape"),
                digest(file.read()) if file else None,
            )
    return found


def of_export_truth(listed: Iterable[dict[str, Any]]) -> Tree:
    """The same from a recorded list of an engine's export."""
    found: Tree = {}
    for entry in listed:
        mode = int(entry["mode"], 8)
        capability = entry["pax"].get(f"SCHILY.xattr.{_CAPABILITY}")
        found[entry["name"]] = Fact(
            entry["type"],
            modes.S_IMODE(mode),
            entry["uid"],
            entry["gid"],
            entry["size"],
            entry["mtime"],
            entry["link"],
            "",
            None if capability is None else capability.encode("latin-1"),
            entry["sha256"],
        )
    return found


def of_session(session: Session, subject: Subject) -> Tree:
    """The same from the Python interface: every entry of the view, files read through it. Sockets are left out."""
    found: Tree = {}
    for entry in session.entries(subject, recursive=True):
        stat = entry.stat
        if modes.S_ISSOCK(stat.st_mode):
            continue
        is_file = modes.S_ISREG(stat.st_mode)
        kind, link, content = _TAR_TYPES[modes.S_IFMT(stat.st_mode)], "", None
        if entry.link_to is not None:
            kind, link = "1", entry.link_to
        elif modes.S_ISLNK(stat.st_mode):
            link = entry.target or ""
        elif is_file:
            with session.open_file(subject, "/" + entry.path) as file:
                content = digest(file.read())
        found[entry.path] = Fact(
            kind,
            modes.S_IMODE(stat.st_mode),
            stat.st_uid,
            stat.st_gid,
            stat.st_size if kind == "0" else 0,
            stat.st_mtime_ns // 1_000_000_000,
            link,
            f"{os.major(stat.st_rdev)}:{os.minor(stat.st_rdev)}" if kind in "34" else "",
            (entry.xattrs or {}).get(_CAPABILITY),
            content,
        )
    return found


def of_json(listed: Iterable[dict[str, Any]]) -> Tree:
    """The same from ``ls -R --json``, which has no contents: every ``sha256`` is None."""
    found: Tree = {}
    for entry in listed:
        path = os.fsdecode(base64.b64decode(entry["path_base64"])) if "path_base64" in entry else entry["path"]
        target = entry["target"]
        if "target_base64" in entry:
            target = os.fsdecode(base64.b64decode(entry["target_base64"]))
        kind, link = _TYPE_OF_WORD[entry["type"]], target or ""
        if entry["link_to"] is not None:
            kind, link = "1", entry["link_to"].removeprefix("/")
        capability = entry["xattrs"].get(_CAPABILITY)
        found[path.removeprefix("/")] = Fact(
            kind,
            int(entry["mode"], 8),
            entry["uid"],
            entry["gid"],
            entry["size"] if kind == "0" else 0,
            int(datetime.fromisoformat(_whole_seconds(entry["mtime"])).timestamp()),
            link,
            (entry["rdev"] or "") if kind != "1" else "",
            None if capability is None else base64.b64decode(capability),
            None,
        )
    return found


def _whole_seconds(moment: str) -> str:
    return moment.partition(".")[0].removesuffix("Z") + "+00:00"


def by_first_name(tree: Tree) -> Tree:
    """The tree with hard links seen from the first name by the bytes of whole paths, as listings have it.

    A tar has them from the first name that its own walk meets: it is in ``a/b`` before it is at ``a-b``.
    """
    names: dict[str, list[str]] = {}
    for path, fact in tree.items():
        if fact.type == "1":
            names.setdefault(fact.link, [fact.link]).append(path)
    found = dict(tree)
    for met_first, group in names.items():
        first = min(group, key=os.fsencode)
        for path in group:
            link = tree[met_first]._replace(type="1", size=0, link=first, rdev="", sha256=None)
            found[path] = tree[met_first] if path == first else link
    return found


def without_contents(tree: Tree) -> Tree:
    """The tree with every ``sha256`` None."""
    return {path: fact._replace(sha256=None) for path, fact in tree.items()}


def of_kernel(top: Path) -> dict[str, tuple[Any, ...]]:
    """Exact facts of a mounted tree: type and mode, owner, size, nanoseconds, device, link, xattrs, content."""
    found: dict[str, tuple[Any, ...]] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in os.scandir(top / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            stat = entry.stat(follow_symlinks=False)
            if modes.S_ISDIR(stat.st_mode):
                pending.append(path)
            xattrs = {
                key: os.getxattr(entry.path, key, follow_symlinks=False)
                for key in os.listxattr(entry.path, follow_symlinks=False)
            }
            content: Any = None
            if modes.S_ISREG(stat.st_mode):
                content = digest(Path(entry.path).read_bytes())
            elif modes.S_ISLNK(stat.st_mode):
                content = os.readlink(entry.path)
            found[path] = exact(stat, xattrs, content)
    return found


def exact(stat: os.stat_result, xattrs: dict[str, bytes], content: Any) -> tuple[Any, ...]:
    """The facts of one entry as :func:`of_kernel` tells them."""
    size = 0 if modes.S_ISDIR(stat.st_mode) else stat.st_size
    return (
        stat.st_mode,
        stat.st_uid,
        stat.st_gid,
        size,
        stat.st_mtime_ns,
        stat.st_rdev,
        sorted(xattrs.items()),
        content,
    )


def exact_of_session(session: Session, subject: Subject) -> dict[str, tuple[Any, ...]]:
    """The facts of :func:`of_kernel` as the Python interface tells them."""
    found: dict[str, tuple[Any, ...]] = {}
    for entry in session.entries(subject, recursive=True):
        content: Any = None
        if modes.S_ISREG(entry.stat.st_mode):
            with session.open_file(subject, "/" + entry.path) as file:
                content = digest(file.read())
        elif modes.S_ISLNK(entry.stat.st_mode):
            content = entry.target
        xattrs = {key: value for key, value in (entry.xattrs or {}).items() if not key.startswith("trusted.overlay.")}
        found[entry.path] = exact(entry.stat, xattrs, content)
    return found
