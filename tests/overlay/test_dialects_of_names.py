"""Marks that are names, alone and mixed with the kernel's: as aufs and fuse-overlayfs leave them on disk."""

from __future__ import annotations

import os
import random
import shutil
import stat as modes
import subprocess
from pathlib import Path

import pytest
from random_layers import NAMES as FILE_NAMES
from random_layers import kernel_tree, our_tree

from layerscope.formats.whiteout import NAMES, TRUSTED, USER, Dialect, fuse_overlayfs
from layerscope.hostfs import Directory
from layerscope.model.entry import EntryState
from layerscope.overlay import MergedView, ViewLevel, entries

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="devices and trusted.* attributes need root")


def view_of(dialect: Dialect, *layers: Path) -> MergedView:
    levels = [ViewLevel(n, Directory.open_root(top), str(n), dialect=dialect) for n, top in enumerate(layers, 1)]
    return MergedView(levels)


def seen(view: MergedView) -> set[str]:
    return {directory.path_of(name) for directory, listed in view.walk() for name, *_ in listed}


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    """A lower layer with some files, and an empty upper one."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for folder in ("a", "b", "c"):
        (lower / folder).mkdir(parents=True)
        (lower / folder / "old").write_text("old")
    (lower / "file").write_text("text")
    upper.mkdir()
    return lower, upper


BELOW = {"a", "a/old", "b", "b/old", "c", "c/old", "file"}


def test_marks_of_aufs(layers: tuple[Path, Path]) -> None:
    lower, upper = layers
    (upper / ".wh..wh.aufs").touch()
    os.link(upper / ".wh..wh.aufs", upper / ".wh.file")
    (upper / ".wh..wh.plnk").mkdir()
    (upper / ".wh..wh.plnk/123.456").touch()
    (upper / ".wh..wh.orph").mkdir()
    (upper / "a").mkdir()
    os.link(upper / ".wh..wh.aufs", upper / "a/.wh..wh..opq")
    (upper / "a/new").touch()
    (upper / "b").mkdir()
    os.link(upper / ".wh..wh.aufs", upper / "b/.wh.old")
    view = view_of(NAMES, lower, upper)
    assert seen(view) == {"a", "a/new", "b", "c", "c/old"}
    hidden = [entry for entry in entries(view.root, hidden=True) if entry.hidden]
    assert [(entry.path, entry.level, entry.state) for entry in hidden] == [
        ("file", 2, EntryState.WHITEOUT),
        ("file", 1, EntryState.PLAIN),
    ]
    states = {entry.path: entry.state for entry in entries(view.root)}
    assert states == {"a": EntryState.OPAQUE, "b": EntryState.UNCHANGED, "c": EntryState.PLAIN}
    assert view.directory("b").lookup("old") is None
    assert view.directory("b").lookup(".wh.old") is None


def test_a_name_that_is_removed_and_made_anew_hides_what_was_below(layers: tuple[Path, Path]) -> None:
    lower, upper = layers
    (upper / "a").mkdir()
    (upper / "a/new").touch()
    (upper / ".wh.a").touch()
    (upper / "file").write_text("new")
    (upper / ".wh.file").touch()
    assert seen(view_of(NAMES, lower, upper)) == BELOW - {"a/old"} | {"a/new"}


def test_only_regular_files_are_marks(layers: tuple[Path, Path]) -> None:
    lower, upper = layers
    (upper / ".wh.file").mkdir()
    (upper / "a").mkdir()
    (upper / "a/.wh..wh..opq").symlink_to("nowhere")
    assert seen(view_of(NAMES, lower, upper)) == BELOW


@pytest.mark.root
@needs_root
def test_marks_of_others_are_ordinary_entries(layers: tuple[Path, Path]) -> None:
    lower, upper = layers
    os.mknod(upper / "file", modes.S_IFCHR, os.makedev(0, 0))
    (upper / "a").mkdir()
    os.setxattr(upper / "a", "trusted.overlay.opaque", b"y")
    view = view_of(NAMES, lower, upper)
    assert seen(view) == BELOW
    assert view.root.lookup("file").part.level == 2
    folder = next(entry for entry in entries(view.root, xattrs=True) if entry.path == "a")
    assert folder.xattrs == {"trusted.overlay.opaque": b"y"}


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("kernel", [TRUSTED, USER], ids=["trusted", "user"])
@pytest.mark.parametrize("key", ["trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque"])
def test_fuse_overlayfs_obeys_every_mark_at_once(layers: tuple[Path, Path], key: str, kernel: Dialect) -> None:
    lower, upper = layers
    (upper / "a").mkdir()
    os.setxattr(upper / "a", key, b"y")
    (upper / "b").mkdir()
    (upper / "b/.wh..wh..opq").touch()
    os.mknod(upper / "b/.wh..opq", modes.S_IFCHR, os.makedev(0, 0))
    (upper / "c").mkdir()
    (upper / "c/.wh.old").touch()
    os.mknod(upper / "file", modes.S_IFCHR, os.makedev(0, 0))
    os.setxattr(upper / "c", "user.fuseoverlayfs.origin", b"c")
    os.setxattr(upper / "c", "user.mine", b"1")
    view = view_of(fuse_overlayfs(kernel), lower, upper)
    assert seen(view) == {"a", "b", "c"}
    listed = {entry.path: entry for entry in entries(view.root, xattrs=True)}
    assert (listed["a"].state, listed["b"].state) == (EntryState.OPAQUE, EntryState.OPAQUE)
    assert listed["c"].xattrs == {"user.mine": b"1"}
    assert [entry.path for entry in entries(view.directory("b"), hidden=True)] == ["b/old"]
    assert view.problems == []


# ---------------------------------------------------------------------- against the program itself
def make_layer(top: Path, rng: random.Random) -> None:
    """A random tree with marks of all kinds, one for a name and any number for a directory."""
    top.mkdir()
    pending = [(top, 0)]
    while pending:
        folder, depth = pending.pop()
        for name in FILE_NAMES:
            path, dice = folder / name, rng.random()
            if dice < 0.35:
                path.mkdir()
                for key in ("trusted.overlay.opaque", "user.fuseoverlayfs.opaque", "user.overlay.opaque"):
                    if rng.random() < 0.08:
                        os.setxattr(path, key, b"y")
                if rng.random() < 0.15:
                    (path / ".wh..wh..opq").touch()
                    if rng.random() < 0.5:
                        os.mknod(path / ".wh..opq", modes.S_IFCHR, os.makedev(0, 0))
                if depth < 3:
                    pending.append((path, depth + 1))
            elif dice < 0.55:
                path.write_bytes(rng.randbytes(5))
                os.chown(path, rng.choice((0, 1000)), 0)
            elif dice < 0.6:
                path.symlink_to("a")
            elif dice < 0.7:
                os.mknod(path, modes.S_IFCHR, os.makedev(0, 0))
            elif dice < 0.8:
                (folder / f".wh.{name}").touch()


@pytest.mark.root
@needs_root
@pytest.mark.skipif(shutil.which("fuse-overlayfs") is None, reason="fuse-overlayfs is not installed")
@pytest.mark.parametrize("block", range(4))
def test_the_view_is_what_fuse_overlayfs_shows(tmp_path: Path, block: int) -> None:
    """But for directories that the program itself can't list: those aren't compared."""
    compared = 0
    for seed in range(block * 20, block * 20 + 20):
        rng = random.Random(seed)
        home = tmp_path / str(seed)
        home.mkdir()
        layers = [home / f"layer{number}" for number in range(rng.randint(2, 4))]
        for layer in layers:
            make_layer(layer, rng)
        point = home / "merged"
        point.mkdir()
        lowers = ":".join(map(str, layers[::-1]))
        subprocess.run(["fuse-overlayfs", "-o", f"lowerdir={lowers}", point], check=True, stderr=subprocess.DEVNULL)
        try:
            theirs, unlisted = kernel_tree(point)
        finally:
            subprocess.run(["umount", point], check=True)
        if "/" in unlisted:
            continue
        ours = our_tree(view_of(fuse_overlayfs(TRUSTED), *layers))
        ours = {path: facts for path, facts in ours.items() if not path.startswith(tuple(unlisted))}
        assert {path: without_times(facts) for path, facts in ours.items()} == {
            path: without_times(facts) for path, facts in theirs.items()
        }, seed
        compared += len(theirs)
        shutil.rmtree(home)
    assert compared > 200


def without_times(facts: object) -> object:
    """Mode, owner, size and content: a read-only mount of it shows other times for directories."""
    assert isinstance(facts, tuple)
    stat, content = facts
    return stat[:4], content
