"""ADD of an archive: its members unpacked into a stage's layer, as docker's daemon unpacks them.

Owners, modes and times are those of the members, times in whole seconds, a directory's set last. What is in a member's
place goes, unless both are directories. Missing directories are made, owned by root, mode 0755.

Source: moby pkg/archive/archive.go ``Unpack``, ``createTarFile``; 20.10.24.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat as modes
import tarfile
import zlib
from typing import BinaryIO

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.formats.tar.types import MODE_OF_TYPE
from layerscope.lab.build.files import Entry, Tree, content, inside, resolved
from layerscope.lab.build.overlay import dress, make_directories, remove_all, set_time
from layerscope.overlay.engine import Overlay

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_MAGIC = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_CAPABILITY = "SCHILY.xattr.security.capability"
_DAMAGED = (tarfile.TarError, EOFError, ValueError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)
_KINDS = {letter.encode(): mode for letter, mode in MODE_OF_TYPE.items() if mode != modes.S_IFREG}
"""Type bits by tar type, of what is no file."""


def is_archive(files: Tree, path: str) -> bool:
    """Whether a file is a tar, plain or compressed, with at least one member."""
    try:
        with files.open(path) as file, _opened(file) as archive:
            return archive.next() is not None
    except (*_DAMAGED, OSError):
        return False


def unpack_archive(overlay: Overlay, there: Tree, file: BinaryIO, goal: str) -> None:
    """Unpack a tar, plain or compressed, into an existing directory.

    Args:
        overlay: the stage's files.
        there: the same, to be looked at.
        file: the tar.
        goal: the directory, without a first slash.

    Raises:
        CommitError: it is damaged, or a member's name leads out of the directory.
        OSError: as the overlay's calls.
    """
    directories: list[tuple[str, Entry]] = []
    try:
        with _opened(file) as archive:
            for member in archive:
                path = _path(there, goal, member.name)
                if path == goal:
                    continue
                make_directories(overlay, there, path.rpartition("/")[0])
                entry = _entry(member)
                _unpack(overlay, there, archive, member, entry, path, goal)
                if member.isdir():
                    directories.append((path, entry))
                archive.members.clear()  # type: ignore[attr-defined]
    except _DAMAGED as error:
        raise CommitError(f"cannot unpack the archive: {str(error)[:200]}") from None
    for path, entry in directories:
        set_time(overlay, path, entry)


class _Below:
    """The tree below a directory, its own top."""

    def __init__(self, tree: Tree, top: str) -> None:
        self._tree = tree
        self._top = top

    def _whole(self, path: str) -> str:
        return f"{self._top}/{path}".strip("/")

    def entry(self, path: str) -> Entry | None:
        return self._tree.entry(self._whole(path))

    def names(self, path: str) -> list[str]:
        return self._tree.names(self._whole(path))

    def open(self, path: str) -> BinaryIO:
        return self._tree.open(self._whole(path))


def _path(there: Tree, goal: str, name: str) -> str:
    """Where a member goes: links on the way there are followed, none out of the directory."""
    folder, _, last = inside(name).rpartition("/")
    if last == "":
        return goal
    return "/".join(part for part in (goal, resolved(_Below(there, goal), folder), last) if part)


def _entry(member: tarfile.TarInfo) -> Entry:
    kind = _KINDS.get(member.type, modes.S_IFREG)
    capability = member.pax_headers.get(_CAPABILITY, "").encode("utf-8", "surrogateescape")
    device = os.makedev(member.devmajor, member.devminor) if member.isdev() and not member.isfifo() else 0
    return Entry(
        kind | modes.S_IMODE(member.mode),
        member.uid,
        member.gid,
        member.size if kind == modes.S_IFREG else 0,
        int(member.mtime) * 10**9,
        device,
        member.linkname if member.issym() else "",
        capability=capability,
    )


def _unpack(
    overlay: Overlay,
    there: Tree,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    entry: Entry,
    path: str,
    goal: str,
) -> None:
    present = there.entry(path)
    if present is not None and not (present.is_directory and entry.is_directory):
        remove_all(overlay, f"/{path}")
        present = None
    where = f"/{path}"
    if member.islnk():
        overlay.link(f"/{_path(there, goal, member.linkname)}", where)
    elif member.isreg():
        file = archive.extractfile(member)
        assert file is not None
        with file, os.fdopen(overlay.open(where, _CREATE, 0o600), "wb") as out:
            for chunk in content(file, member.size, path):  # type: ignore[arg-type]
                out.write(chunk)
    elif entry.is_directory:
        if present is None:
            overlay.mkdir(where, 0o700)
    elif member.issym():
        overlay.symlink(entry.target, where)
    elif member.type in _KINDS:
        overlay.mknod(where, entry.mode, entry.device)
    else:
        raise CommitError(f"{escape(member.name)[:200]} is of a kind that is never unpacked")
    dress(overlay, path, entry)


def _opened(file: BinaryIO) -> tarfile.TarFile:
    """The tar in a file, whatever it is compressed by."""
    start = file.read(6)
    file.seek(0)
    plain = file
    for magic, opened in _MAGIC.items():
        if start.startswith(magic):
            plain = opened(file, "rb")  # type: ignore[operator]
    return tarfile.open(fileobj=plain, mode="r|", errors="surrogateescape")
