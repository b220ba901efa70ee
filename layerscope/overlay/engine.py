"""The built-in overlay engine: a writable overlay in user space, with the kernel's results and errors.

    with Overlay(lower=[Path("top"), Path("base")], upper=Path("upper"), work=Path("work")) as overlay:
        overlay.write_bytes("etc/motd", b"hello\\n")

What lies in the upper directory afterwards is what the kernel's overlayfs would have left (``origin``, ``impure`` and
``uuid`` attributes excepted, which carry no meaning between mounts). Sources: kernel fs/overlayfs (dir.c, copy_up.c),
Documentation/filesystems/overlayfs.rst; held against Linux 6.18 by random sequences of operations.
"""

from __future__ import annotations

import errno
import math
import os
import stat as modes
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from layerscope.formats.whiteout import TRUSTED, USER, Dialect
from layerscope.hostfs.privilege import privilege
from layerscope.overlay import attributes, namespace
from layerscope.overlay.keeping import Keeping
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.opening import open_file
from layerscope.overlay.operations import Operations
from layerscope.overlay.protection import is_immutable
from layerscope.overlay.target import failure, given
from layerscope.overlay.upper import Upper
from layerscope.overlay.view import stat_all
from layerscope.overlay.writer import Features, Writer, linked_once

StrPath = str | os.PathLike[str]
_PROBE = "trusted.overlay.layerscope-probe"


class OverlayEntry(NamedTuple):
    """One entry of a merged directory: its name, and the level (from 1, the base) that serves it."""

    name: str
    level: int
    status: os.stat_result

    def stat(self) -> os.stat_result:
        """``lstat`` of the entry."""
        return self.status


class LayerCopy(NamedTuple):
    """What one level holds at a path: ``entry``, ``whiteout`` or ``opaque``; and whether the view shows this one."""

    level: int
    state: Literal["entry", "whiteout", "opaque"]
    stat: os.stat_result
    serves: bool


