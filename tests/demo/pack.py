"""A data root as one archive: the same root always gives the same bytes.

Members are sorted by name. Of the extended attributes only those are kept that mean something on another disk: the
marks of opaque directories. Owners must be 0:0 and modes must let the owner in, so that the root is whole for
everybody who unpacks it.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import stat
import tarfile
from pathlib import Path

_OPAQUE = "trusted.overlay.opaque"
_LEFT_OUT = re.compile(
    r"containerd(/.*)?|network(/.*)?|(.*/)?backingFsBlockDev|overlay2/[^/]+/work/.*|overlay2/[^/]+/merged/.*|(tmp|runtimes)/.*"
)


def pack(root: Path, archive: Path, since: float, moment: float) -> dict[str, int]:
    """Write ``archive``; what is newer than ``since`` gets the time ``moment``. Returns what was counted on the way."""
    counted = {"entries": 0, "whiteouts": 0, "opaque": 0, "bytes": 0}
    plain = io.BytesIO()
    first_names: dict[int, str] = {}
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in _names(root):
            entry = _member(root, name, first_names)
            if entry.mtime >= since:
                entry.mtime = int(moment)
            counted["entries"] += 1
            counted["bytes"] += entry.size
            counted["whiteouts"] += entry.ischr()
            counted["opaque"] += bool(entry.pax_headers)
            tar.addfile(entry, io.BytesIO((root / name).read_bytes()) if entry.size else None)
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    return counted


def _names(root: Path) -> list[str]:
    found = []
    for folder, directories, files in os.walk(root):
        below = os.path.relpath(folder, root)
        found += [os.path.normpath(os.path.join(below, name)) for name in (*directories, *files)]
    return sorted((name for name in found if not _LEFT_OUT.fullmatch(name)), key=lambda name: name.split("/"))


def _member(root: Path, name: str, first_names: dict[int, str]) -> tarfile.TarInfo:
    status = os.lstat(root / name)
    whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    if not (whiteout or stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise ValueError(f"{name} is of a kind that not everybody can make")
    if (status.st_uid, status.st_gid) != (0, 0) or (status.st_mode & 0o6000):
        raise ValueError(f"{name} has an owner or a mode that not everybody can give")
    needed = 0o700 if stat.S_ISDIR(status.st_mode) else 0o400
    if not whiteout and not stat.S_ISLNK(status.st_mode) and status.st_mode & needed != needed:
        raise ValueError(f"{name} can't be used by its owner")
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if whiteout:
        entry.type = tarfile.CHRTYPE
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        if _OPAQUE in os.listxattr(root / name) and os.getxattr(root / name, _OPAQUE) == b"y":
            entry.pax_headers = {f"SCHILY.xattr.{_OPAQUE}": "y"}
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(root / name)
    elif status.st_ino in first_names:
        entry.type, entry.linkname = tarfile.LNKTYPE, first_names[status.st_ino]
    else:
        entry.size = status.st_size
        if status.st_nlink > 1:
            first_names[status.st_ino] = name
    return entry
