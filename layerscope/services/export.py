"""A merged view as a tar, as ``docker export`` writes it.

Entries in depth-first order, names sorted; whole seconds; hard links to the first name; of the extended attributes only
``security.capability``; no sockets. Source: moby pkg/archive/archive.go; seen with 20.10.24.
"""

from __future__ import annotations

import os
import stat as modes
import tarfile
from typing import BinaryIO

from layerscope.model.problem import Problem, Severity
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView

_TYPES = {
    modes.S_IFDIR: tarfile.DIRTYPE,
    modes.S_IFREG: tarfile.REGTYPE,
    modes.S_IFLNK: tarfile.SYMTYPE,
    modes.S_IFCHR: tarfile.CHRTYPE,
    modes.S_IFBLK: tarfile.BLKTYPE,
    modes.S_IFIFO: tarfile.FIFOTYPE,
}
_CAPABILITY = "security.capability"


def export_tar(view: MergedView, out: BinaryIO) -> list[Problem]:
    """Write the view to ``out``; what can't be read is left out and told."""
    problems: list[Problem] = []
    first: dict[tuple[int, int, int], str] = {}
    with tarfile.open(
        fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for directory, listed in view.walk():
            for name, part, _, stat in listed:
                path = directory.path_of(name)
                kind = _TYPES.get(modes.S_IFMT(stat.st_mode))
                if kind is None:
                    continue
                member = tarfile.TarInfo(path)
                member.type = kind
                member.mode = modes.S_IMODE(stat.st_mode)
                member.uid, member.gid = stat.st_uid, stat.st_gid
                member.mtime = stat.st_mtime_ns // 1_000_000_000
                member.devmajor, member.devminor = os.major(stat.st_rdev), os.minor(stat.st_rdev)
                _add_capability(member, part, name)
                inode = (part.level, stat.st_dev, stat.st_ino)
                if stat.st_nlink > 1 and kind != tarfile.DIRTYPE and inode in first:
                    member.type, member.linkname = tarfile.LNKTYPE, first[inode]
                    tar.addfile(member)
                    continue
                first.setdefault(inode, path)
                try:
                    if kind == tarfile.REGTYPE:
                        with directory.open(name) as file:
                            member.size = os.fstat(file.fileno()).st_size
                            tar.addfile(member, file)
                    else:
                        if kind == tarfile.SYMTYPE:
                            member.linkname = part.directory.readlink(name)
                        tar.addfile(member)
                except OSError as error:
                    what = f"cannot read: {os.strerror(error.errno or 0)}"
                    problems.append(Problem(path, what, "it is not in the tar", severity=Severity.WARNING))
    return [*problems, *view.problems]


def _add_capability(member: tarfile.TarInfo, part: Part, name: str) -> None:
    value = part.directory.xattr(_CAPABILITY, name)
    if value is not None:
        member.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": value.decode("utf-8", "surrogateescape")}