class Overlay:
    """A merged tree, writable if ``upper`` is given; a context manager, one live instance per upper directory.

    Args:
        lower: The read-only layers, top first.
        upper: The writable layer; None for a read-only overlay (every write fails with EROFS).
        work: Scratch on the file system of ``upper``; needed with it.
        xattr: Which marks count: ``trusted``, ``user``, or ``auto`` (trusted where it can be written).
        redirect_dir: Directories of lower layers can be renamed (``redirect`` marks).
        metacopy: Changes of metadata don't copy data (``metacopy`` marks).

    Methods bear the names, parameters and results of their namesakes in :mod:`os`. Paths are relative to the merged
    root (a leading slash is allowed); symlinks resolve inside it. Errors are the OSError that the kernel would give.
    """

    def __init__(
        self,
        lower: Sequence[Path],
        upper: Path | None = None,
        work: Path | None = None,
        xattr: Literal["auto", "trusted", "user"] = "auto",
        redirect_dir: bool = False,
        metacopy: bool = False,
    ) -> None:
        if upper is not None and work is None:
            raise ValueError("an upper directory needs a work directory")
        dialect = _dialect(xattr, upper)
        writable = Upper(Path(upper), Path(work), dialect) if upper is not None and work is not None else None
        features = Features(redirect_dir or metacopy, metacopy)
        self._writer = Writer([Path(path) for path in lower], writable, dialect, features)
        self._operations = Operations(self._writer)
        if dialect.prefix == USER.prefix:
            self._operations = Keeping.beside(self._writer, lower, upper)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give all descriptors back."""
        self._operations.close()
        self._writer.close()

    # ------------------------------------------------------------------ looking
    def lstat(self, path: StrPath) -> os.stat_result:
        """As ``os.lstat``; inode and device numbers are those of the layer."""
        return self._stat(path, follow=False)

    def stat(self, path: StrPath, *, follow_symlinks: bool = True) -> os.stat_result:
        """As ``os.stat``."""
        return self._stat(path, follow_symlinks)

    def _stat(self, path: StrPath, follow: bool) -> os.stat_result:
        return self._operations.stat(self._writer.existing(given(path), follow))

    def access(self, path: StrPath, mode: int, *, effective_ids: bool = False, follow_symlinks: bool = True) -> bool:
        """As ``os.access``: whether the path is there and its mode allows ``mode`` to this process."""
        try:
            target = self._writer.existing(given(path), follow_symlinks)
            stat = self._operations.stat(target)
        except OSError:
            return False
        if mode & os.W_OK and (not self._writer.is_writable or is_immutable(self._writer, target)):
            return False
        uid, gid = (os.geteuid(), os.getegid()) if effective_ids else (os.getuid(), os.getgid())
        return _allowed(stat, mode, 0 if self._operations.as_root else uid, gid)

    def readlink(self, path: StrPath) -> str:
        """As ``os.readlink``."""
        path = given(path)
        target = self._writer.existing(path, follow=False)
        if target.found is None or target.found.kind != "l":
            raise failure(errno.EINVAL, path)
        return target.found.part.directory.readlink(target.name)

    def listdir(self, path: StrPath = ".") -> list[str]:
        """The names in a merged directory, in no order."""
        return [entry.name for entry in self.scandir(path)]

    def scandir(self, path: StrPath = ".") -> Iterator[OverlayEntry]:
        """The entries of a merged directory, in no order."""
        path = given(path)
        target = self._writer.existing(path, follow=True)
        if not target.is_dir:
            raise failure(errno.ENOTDIR, path)
        directory = target.parent.child(target.name) if target.name else target.parent
        return (
            OverlayEntry(name, part.level, self._operations.shown(part, name, _linked(directory, name, stat)))
            for name, part, _, stat in stat_all(directory)
        )

    def walk(self, top: StrPath = ".") -> Iterator[tuple[str, list[str], list[str]]]:
        """Path, names of directories and of everything else, as ``os.walk`` from the top down, names sorted."""
        pending = [given(top)]
        while pending:
            here = pending.pop()
            listed = sorted(self.scandir(here), key=lambda entry: os.fsencode(entry.name))
            folders = [entry.name for entry in listed if modes.S_ISDIR(entry.status.st_mode)]
            yield here, folders, [entry.name for entry in listed if not modes.S_ISDIR(entry.status.st_mode)]
            pending.extend(os.path.join(here, name) for name in reversed(folders))

    def layers_of(self, path: StrPath) -> list[LayerCopy]:
        """What each level holds at a path, top first, and which one serves; levels that hold nothing are left out."""
        target = self._writer.locate(given(path), follow=False)
        serving = target.found.part.level if target.found else None
        if not target.name:
            parts = target.parent.parts
            return [
                LayerCopy(part.level, "entry", part.directory.stat_self(), index == 0)
                for index, part in enumerate(parts)
            ]
        copies = []
        for part in [*target.parent.parts, *(covered.part for covered in target.parent.covered)]:
            kind = part.kind(target.name)
            if kind is None:
                continue
            opaque = kind == "d" and part.enter(target.name).is_opaque
            state: Literal["entry", "whiteout", "opaque"] = (
                "whiteout" if kind == "w" else "opaque" if opaque else "entry"
            )
            stat = self._operations.shown(part, target.name, part.directory.stat(target.name))
            copies.append(LayerCopy(part.level, state, stat, part.level == serving))
        return copies

    # ------------------------------------------------------------------ files
    def open(self, path: StrPath, flags: int, mode: int = 0o777) -> int:
        """A file descriptor, as ``os.open``; opening for writing copies up first.

        Devices, FIFOs and sockets are never opened (ENXIO); a directory's descriptor is that of its topmost layer.
        """
        return open_file(self._writer, self._operations, given(path), flags, mode)

    def read_bytes(self, path: StrPath) -> bytes:
        """All bytes of a regular file."""
        with os.fdopen(self.open(path, os.O_RDONLY), "rb") as file:
            return file.read()

    def write_bytes(self, path: StrPath, data: bytes) -> int:
        """Replace the content of a file, or make it; the number of bytes written."""
        with os.fdopen(self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), "wb") as file:
            return file.write(data)

    def truncate(self, path: StrPath, length: int) -> None:
        """As ``os.truncate``."""
        attributes.truncate(self._writer, given(path), length)

    # ------------------------------------------------------------------ names
    def mkdir(self, path: StrPath, mode: int = 0o777) -> None:
        """As ``os.mkdir``."""
        path = given(path)
        target = namespace.free_name(self._writer, path, is_dir=True)
        self._operations.create(target, path, lambda fd, name: os.mkdir(name, mode, dir_fd=fd), is_dir=True)

    def symlink(self, src: StrPath, dst: StrPath, target_is_directory: bool = False) -> None:
        """As ``os.symlink``: ``dst`` becomes a symlink with the text ``src``; the third is for other systems."""
        src, dst = given(src), given(dst)
        if not src:
            raise failure(errno.ENOENT, dst)
        target = namespace.free_name(self._writer, dst)
        self._operations.create(target, dst, lambda fd, name: os.symlink(src, name, dir_fd=fd))

    def mknod(self, path: StrPath, mode: int = 0o600, device: int = 0) -> None:
        """As ``os.mknod``; a character device 0:0 would be a whiteout (EPERM)."""
        path = given(path)
        if modes.S_IFMT(mode) == modes.S_IFDIR:
            raise failure(errno.EPERM, path)
        target = namespace.free_name(self._writer, path)
        if modes.S_ISCHR(mode) and not device:
            self._writer.demand_upper()
            raise failure(errno.EPERM, path)
        self._operations.mknod(target, path, mode, device)

    def mkfifo(self, path: StrPath, mode: int = 0o666) -> None:
        """As ``os.mkfifo``."""
        self.mknod(path, modes.S_IFIFO | mode)

    def unlink(self, path: StrPath) -> None:
        """As ``os.unlink``."""
        self._operations.unlink(given(path))

    def rmdir(self, path: StrPath) -> None:
        """As ``os.rmdir``."""
        namespace.rmdir(self._writer, given(path))

    def link(self, src: StrPath, dst: StrPath, *, follow_symlinks: bool = True) -> None:
        """As ``os.link`` on Linux: a symlink itself is linked, not what it leads to, whatever ``follow_symlinks``."""
        self._operations.link(given(src), given(dst))

    def rename(self, src: StrPath, dst: StrPath) -> None:
        """As ``os.rename``; a directory of a lower layer needs ``redirect_dir`` (EXDEV)."""
        self.rename2(src, dst)

    def rename2(self, src: StrPath, dst: StrPath, flags: int = 0) -> None:
        """As renameat2(2): RENAME_NOREPLACE 1, RENAME_EXCHANGE 2."""
        self._operations.rename(given(src), given(dst), flags)

    # ------------------------------------------------------------------ attributes
    def chmod(self, path: StrPath, mode: int, *, follow_symlinks: bool = True) -> None:
        """As ``os.chmod``."""
        self._operations.chmod(given(path), mode, follow_symlinks)

    def chown(self, path: StrPath, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        """As ``os.chown``."""
        self._operations.chown(given(path), uid, gid, follow_symlinks)

    def lchown(self, path: StrPath, uid: int, gid: int) -> None:
        """As ``os.lchown``."""
        self.chown(path, uid, gid, follow_symlinks=False)

    def utime(
        self,
        path: StrPath,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """As ``os.utime``: seconds in ``times``, nanoseconds in ``ns``, now without either."""
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if times is not None:
            ns = (_nanoseconds(times[0]), _nanoseconds(times[1]))
        attributes.utime(self._writer, given(path), ns, follow_symlinks)

    def getxattr(self, path: StrPath, attribute: str, *, follow_symlinks: bool = True) -> bytes:
        """As ``os.getxattr``."""
        return self._operations.getxattr(given(path), attribute, follow_symlinks)

    def listxattr(self, path: StrPath = ".", *, follow_symlinks: bool = True) -> list[str]:
        """As ``os.listxattr``; the overlay's own marks aren't among them."""
        return self._operations.listxattr(given(path), follow_symlinks)

    def setxattr(
        self, path: StrPath, attribute: str, value: bytes, flags: int = 0, *, follow_symlinks: bool = True
    ) -> None:
        """As ``os.setxattr``."""
        self._operations.setxattr(given(path), attribute, value, flags, follow_symlinks)

    def removexattr(self, path: StrPath, attribute: str, *, follow_symlinks: bool = True) -> None:
        """As ``os.removexattr``."""
        self._operations.removexattr(given(path), attribute, follow_symlinks)


def _dialect(xattr: str, upper: Path | None) -> Dialect:
    """The marks that count: as asked for, or by what can be written on the upper directory."""
    if xattr not in ("auto", "trusted", "user"):
        raise ValueError(f"xattr is 'auto', 'trusted' or 'user', not {xattr!r}")
    if xattr == "auto":
        if upper is None:
            return TRUSTED if privilege().trusted_xattrs else USER
        try:
            os.setxattr(upper, _PROBE, b"")
            os.removexattr(upper, _PROBE)
        except OSError:
            return USER
        return TRUSTED
    return USER if xattr == "user" else TRUSTED


def _linked(directory: MergedDirectory, name: str, stat: os.stat_result) -> os.stat_result:
    """``stat`` of an entry, with the one link that a merged directory has."""
    if not modes.S_ISDIR(stat.st_mode):
        return stat
    try:
        return linked_once(stat, directory.child(name))
    except OSError:  # a redirect that leads nowhere: its ``lstat`` says so
        return stat


def _nanoseconds(seconds: float) -> int:
    """As ``os.utime`` rounds: the part below a second is cut off behind the ninth digit."""
    whole = math.floor(seconds)
    return whole * 10**9 + math.floor((seconds - whole) * 1e9)


def _allowed(stat: os.stat_result, wanted: int, uid: int, gid: int) -> bool:
    groups = {gid, *os.getgroups()}
    mode = stat.st_mode
    if uid == 0:
        return not wanted & os.X_OK or modes.S_ISDIR(mode) or bool(mode & 0o111)
    shift = 6 if stat.st_uid == uid else 3 if stat.st_gid in groups else 0
    return (mode >> shift) & wanted == wanted
