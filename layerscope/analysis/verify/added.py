"""What lies in a layer's directory although its record has no entry for it, and opaque flags that don't fit.

A layer of changes must hold nothing but what its headers name, and directories on the way there. A layer that is a
whole tree holds, besides, everything that the layer below has and this one doesn't delete: unchanged, byte for byte.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable

from layerscope.analysis.verify.findings import Findings
from layerscope.analysis.verify.metadata import Rules
from layerscope.analysis.verify.names import RecordedNames
from layerscope.analysis.verify.words import found_kind
from layerscope.model.tree import LayerDirectory

_PIECE = 1 << 18
_Stats = dict[str, os.stat_result | None]


def check_added(
    top: LayerDirectory,
    names: RecordedNames,
    rules: Rules,
    findings: Findings,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Walk a layer of changes; ``names`` are sealed."""
    pending: list[tuple[LayerDirectory, str]] = [(top, "")]
    while pending and not cancelled():
        directory, path = pending.pop()
        try:
            listed = list(directory.scan())
            _check_opaque(directory, path, names, rules, findings)
        except OSError as error:
            findings.fail(path, "directory", "", error)
            continue
        for name, kind in listed:
            full = f"{path}/{name}" if path else name
            if full in names.entries or (kind == "d" and full in names.folders):
                if kind == "d":
                    pending.append((directory.enter(name), full))
                continue
            stat = directory.stats((name,))[0]
            if stat is not None and (rules.exact or not modes.S_ISSOCK(stat.st_mode)):
                findings.add(full, "added", "none", found_kind(stat))


def _check_opaque(directory: LayerDirectory, path: str, names: RecordedNames, rules: Rules, findings: Findings) -> None:
    values = [directory.xattr(f"{prefix}opaque") for prefix in rules.dialect.prefixes]
    is_opaque, recorded = b"y" in values, path in names.opaque
    if is_opaque and (rules.at_once or not (recorded or path in names.removed)):
        findings.add(path, "opaque flag", "none", "the directory hides what lies below")
    elif recorded and not is_opaque and rules.device_marks and rules.sees_marks and path:
        findings.add(path, "opaque flag", "the directory hides what lies below", "none")


def check_tree(
    top: LayerDirectory,
    below: LayerDirectory | None,
    names: RecordedNames,
    findings: Findings,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Walk a layer that is a whole tree beside the one it was made from (None: it is the base)."""
    pending: list[tuple[LayerDirectory, LayerDirectory | None, str]] = [(top, below, "")]
    while pending and not cancelled():
        directory, lower, path = pending.pop()
        try:
            here = _listed(directory)
            there = {} if lower is None or path in names.opaque else _listed(lower)
        except OSError as error:
            findings.fail(path, "directory", "", error)
            continue
        for name, stat in here.items():
            full = f"{path}/{name}" if path else name
            if stat is None:
                continue
            old = None if full in names.removed else there.get(name)
            own = full in names.entries
            is_folder = modes.S_ISDIR(stat.st_mode)
            if not own and old is None and not (is_folder and full in names.folders):
                findings.add(full, "added", "none", found_kind(stat))
                continue
            if not own and old is not None and lower is not None:
                _compare(directory, lower, name, full, stat, old, findings)
            if is_folder:
                deeper = lower.enter(name) if lower is not None and old and modes.S_ISDIR(old.st_mode) else None
                pending.append((directory.enter(name), deeper, full))
        for name in there.keys() - here.keys():
            full = f"{path}/{name}" if path else name
            if full not in names.removed and full not in names.entries:
                old = there[name]
                findings.add(full, "entry", found_kind(old) if old else "an entry", "nothing; the layer below has it")


def _listed(directory: LayerDirectory) -> _Stats:
    found = [name for name, _ in directory.scan()]
    return dict(zip(found, directory.stats(found), strict=True))


def _compare(
    directory: LayerDirectory,
    lower: LayerDirectory,
    name: str,
    path: str,
    stat: os.stat_result,
    old: os.stat_result,
    findings: Findings,
) -> None:
    """An entry that came from the layer below as it was."""
    if (stat.st_dev, stat.st_ino) == (old.st_dev, old.st_ino):
        return
    if modes.S_IFMT(stat.st_mode) != modes.S_IFMT(old.st_mode):
        findings.add(path, "type", f"{found_kind(old)} in the layer below", found_kind(stat))
        return
    if modes.S_IMODE(stat.st_mode) != modes.S_IMODE(old.st_mode):
        findings.add(path, "mode", f"{old.st_mode & 0o7777:04o} in the layer below", f"{stat.st_mode & 0o7777:04o}")
    if (stat.st_uid, stat.st_gid) != (old.st_uid, old.st_gid):
        findings.add(path, "owner", f"{old.st_uid}:{old.st_gid} in the layer below", f"{stat.st_uid}:{stat.st_gid}")
    if stat.st_rdev != old.st_rdev:
        findings.add(path, "device number", _number(old), _number(stat))
    if modes.S_ISDIR(stat.st_mode):
        return
    if stat.st_mtime_ns != old.st_mtime_ns:
        findings.add(path, "time", f"{old.st_mtime_ns} ns in the layer below", f"{stat.st_mtime_ns} ns")
    try:
        if modes.S_ISLNK(stat.st_mode):
            recorded, found = lower.readlink(name), directory.readlink(name)
            if recorded != found:
                findings.add(path, "symlink target", recorded, found)
        elif modes.S_ISREG(stat.st_mode):
            if stat.st_size != old.st_size:
                findings.add(path, "length", f"{old.st_size} bytes in the layer below", f"{stat.st_size} bytes")
            elif stat.st_size and not _same_bytes(directory, lower, name):
                findings.add(path, "content", "the bytes of the layer below", "others")
            key = "security.capability"
            if lower.xattr(key, name) != directory.xattr(key, name):
                findings.add(path, f"attribute {key}", "that of the layer below", "another")
    except OSError as error:
        findings.fail(path, "content", "", error)


def _same_bytes(directory: LayerDirectory, lower: LayerDirectory, name: str) -> bool:
    with directory.open(name) as one, lower.open(name) as other:
        while True:
            left, right = one.read(_PIECE), other.read(_PIECE)
            if left != right:
                return False
            if not left:
                return True


def _number(stat: os.stat_result) -> str:
    return f"{os.major(stat.st_rdev)}:{os.minor(stat.st_rdev)}"
