"""The merged view against the kernel's own overlayfs, over random layers that carry every kind of mark."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import stat as modes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.overlay import MergedView, ViewLevel

pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and writing trusted.* attributes needs root"),
]
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


def make_layer(top: Path, rng: random.Random) -> None:
    """A random tree with whiteouts of both kinds, opaque directories, redirects and metadata-only files."""
    top.mkdir()
    pending = [(top, 0)]
    while pending:
        folder, depth = pending.pop()
        xattr_whiteouts = depth and rng.random() < 0.1
        if xattr_whiteouts:
            os.setxattr(folder, "trusted.overlay.opaque", b"x")
        for name in NAMES:
            path, dice = folder / name, rng.random()
            if dice < 0.32:
                path.mkdir()
                path.chmod(rng.choice((0o755, 0o700, 0o1777)))
                mark = rng.random()
                if mark < 0.15:
                    os.setxattr(path, "trusted.overlay.opaque", rng.choice((b"y", b"y", b"n", b"")))
                elif mark < 0.3:
                    target = rng.choice(NAMES) if rng.random() < 0.5 else "/" + "/".join(rng.choices(NAMES, k=rng.randint(1, 2)))
                    os.setxattr(path, "trusted.overlay.redirect", target.encode())
                elif mark < 0.35:
                    os.setxattr(path, "user.overlay.opaque", b"y")
                if depth < 3:
                    pending.append((path, depth + 1))
            elif dice < 0.5:
                path.write_bytes(rng.randbytes(rng.choice((0, 3, 5000))))
                os.chown(path, rng.choice((0, 1000)), 0)
                if rng.random() < 0.15:
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
                os.setxattr(path, "trusted.overlay.whiteout", b"")


def facts(stat: os.stat_result) -> tuple[object, ...]:
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
            found[path] = (facts(stat), content(stat, lambda path=path: open(top / path, "rb"), lambda path=path: os.readlink(top / path)))
            if modes.S_ISDIR(stat.st_mode):
                pending.append(path)
    return found, unlisted


def content(stat, opener, reader):
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
    found: dict[str, object] = {}
    for directory, listed in view.walk():
        for name, part, _, stat in listed:
            path = directory.path_of(name)
            found[path] = (
                facts(stat),
                content(stat, lambda d=directory, n=name: d.open(n), lambda p=part, n=name: p.directory.readlink(n)),
            )
    return found


def errno_of_opening(view: MergedView, path: str) -> int | None:
    """The kernel refuses to look up a metadata-only file without data; we show the entry, and refuse to read it."""
    try:
        place = view.place(path)
        if place.name:
            place.directory.open(place.name).close()
    except OSError as error:
        return error.errno
    return None


def check_case(tmp_path: Path, seed: int) -> int:
    rng = random.Random(seed)
    home = tmp_path / str(seed)
    home.mkdir()
    layers = [home / f"layer{number}" for number in range(rng.randint(2, 5))]
    for layer in layers:
        make_layer(layer, rng)
    view = MergedView(
        [ViewLevel(n, Directory.open_root(layer), str(n), dialect=TRUSTED) for n, layer in enumerate(layers, 1)]
    )
    with kernel_overlay(layers[::-1], home / "merged", "redirect_dir=on,metacopy=on") as merged:
        expected, unlisted = kernel_tree(merged)
    refused = {path: number for path, number in expected.items() if isinstance(number, int)}
    ours = our_tree(view)
    for path, number in refused.items():
        assert errno_of_opening(view, path) == number, (seed, path, errno.errorcode[number])
        ours.pop(path, None)
        del expected[path]
    # In a directory with opaque=x the kernel's readdir looks names up, and drops a metadata-only file without data.
    for path in [path for path, seen in ours.items() if path not in expected and seen[1] == errno.EIO]:
        del ours[path]
    ours = {path: seen for path, seen in ours.items() if not path.startswith(tuple(unlisted))}
    assert ours == expected, seed
    shutil.rmtree(home)
    return len(expected)


@pytest.mark.parametrize("block", range(4))
def test_view_equals_kernel_overlay(tmp_path: Path, block: int) -> None:
    assert sum(check_case(tmp_path, seed) for seed in range(block * 25, block * 25 + 25)) > 200


@pytest.mark.full
def test_view_equals_kernel_overlay_full(tmp_path: Path) -> None:
    for seed in range(1000, 4000):
        check_case(tmp_path, seed)
