"""Where this user may make no devices, whiteouts are files with an attribute: the kernel shows the same tree."""

from __future__ import annotations

import errno
import os
import shutil
import stat as modes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layerscope.hostfs.privilege import privilege
from layerscope.overlay import Overlay
from layerscope.overlay import rename as overlay_rename

RELEASE = tuple(int(part) for part in os.uname().release.split(".")[:2])
pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(not privilege().trusted_xattrs, reason="mounting needs CAP_SYS_ADMIN"),
    pytest.mark.skipif(RELEASE < (6, 8), reason="xattr whiteouts need Linux 6.8"),
]


def act(fs: Any, top: str) -> list[int]:
    """Changes that leave whiteouts, through ``os`` or what has its methods; the errno of each, 0 if it went well."""
    told = []

    def call(name: str, *paths: str) -> None:
        try:
            getattr(fs, name)(*(f"{top}{path}" for path in paths))
            told.append(0)
        except OSError as error:
            told.append(error.errno or -1)

    call("unlink", "a/one")
    call("unlink", "a/one")
    call("rename", "a/two", "a/renamed")
    call("rename", "a/link", "b/link")
    call("rename", "a/three", "b/x")  # over a file of the lower layer
    call("rmdir", "a")  # not empty yet
    call("unlink", "a/renamed")
    call("rmdir", "a")  # only our own whiteouts are left
    call("mkdir", "a")  # opaque
    call("mkdir", "a/one")  # a directory in the place of a file
    call("rename", "c/deep/file", "c/file")
    call("rmdir", "c/deep")
    call("link", "b/x", "c/deep")  # a file in the place of a directory
    call("unlink", "b/y")
    call("mkdir", "b/y")
    call("mkdir", "moved")
    call("rmdir", "d")
    call("rename", "moved", "d")  # onto a whiteout
    return told


@contextmanager
def mounted(home: Path, options: str) -> Iterator[str]:
    (home / "merged").mkdir()
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(home / "merged")], check=True)
    try:
        yield f"{home}/merged/"
    finally:
        subprocess.run(["umount", str(home / "merged")], check=True)


def shown(top: str) -> dict[str, tuple[Any, ...]]:
    found = {}
    for path in sorted(Path(top).rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path.relative_to(top))] = (modes.filemode(path.lstat().st_mode), content)
    return found


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    """Two places with the same lower layer."""
    first, second = tmp_path / "kernel", tmp_path / "engine"
    for path in ("a/one", "a/two", "a/three", "b/x", "b/y", "c/deep/file", "d/.keep"):
        (first / "lower" / path).parent.mkdir(parents=True, exist_ok=True)
        (first / "lower" / path).write_text(path)
    (first / "lower/d/.keep").unlink()
    (first / "lower/a/link").symlink_to("one")
    for name in ("upper", "work"):
        (first / name).mkdir()
    shutil.copytree(first, second, symlinks=True)
    return first, second


def test_kernel_shows_what_it_would_have_made(homes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, engine = homes
    options = f"userxattr,lowerdir={kernel}/lower,upperdir={kernel}/upper,workdir={kernel}/work"
    with mounted(kernel, options) as top:
        errors, wanted = act(os, top), shown(top)
    rename = overlay_rename.renameat2

    def refuse(*_arguments: Any, **_more: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def no_whiteouts(source: int, old: str, target: int, new: str, flags: int = 0) -> None:
        rename(source, old, target, new, flags) if not flags & 4 else refuse()

    with monkeypatch.context() as patch:
        patch.setattr(os, "mknod", refuse)
        patch.setattr(overlay_rename, "renameat2", no_whiteouts)
        with Overlay([engine / "lower"], engine / "upper", engine / "work", xattr="user") as overlay:
            assert act(overlay, "") == errors
    assert not [path for path in (engine / "upper").rglob("*") if modes.S_ISCHR(path.lstat().st_mode)]
    with mounted(engine, f"ro,userxattr,lowerdir={engine}/upper:{engine}/lower") as top:
        assert shown(top) == wanted
    assert errors.count(0) == len(errors) - 2
