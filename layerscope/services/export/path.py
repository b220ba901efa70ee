"""One file or tree of a view as a tar, as ``docker cp CONTAINER:PATH -`` writes it: names begin with its last part."""

from __future__ import annotations

import os
import stat as modes
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from layerscope.errors import CommitError, CorruptError
from layerscope.formats.escape import escape
from layerscope.formats.tar_types import TYPE_OF_MODE
from layerscope.model.problem import Problem, Severity
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.view import MergedView, stat_all
from layerscope.services.file.reading import size_of


def copy_out(view: MergedView, path: str, out: BinaryIO) -> list[Problem]:
    """Write what is at ``path`` (a last symlink itself) to ``out``; what can't be read is left out and told.

    Raises:
        OSError: there is no such path.
        CommitError: a file changed while it was read; the tar is cut off.
    """
    problems: list[Problem] = []
    place = view.place(path)
    with tarfile.open(
        fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for name, directory, entry, stat in _members(place.directory, place.name):
            try:
                _write(tar, name, directory, entry, stat)
            except (OSError, CorruptError) as error:
                what = f"cannot read: {error.strerror if isinstance(error, OSError) else error}"
                problems.append(Problem(name, what, "it is not in the tar", severity=Severity.WARNING))
            tar.getmembers().clear()  # tarfile keeps every header that it writes
    return problems


_Member = tuple[str, MergedDirectory, str, os.stat_result]
"""Name in the tar, the directory that has it, its name there ("": that directory itself), its ``lstat``."""


def _members(directory: MergedDirectory, name: str) -> Iterator[_Member]:
    """Depth first, names sorted by their bytes."""
    if name:
        found = directory.lookup(name)
        if found is None:
            return
        stat = found.part.directory.stat(name)
        yield name, directory, name, stat
        if not modes.S_ISDIR(stat.st_mode):
            return
        directory = directory.child(name)
    else:
        name = directory.path.rpartition("/")[2] or "."
        yield name, directory, "", directory.stat()
    pending = [_listed(directory, name)]
    while pending:
        member = next(pending[-1], None)
        if member is None:
            pending.pop()
            continue
        yield member
        if modes.S_ISDIR(member[3].st_mode):
            pending.append(_listed(member[1].child(member[2]), member[0]))


def _listed(directory: MergedDirectory, prefix: str) -> Iterator[_Member]:
    listed = sorted(stat_all(directory), key=lambda item: os.fsencode(item[0]))
    for name, _part, _kind, stat in listed:
        yield f"{prefix}/{name}", directory, name, stat


def _write(tar: tarfile.TarFile, name: str, directory: MergedDirectory, entry: str, stat: os.stat_result) -> None:
    member = tarfile.TarInfo(name)
    kind = TYPE_OF_MODE.get(modes.S_IFMT(stat.st_mode))
    if kind is None:
        return
    member.type, member.mode = kind, modes.S_IMODE(stat.st_mode)
    member.uid, member.gid, member.mtime = stat.st_uid, stat.st_gid, stat.st_mtime_ns // 1_000_000_000
    member.devmajor, member.devminor = os.major(stat.st_rdev), os.minor(stat.st_rdev)
    if kind == tarfile.SYMTYPE:
        found = directory.lookup(entry)
        assert found is not None
        member.linkname = found.part.directory.readlink(entry)
    if kind != tarfile.REGTYPE:
        tar.addfile(member)
        return
    with directory.open(entry) as file:
        member.size = size_of(file)
        try:
            tar.addfile(member, file)
        except OSError as error:
            raise CommitError(f"cannot copy {escape(name)}: it changed while it was read ({error})") from None
