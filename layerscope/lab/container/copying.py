"""Files from the host into a container, as ``docker cp`` brings them: modes and times kept, owned by root.

Source: docker cli/command/container/cp.go, moby daemon/archive.go; seen with 20.10.24.
"""

from __future__ import annotations

import os
import stat as modes
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.overlay.engine import Overlay

_CHUNK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _go_on() -> None:
    """Nobody wants it to stop."""


def copy_in(
    overlay: Overlay, source: Path, target: str, contents_only: bool = False, tick: Callable[[], None] = _go_on
) -> None:
    """Copy a file or directory of the host to the path ``target`` of a container.

    An existing directory as target gets it by its name; with ``contents_only`` (``SRC/.``) what is in it. ``tick`` is
    called for each piece, and may raise to stop; what was copied until then stays.

    Raises:
        CommitError: the kinds don't go together.
        OSError: as the overlay's and the host's calls.
    """
    status = os.stat(source) if contents_only else os.lstat(source)
    is_dir = modes.S_ISDIR(status.st_mode)
    goal = target.rstrip("/") or "/"
    there = _status(overlay, goal)
    if there is not None and modes.S_ISDIR(there.st_mode):
        if not contents_only:
            goal = f"{goal.rstrip('/')}/{source.name or source.resolve().name}"
            inner = _status(overlay, goal)
            if inner is not None and modes.S_ISDIR(inner.st_mode) != is_dir:
                raise CommitError(f"cannot copy {escape(os.fspath(source))}: {escape(goal)} there is of another kind")
    elif there is not None and is_dir:
        raise CommitError(f"cannot copy {escape(os.fspath(source))}: {escape(goal)} there is no directory")
    elif there is None and target.endswith("/") and not is_dir:
        raise CommitError(f"cannot copy {escape(os.fspath(source))}: there is no directory {escape(target)}")
    _copy_tree(overlay, source, goal, contents_only, tick)


def _copy_tree(overlay: Overlay, source: Path, goal: str, follow: bool, tick: Callable[[], None]) -> None:
    times: list[tuple[str, os.stat_result]] = []
    pending = [(os.fspath(source), goal, follow)]
    while pending:
        tick()
        here, path, follow = pending.pop()
        status = os.stat(here) if follow else os.lstat(here)
        kind = modes.S_IFMT(status.st_mode)
        if kind == modes.S_IFSOCK:
            continue
        if kind == modes.S_IFDIR:
            if _status(overlay, path) is None:
                overlay.mkdir(path, 0o700)
            times.append((path, status))
            pending += [(os.path.join(here, name), f"{path.rstrip('/')}/{name}", False) for name in os.listdir(here)]
        elif kind == modes.S_IFREG:
            with open(here, "rb") as file:
                write_file(overlay, path, file, tick)
            _dress(overlay, path, status.st_mode, status.st_mtime_ns)
        else:
            _unlink(overlay, path)
            if kind == modes.S_IFLNK:
                overlay.symlink(os.readlink(here), path)
            else:
                overlay.mknod(path, status.st_mode, status.st_rdev)
            _dress(overlay, path, status.st_mode, status.st_mtime_ns)
    for path, status in reversed(times):
        _dress(overlay, path, status.st_mode, status.st_mtime_ns)


def copy_tar_in(overlay: Overlay, tar: BinaryIO, target: str) -> None:
    """Unpack a tar (plain or compressed) into an existing directory of a container.

    Raises:
        CommitError: it is no tar, damaged, or a member's name leads out of the directory.
        OSError: as the overlay's calls.
    """
    there = _status(overlay, target)
    if there is None or not modes.S_ISDIR(there.st_mode):
        raise CommitError(f"cannot unpack into {escape(target)}: it is no directory")
    times: list[tuple[str, tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=tar, mode="r|*", errors="surrogateescape") as archive:
            for member in archive:
                path = _inside(target, member.name)
                if path != target.rstrip("/"):
                    _make_parents(overlay, path, target)
                    _unpack(overlay, archive, member, path, target)
                if member.isdir():
                    times.append((path or "/", member))
                archive.members.clear()  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise CommitError(f"cannot unpack the tar: {error}") from None
    for path, member in reversed(times):
        _dress(overlay, path, modes.S_IFDIR | member.mode, int(member.mtime) * 10**9, member.uid, member.gid)


def _inside(target: str, name: str) -> str:
    names = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in names:
        raise CommitError(f"cannot unpack {escape(name)[:200]}: its name leads out of the directory")
    return "/".join([target.rstrip("/"), *names])


def _make_parents(overlay: Overlay, path: str, target: str) -> None:
    missing = []
    above = path.rpartition("/")[0]
    while len(above) > len(target.rstrip("/")) and _status(overlay, above) is None:
        missing.append(above)
        above = above.rpartition("/")[0]
    for folder in reversed(missing):
        overlay.mkdir(folder, 0o755)


def _unpack(overlay: Overlay, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, target: str) -> None:
    if member.isdir():
        if _status(overlay, path) is None:
            overlay.mkdir(path, 0o700)
        return
    _unlink(overlay, path)
    if member.islnk():
        overlay.link(_inside(target, member.linkname), path)
        return
    if member.isreg():
        file = archive.extractfile(member)
        assert file is not None
        with file:
            write_file(overlay, path, file)  # type: ignore[arg-type]
    elif member.issym():
        overlay.symlink(member.linkname, path)
    elif member.isfifo():
        overlay.mkfifo(path)
    elif member.isdev():
        kind = modes.S_IFCHR if member.ischr() else modes.S_IFBLK
        overlay.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    else:
        raise CommitError(f"cannot unpack {escape(member.name)[:200]}: it is of a kind that is never unpacked")
    kind = modes.S_IFLNK if member.issym() else modes.S_IFREG
    _dress(overlay, path, kind | member.mode, int(member.mtime) * 10**9, member.uid, member.gid)


def write_file(overlay: Overlay, path: str, file: BinaryIO, tick: Callable[[], None] = _go_on) -> None:
    """Make the content of ``path`` that of ``file``; a file that is there is overwritten."""
    with os.fdopen(overlay.open(path, _CREATE, 0o600), "wb") as out:
        while chunk := file.read(_CHUNK):
            tick()
            out.write(chunk)


def _dress(overlay: Overlay, path: str, mode: int, mtime_ns: int, uid: int = 0, gid: int = 0) -> None:
    overlay.lchown(path, uid, gid)
    if not modes.S_ISLNK(mode):
        overlay.chmod(path, modes.S_IMODE(mode))
    overlay.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def _status(overlay: Overlay, path: str) -> os.stat_result | None:
    try:
        return overlay.stat(path)
    except FileNotFoundError:
        return None


def _unlink(overlay: Overlay, path: str) -> None:
    try:
        overlay.unlink(path)
    except FileNotFoundError:
        return
