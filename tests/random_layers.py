"""Random layers with every kind of mark, the kernel's merge of them, and what is seen in it. Needs root."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat as modes
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.overlay import MergedView, ViewLevel

ALL_MARKS = ("redirect_dir", "metacopy")
NAMES = ("a", "b", "c", "d e", "ü")


@contextmanager
def kernel_overlay(lowers: list[Path], point: Path, options: str) -> Iterator[Path]:
    """The kernel's merge of ``lowers`` (top first), read-only."""
    point.mkdir(exist_ok=True)
    text = "lowerdir=" + ":".join(str(lower) for lower in lowers) + "," + options
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,{text}", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def make_layer(
    top: Path,
    rng: random.Random,
    marks: Collection[str] = ALL_MARKS,
    prefix: str = "trusted.overlay.",
    owners: Sequence[int] = (0, 1000),
) -> None:
    """A random tree with whiteouts of both kinds and opaque directories; ``marks``: what else there may be.

    ``prefix``: of the attributes that are marks. ``owners``: whose the files are.
    """
    other = "user.overlay.opaque" if prefix.startswith("trusted") else "user.other"
    top.mkdir()
    pending = [(top, 0)]
    while pending:
        folder, depth = pending.pop()
        xattr_whiteouts = depth and rng.random() < 0.1
        if xattr_whiteouts:
            os.setxattr(folder, prefix + "opaque", b"x")
        for name in NAMES:
            path, dice = folder / name, rng.random()
            if dice < 0.32:
                path.mkdir()
                path.chmod(rng.choice((0o755, 0o700, 0o1777)))
                mark = rng.random()
                if mark < 0.15:
                    os.setxattr(path, prefix + "opaque", rng.choice((b"y", b"y", b"n", b"")))
                elif mark < 0.3 and "redirect_dir" in marks:
                    away = "/" + "/".join(rng.choices(NAMES, k=rng.randint(1, 2)))
                    target = rng.choice((rng.choice(NAMES), away))
                    os.setxattr(path, "trusted.overlay.redirect", target.encode())
                elif mark < 0.35:
                    os.setxattr(path, other, b"y")
                if depth < 3:
                    pending.append((path, depth + 1))
            elif dice < 0.5:
                path.write_bytes(rng.randbytes(rng.choice((0, 3, 5000))))
                os.chown(path, rng.choice(owners), owners[0])
                if "metacopy" in marks and rng.random() < 0.15:
                    os.setxattr(path, "trusted.overlay.metacopy", b"")
                    if rng.random() < 0.5:
                        os.setxattr(path, "trusted.overlay.redirect", rng.choice(NAMES).encode())
            elif dice < 0.56:
                path.symlink_to(rng.choice(("a", "/b/c", "nowhere")))
            elif dice < 0.6:
                os.mkfifo(path)
            elif dice < 0.7:
                os.mknod(path, modes.S_IFCHR, os.makedev(0, 0))
            elif dice < 0.76 and xattr_whiteouts:
                path.touch()
                os.setxattr(path, prefix + "whiteout", b"")


def facts(stat: os.stat_result) -> tuple[object, ...]:
    """What ``lstat`` tells but for inode numbers and links; a directory's size says nothing."""
    size = None if modes.S_ISDIR(stat.st_mode) else stat.st_size
    return (stat.st_mode, stat.st_uid, stat.st_gid, size, stat.st_mtime_ns, stat.st_rdev)


def kernel_tree(top: Path) -> tuple[dict[str, object], list[str]]:
    """Path to facts and content, or to the errno of the entry; and the directories that the kernel refuses to list.

    It does when a name in a directory with opaque=x can't be looked up (a metadata-only file without data).
    """
    found: dict[str, object] = {}
    unlisted: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            names = os.listdir(top / folder)
        except OSError:
            unlisted.append(folder + "/")
            continue
        for name in names:
            path = f"{folder}/{name}" if folder else name
            try:
                stat = os.lstat(top / path)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    found[path] = error.errno
                continue
            place = top / path
            found[path] = (facts(stat), content(stat, partial(open, place, "rb"), partial(os.readlink, place)))
            if modes.S_ISDIR(stat.st_mode):
                pending.append(path)
    return found, unlisted


def content(stat: os.stat_result, opener: Callable[[], BinaryIO], reader: Callable[[], str]) -> str | int | None:
    """A symlink's target, a file's digest, or the errno of opening it; None for anything else."""
    if modes.S_ISLNK(stat.st_mode):
        return reader()
    if not modes.S_ISREG(stat.st_mode):
        return None
    try:
        with opener() as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        return error.errno


def our_tree(view: MergedView) -> dict[str, object]:
    """Path to facts and content, as our own merged view has them."""
    found: dict[str, object] = {}
    for directory, listed in view.walk():
        for name, part, _, stat in listed:
            path = directory.path_of(name)
            reader = partial(part.directory.readlink, name)
            found[path] = (facts(stat), content(stat, partial(directory.open, name), reader))
    return found


def make_stack(home: Path, rng: random.Random, marks: Collection[str] = ALL_MARKS) -> tuple[list[Path], MergedView]:
    """Two to five random layers (base first) and our view of them."""
    layers = [home / f"layer{number}" for number in range(rng.randint(2, 5))]
    for layer in layers:
        make_layer(layer, rng, marks)
    levels = [ViewLevel(n, Directory.open_root(layer), str(n), dialect=TRUSTED) for n, layer in enumerate(layers, 1)]
    return layers, MergedView(levels)
