"""What lies in the demo's root, and what a real engine said of it."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat as modes
import tarfile
from pathlib import Path
from typing import Any

import pytest
from demo_answers import TRUTH as TRUTH_FILE
from demo_answers import entries_of

from layerscope import open_root
from layerscope.hostfs.privilege import privilege
from layerscope.lab.root.marker import MARKER

PROJECT = Path(__file__).parents[1]
TRUTH = json.loads(TRUTH_FILE.read_text())
WEB = next(container for container in TRUTH["containers"] if container["Name"] == "/web-1")
NOBODY = 65534
needs_mount = pytest.mark.skipif(not privilege().trusted_xattrs, reason="mounting needs CAP_SYS_ADMIN")


def tree(root: Path) -> dict[str, os.stat_result]:
    """``lstat`` of everything below ``root`` but the marker, by path."""
    found = {}
    for folder, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.relpath(os.path.join(folder, name), root)
            if path != MARKER:
                found[path] = os.lstat(root / path)
    return found


def marked(root: Path, key: str) -> dict[str, bytes]:
    """The paths of directories and files that carry an attribute, with its value."""
    found = {}
    for path, status in tree(root).items():
        if modes.S_ISREG(status.st_mode) or modes.S_ISDIR(status.st_mode):
            try:
                found[path] = os.getxattr(root / path, key)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
    return found


def all_facts(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything that is kept of each entry, but for inodes and what the kernel counts."""
    facts = {}
    for path, status in tree(root).items():
        whole = root / path
        content: Any = status.st_rdev
        attributes = {}
        if modes.S_ISLNK(status.st_mode):
            content = os.readlink(whole)
        else:
            attributes = {key: os.getxattr(whole, key) for key in os.listxattr(whole)}
            if modes.S_ISREG(status.st_mode):
                content = (status.st_nlink, hashlib.sha256(whole.read_bytes()).hexdigest())
        facts[path] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes)
    return facts


def prefix_of(root: Path) -> str:
    return str(json.loads((root / MARKER).read_text())["xattr_prefix"])


def diff_lines(root: Path, name: str) -> list[str]:
    with open_root(root) as session:
        return [f"{change.kind} /{change.path}" for change in session.changes(session.find(f"container:{name}"))]


def upper_of(root: Path, container: str = WEB["Id"]) -> Path:
    mount_id = (root / "image/overlay2/layerdb/mounts" / container / "mount-id").read_text()
    return root / "overlay2" / mount_id / "diff"


def exported(root: Path, name: str) -> list[list[Any]]:
    """What layerscope exports, as the truth lists it."""
    out = io.BytesIO()
    with open_root(root) as session:
        assert session.export(session.find(f"container:{name}"), out) == []
    return entries_of(out.getvalue())


def by_path(entries: list[list[Any]]) -> dict[str, tuple[Any, ...]]:
    """Type, mode, time, link target or SHA-256, and all names of the file; a tar may have any of them first."""
    names: dict[str, set[str]] = {}
    for path, type_, _mode, _owner, _mtime, target, _digest in entries:
        names.setdefault(target if type_ == tarfile.LNKTYPE.decode() else path, set()).add(path)
    found = {entry[0]: entry for entry in entries}
    facts = {}
    for first, group in names.items():
        _path, type_, mode, owner, mtime, target, digest = found[first]
        facts.update({path: (type_, mode, owner, mtime, target, digest, sorted(group)) for path in group})
    return facts
