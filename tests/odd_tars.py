"""Tars that delete what they bring, name their top, or hold the kernel's whiteout as a device; and changes to such."""

from __future__ import annotations

import io
import os
import stat as modes
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TIME = 1_704_164_645


class Member(NamedTuple):
    """One member; ``facts`` are those of ``TarInfo``."""

    path: str
    content: bytes = b""
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed


def device(path: str, major: int, minor: int, **facts: Any) -> Member:
    return Member(path, b"", {"type": tarfile.CHRTYPE, "devmajor": major, "devminor": minor, **facts})


def folder(path: str, **facts: Any) -> Member:
    return Member(path, b"", {"type": tarfile.DIRTYPE, **facts})


FILE = Member("x", b"hello", {"mode": 0o640, "uid": 3, "gid": 4})
LINK = Member("x", b"", {"type": tarfile.SYMTYPE, "linkname": "y"})
HARD = Member("x", b"", {"type": tarfile.LNKTYPE, "linkname": "y"})
GONE = Member(".wh.x", b"", {"mode": 0o600, "uid": 9})
FOLDER = folder("d", mode=0o711, uid=5)
INSIDE = Member("d/f", b"x")
FOLDER_GONE = Member(".wh.d", b"", {"mode": 0o600, "uid": 9})
ZERO = device("x", 0, 0, uid=4, gid=5)
TOP: dict[str, Any] = {"mode": 0o2711, "uid": 7, "gid": 8}

TARS: dict[str, Sequence[Member]] = {
    "whiteout, file": (GONE, FILE),
    "whiteout, empty file": (GONE, Member("x")),
    "file, whiteout": (FILE, GONE),
    "whiteout, link": (GONE, LINK),
    "link, whiteout": (LINK, GONE),
    "whiteout, hard link": (Member("y", b"1"), GONE, HARD),
    "hard link, whiteout": (Member("y", b"1"), HARD, GONE),
    "whiteout, device": (GONE, device("x", 1, 3)),
    "whiteout, folder": (FOLDER_GONE, FOLDER, INSIDE),
    "folder, whiteout": (FOLDER, INSIDE, FOLDER_GONE),
    "folder, whiteout, inside": (FOLDER, FOLDER_GONE, INSIDE),
    "whiteout, inside": (FOLDER_GONE, INSIDE),
    "inside, whiteout": (INSIDE, FOLDER_GONE),
    "whiteout, whiteout inside": (FOLDER_GONE, Member("d/.wh.f")),
    "whiteout, opaque folder": (FOLDER_GONE, FOLDER, Member("d/.wh..wh..opq"), INSIDE),
    "top ./": (folder("./", **TOP), Member("./x", b"1")),
    "top .": (folder(".", **TOP), Member("x", b"1")),
    "top behind": (Member("x", b"1"), folder("./", **TOP)),
    "top /": (folder("/", **TOP), Member("x", b"1")),
    "zero device": (ZERO,),
    "zero device, whiteout": (ZERO, GONE),
    "whiteout, zero device": (GONE, ZERO),
    "aufs": (folder(".wh..wh.plnk"), Member(".wh..wh.aufs"), Member("x", b"1")),
}


OVER_A_WHITEOUT = frozenset(
    {
        "file, whiteout",
        "link, whiteout",
        "hard link, whiteout",
        "folder, whiteout",
        "folder, whiteout, inside",
        "whiteout, inside",
        "inside, whiteout",
        "zero device, whiteout",
    }
)
"""What no engine takes where whiteouts are devices: one can't be made over an entry, nor an entry over or below one."""
LOST_IN_TREES = frozenset({"file, whiteout", "inside, whiteout"})
"""Whose tar nobody can give back from a whole tree: their bytes are gone."""


def packed(members: Sequence[Member]) -> bytes:
    """The tar of some members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            entry = tarfile.TarInfo(member.path)
            entry.mtime, entry.mode, entry.size = TIME, 0o644, len(member.content)
            for key, value in member.facts.items():
                setattr(entry, key, value)
            if entry.type == tarfile.DIRTYPE and "mode" not in member.facts:
                entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(member.content))
    return out.getvalue()


# ---------------------------------------------------------------------- changes
def whiteout(path: Path) -> None:
    os.mknod(path, modes.S_IFCHR, os.makedev(0, 0))


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of an entry (which is kept out of the layer), with its owner, mode and time."""

    def change(path: Path) -> None:
        before = path.lstat()
        if path.is_dir():
            path.rename(path.parents[1] / f"away-{os.urandom(4).hex()}")
        else:
            path.unlink()
        make(path)
        os.lchown(path, before.st_uid, before.st_gid)
        path.chmod(before.st_mode & 0o7777)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


class Change(NamedTuple):
    """One change at ``path`` of the layer made of a tar, and the subject it is named by."""

    tar: str
    path: str
    subject: str
    make: Callable[[Path], object]


def mode(path: Path) -> None:
    path.chmod(0o4755)


def owner(path: Path) -> None:
    os.lchown(path, 0, 77)


def time(path: Path) -> None:
    os.utime(path, (0, TIME + 1), follow_symlinks=False)


CHANGES = (
    Change("whiteout, empty file", "x", "type", replaced(os.mkfifo)),
    Change("whiteout, empty file", "x", "type", replaced(whiteout)),
    Change("whiteout, file", "x", "mode", mode),
    Change("whiteout, file", "x", "owner", owner),
    Change("whiteout, file", "x", "time", time),
    Change("whiteout, file", "x", "file", Path.unlink),
    Change("whiteout, link", "x", "entry", Path.unlink),
    Change("whiteout, link", "x", "owner", owner),
    Change("whiteout, device", "x", "device number", replaced(lambda path: os.mknod(path, 0o20644, os.makedev(1, 5)))),
    Change("whiteout, device", "x", "device number", replaced(whiteout)),
    Change("whiteout, folder", "d", "mode", mode),
    Change("whiteout, folder", "d", "owner", owner),
    Change("whiteout, folder", "d", "time", time),
    Change("whiteout, folder", "d/extra", "added", Path.touch),
    Change("top ./", "", "mode", lambda path: path.chmod(0o700)),
    Change("top ./", "", "owner", owner),
    Change("top .", "", "mode", lambda path: path.chmod(0o700)),
    Change("top .", "", "owner", owner),
    Change("zero device", "x", "owner", owner),
    Change("zero device", "x", "time", time),
    Change("zero device", "x", "entry", Path.unlink),
    Change("zero device", "x", "type", replaced(Path.touch)),
    Change("whiteout, zero device", "x", "owner", owner),
)
"""Each is found whichever engine made the layer."""
CHANGES_OF_CHANGES = (
    Change("whiteout, opaque folder", "d", "opaque flag", lambda path: os.removexattr(path, "trusted.overlay.opaque")),
    Change("aufs", "x.", "added", whiteout),
)
"""Only in a layer of changes."""
