"""``docker diff`` from the upper directory alone, against moby's own walk, written down here from its source.

pkg/archive/changes.go ``changes``, ``aufsDeletedFile``, ``aufsMetadataSkip``; changes_linux.go ``overlayDeletedFile``.
"""

from __future__ import annotations

import os
import random
import stat as modes
from collections.abc import Callable
from pathlib import Path

import pytest

from layerscope.analysis.changes.upper import upper_changes
from layerscope.formats.whiteout import NAMES, TRUSTED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.change import Reason
from layerscope.overlay import MergedView, ViewLevel

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="devices and trusted.* attributes need root")


def moby_changes(layers: list[Path], upper: Path, deleted: Callable[[Path, str], str]) -> list[tuple[str, str]]:
    """``layers`` nearest first; a path that a layer has, but can't be reached there, counts as absent."""
    found: list[tuple[str, str]] = []
    changed_folders: set[str] = set()

    def visit(path: str) -> None:
        kind, shown = "A", path
        stat = os.lstat(upper / path)
        removed = deleted(upper, path)
        if removed:
            kind, shown = "D", removed
        else:
            for layer in layers:
                try:
                    below = os.stat(layer / path)
                except OSError:
                    continue
                if modes.S_ISDIR(below.st_mode) and modes.S_ISDIR(stat.st_mode) and same(stat, below):
                    return
                kind = "C"
                break
        if modes.S_ISDIR(stat.st_mode):
            changed_folders.add(path)
        parent = os.path.dirname(path)
        if kind != "C" and parent and parent not in changed_folders:
            found.append(("C", parent))
            changed_folders.add(parent)
        found.append((kind, shown))

    def walk(folder: str) -> None:
        for name in sorted(os.listdir(upper / folder), key=os.fsencode):
            path = os.path.join(folder, name)
            if not folder and name.startswith(".wh..wh."):
                continue
            visit(path)
            if modes.S_ISDIR(os.lstat(upper / path).st_mode):
                walk(path)

    walk("")
    return found


def same(one: os.stat_result, other: os.stat_result) -> bool:
    seconds = one.st_mtime_ns // 10**9 == other.st_mtime_ns // 10**9
    nanoseconds = one.st_mtime_ns % 10**9, other.st_mtime_ns % 10**9
    same_time = seconds and (nanoseconds[0] == nanoseconds[1] or 0 in nanoseconds)
    return (one.st_size, one.st_mode) == (other.st_size, other.st_mode) and same_time


def aufs_deleted(upper: Path, path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, name[4:]) if name.startswith(".wh.") else ""


def overlay_deleted(upper: Path, path: str) -> str:
    stat = os.lstat(upper / path)
    if modes.S_ISCHR(stat.st_mode) and stat.st_rdev == 0:
        return path
    if modes.S_ISDIR(stat.st_mode) and "trusted.overlay.opaque" in os.listxattr(upper / path):
        return path if os.getxattr(upper / path, "trusted.overlay.opaque") == b"y" else ""
    return ""


def make_layer(top: Path, rng: random.Random, dialect: Dialect) -> None:
    top.mkdir()
    pending = [(top, 0)]
    while pending:
        folder, depth = pending.pop()
        for name in ("a", "b", "c", "d e", "ü"):
            path, dice = folder / name, rng.random()
            if dice < 0.4:
                path.mkdir()
                if rng.random() < 0.15 and not dialect.names:
                    os.setxattr(path, "trusted.overlay.opaque", b"y")
                if depth < 2:
                    pending.append((path, depth + 1))
            elif dice < 0.65:
                path.write_text("x" * rng.randint(0, 3))
            elif dice < 0.75:
                path.symlink_to(rng.choice(("a", "nowhere", "../a", "b/c")))
            elif dice < 0.85:
                if dialect.names:
                    (folder / f".wh.{name}").touch()
                else:
                    os.mknod(path, modes.S_IFCHR, os.makedev(0, 0))
    for folder, _, _ in os.walk(top, topdown=False):
        if rng.random() < 0.7:
            os.utime(folder, ns=(0, 1_700_000_000_000_000_000))


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("dialect", [NAMES, TRUSTED], ids=["aufs", "overlay2"])
@pytest.mark.parametrize("block", range(3))
def test_it_is_what_moby_walks(tmp_path: Path, dialect: Dialect, block: int) -> None:
    compared = 0
    for seed in range(block * 15, block * 15 + 15):
        rng = random.Random(seed)
        home = tmp_path / str(seed)
        home.mkdir()
        layers = [home / str(number) for number in range(rng.randint(2, 4))]
        for layer in layers:
            make_layer(layer, rng, dialect)
        levels = [ViewLevel(n, Directory.open_root(top), str(n), dialect=dialect) for n, top in enumerate(layers, 1)]
        deleted = aufs_deleted if dialect.names else overlay_deleted
        wanted = {f"{kind} {path}" for kind, path in moby_changes(layers[-2::-1], layers[-1], deleted)}
        view = MergedView(levels)
        assert {f"{change.kind} {change.path}" for change in upper_changes(view)} == wanted, seed
        assert {f"{change.kind} {change.path}" for change in upper_changes(view, detail=False)} == wanted
        compared += len(wanted)
    assert compared > 200


def test_an_opaque_directory_of_aufs_is_listed_and_its_mark_is_no_file(tmp_path: Path) -> None:
    """The engine has it as ``D /d/.wh..opq``."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "d").mkdir(parents=True)
    (lower / "d/old").write_text("123")
    (upper / "d").mkdir(parents=True)
    (upper / "d/.wh..wh..opq").touch()
    (upper / "d/new").write_text("4567")
    (upper / ".wh..wh.plnk").mkdir()
    (upper / ".wh..wh.plnk/1.2").touch()
    levels = [ViewLevel(n, Directory.open_root(top), str(n), dialect=NAMES) for n, top in enumerate((lower, upper), 1)]
    found = [(str(c.kind), c.path, c.reason, c.size, c.level, c.level_below) for c in upper_changes(MergedView(levels))]
    assert found == [("C", "d", Reason.OPAQUE, None, 2, 1), ("A", "d/new", Reason.ADDED, 4, 2, None)]


def test_details(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for top, text in ((lower, "12345"), (upper, "123456")):
        (top / "etc").mkdir(parents=True)
        (top / "etc/conf").write_text(text)
        (top / "etc/mode").write_text("same")
        os.utime(top / "etc/mode", (1, 1))
    (upper / "etc/mode").chmod(0o600)
    (lower / "etc/gone").write_text("123")
    (upper / "etc/.wh.gone").touch()
    levels = [ViewLevel(n, Directory.open_root(top), str(n), dialect=NAMES) for n, top in enumerate((lower, upper), 1)]
    found = {
        c.path: (c.reason, c.size, c.size_below, c.level, c.level_below) for c in upper_changes(MergedView(levels))
    }
    assert found["etc/conf"] == (Reason.CONTENT, 6, 5, 2, 1)
    assert found["etc/mode"] == (Reason.METADATA, 4, 4, 2, 1)
    assert found["etc/gone"] == (Reason.WHITEOUT, None, 3, 2, 1)
