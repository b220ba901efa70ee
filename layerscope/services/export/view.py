"""A merged view as a tar, as ``docker export`` writes it.

Entries in depth-first order, names sorted by their bytes, a directory before what is in it; whole seconds; hard links
to the name that was met first; of the extended attributes only ``security.capability``; no sockets. What changes while
it is read can't break the tar: a file has the bytes that its header says, cut or filled up with zeros. Source: moby
pkg/archive/archive.go; seen with 20.10.24.
"""

from __future__ import annotations

import os
import stat as modes
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from layerscope.formats.tar_types import TYPE_OF_MODE
from layerscope.model.problem import Problem, Severity
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import MarkedKind, Part
from layerscope.overlay.view import MergedView
from layerscope.services.file.reading import size_of

_CAPABILITY = "security.capability"
_AT_ONCE = 1024
_CHUNK = 1 << 18

_Member = tuple[MergedDirectory, str, Part, os.stat_result]
"""The directory of the view, a name in it, the part that serves it, its ``lstat``."""


def export_tar(view: MergedView, out: BinaryIO) -> list[Problem]:
    """Write the view to ``out``; what can't be read is left out and told.

    Raises:
        OSError: ``out`` can't be written.
    """
    problems: list[Problem] = []
    first: dict[tuple[int, int, int], str] = {}
    with tarfile.open(
        fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for directory, name, part, stat in _members(view):
            path = directory.path_of(name)
            inode = (part.level, stat.st_dev, stat.st_ino)
            linked = stat.st_nlink > 1 and not modes.S_ISDIR(stat.st_mode)
            try:
                written = _write(tar, _header(path, part, name, stat), (directory, name, part, stat), first.get(inode))
            except _Unreadable as error:
                problems.append(Problem(path, str(error), "it is not in the tar", severity=Severity.WARNING))
                continue
            if linked:
                first.setdefault(inode, path)
            if written is not None:
                problems.append(
                    Problem(path, written, "the tar has other bytes than it had", severity=Severity.WARNING)
                )
            tar.getmembers().clear()  # tarfile keeps every header that it writes
    return [*problems, *view.problems]


class _Unreadable(Exception):
    """A member that can't be read at all: nothing of it is written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot read: {os.strerror(error.errno or 0)}")


# ---------------------------------------------------------------------- the walk
def _members(view: MergedView) -> Iterator[_Member]:
    """Every entry of the view in the order of the tar. No recursion: depth costs no stack."""
    pending = [_entries(view.root)]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        directory, name, _, stat = found
        if TYPE_OF_MODE.get(modes.S_IFMT(stat.st_mode)) is None:
            continue
        yield found
        if modes.S_ISDIR(stat.st_mode):
            try:
                pending.append(_entries(directory.child(name)))
            except OSError:
                continue


def _entries(directory: MergedDirectory) -> Iterator[_Member]:
    """The visible entries of one directory, by the bytes of their names; those that vanished are left out."""
    listed = sorted(directory.visible(), key=_name_bytes)
    for start in range(0, len(listed), _AT_ONCE):
        some = listed[start : start + _AT_ONCE]
        stats: dict[str, os.stat_result | None] = {}
        for part in directory.parts:
            names = [name for name, server, _ in some if server is part]
            if names:
                stats.update(zip(names, part.directory.stats(names), strict=True))
        for name, part, _ in some:
            stat = stats[name]
            if stat is not None and not part.is_ghost(name, stat):
                yield directory, name, part, stat


def _name_bytes(listed: tuple[str, Part, MarkedKind]) -> bytes:
    return os.fsencode(listed[0])


# ---------------------------------------------------------------------- one member
def _header(path: str, part: Part, name: str, stat: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type = TYPE_OF_MODE[modes.S_IFMT(stat.st_mode)]
    member.mode = modes.S_IMODE(stat.st_mode)
    member.uid, member.gid = stat.st_uid, stat.st_gid
    member.mtime = stat.st_mtime_ns // 1_000_000_000
    member.devmajor, member.devminor = os.major(stat.st_rdev), os.minor(stat.st_rdev)
    try:
        value = part.directory.xattr(_CAPABILITY, name)
    except OSError as error:
        raise _Unreadable(error) from None
    if value is not None:
        member.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": value.decode("utf-8", "surrogateescape")}
    return member


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, found: _Member, link_to: str | None) -> str | None:
    """Write a member, as a link to ``link_to`` if its inode has that name already; what went wrong, if anything did."""
    directory, name, part, stat = found
    if link_to is not None and member.type != tarfile.DIRTYPE and stat.st_nlink > 1:
        member.type, member.linkname = tarfile.LNKTYPE, link_to
    elif member.type == tarfile.SYMTYPE:
        try:
            member.linkname = part.directory.readlink(name)
        except OSError as error:
            raise _Unreadable(error) from None
    elif member.type == tarfile.REGTYPE:
        try:
            file = directory.open(name)
        except OSError as error:
            raise _Unreadable(error) from None
        with file:
            member.size = size_of(file)
            content = _Promised(file, member.size)
            tar.addfile(member, content)  # type: ignore[arg-type]
            return content.fault
    tar.addfile(member)
    return None


class _Promised:
    """A file that yields exactly the ``size`` bytes that its header promised, whatever happens to it meanwhile."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self.fault: str | None = None

    def read(self, size: int) -> bytes:
        data = b""
        if self.fault is None:
            try:
                data = self._file.read(size)
            except OSError as error:
                self.fault = f"cannot read all of it: {os.strerror(error.errno or 0)}"
        self._left -= size
        if len(data) < size:
            self.fault = self.fault or "became shorter while it was read"
            return data.ljust(size, b"\0")
        if not self._left:
            self._look_behind()
        return data

    def _look_behind(self) -> None:
        """Whether there is more than was promised, or should have been."""
        try:
            if self._file.read(1):
                self.fault = "became longer while it was read"
        except OSError as error:
            self.fault = f"cannot read all of it: {os.strerror(error.errno or 0)}"
