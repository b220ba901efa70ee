"""The files of an archive by their names, wherever it is: in a tar, compressed or not, or in a folder.

Of a tar only the headers between the files are read when it is opened (of a compressed one everything once, there is no
other way). Names are cleaned: no name leads out of the archive. Nothing is unpacked.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.blocks.source import ByteSource, Slice
from layerscope.formats.escape import escape
from layerscope.formats.tar.index import TarMember, tar_members
from layerscope.formats.tar.sparse import SparseBytes
from layerscope.hostfs import Directory
from layerscope.hostfs.block_file import BlockFile
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import Fault, list_directory

_MOST_MEMBERS = 1 << 16
_MOST_LINKS = 8
_FILES = frozenset("07S")


class File(Struct, frozen=True):
    """A file of an archive: the name under which it really lies there, its bytes, how many it should have."""

    name: str
    source: ByteSource
    size: int


class Members(Protocol):
    """The files of an archive; names have no leading slash."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the archive as a whole."""

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, without its own, sorted."""

    def folders(self) -> list[str]:
        """The folders at the top, sorted."""

    def find(self, name: str) -> File:
        """The file of a name; links inside the archive are followed.

        Raises:
            OSError: ENOENT if there is none; it can't be read.
        """


def clean(name: str) -> str:
    """A name as a path in the archive, no slash at its ends, nothing that leads out."""
    return posixpath.normpath("/" + name.lstrip("/"))[1:]


class TarMembers:
    """The files in a tar. ``doubled``: names that it has more than once; ``fault``: why it ends early ("": it doesn't).

    Members that end early can still be found.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._members: dict[str, TarMember] = {}
        self._problems: list[Problem] = []
        self.doubled: list[str] = []
        self.fault = ""
        try:
            for number, member in enumerate(tar_members(source)):
                if number >= _MOST_MEMBERS:
                    raise CorruptError(f"it has more than {_MOST_MEMBERS} members")
                self._add(member)
        except CorruptError as error:
            self.fault = str(error)
            self._problems.append(
                Problem("", f"the archive is damaged: {escape(self.fault)}", "what lies before is shown")
            )

    def _add(self, member: TarMember) -> None:
        name = member.header.path
        if ".." in member.header.name.split("/"):
            what = f"is named {escape(member.header.name)[:200]}, which leads out of the archive"
            self._problems.append(Problem(name, what, "it is taken as if it were inside", severity=Severity.WARNING))
        if name in self._members and member.header.type in _FILES:
            self.doubled.append(name)
            what = "is in the archive more than once"
            self._problems.append(Problem(name, what, "the last one counts", severity=Severity.WARNING))
        self._members[name] = member

    def __len__(self) -> int:
        return len(self._members)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the archive as a whole."""
        return tuple(self._problems)

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, without its own, sorted."""
        return sorted(self._names(f"{folder}/" if folder else ""))

    def _names(self, prefix: str) -> Iterator[str]:
        for name, member in self._members.items():
            rest = name.removeprefix(prefix)
            if name.startswith(prefix) and rest and "/" not in rest and member.header.type in _FILES:
                yield rest

    def folders(self) -> list[str]:
        """The folders at the top, sorted."""
        return sorted({name.partition("/")[0] for name in self._members if "/" in name})

    def find(self, name: str) -> File:
        """The file of a name. docker's older archives link to layers that they have twice."""
        name = clean(name)
        for _ in range(_MOST_LINKS):
            member = self._members.get(name)
            if member is None:
                break
            header = member.header
            if header.type in _FILES:
                if member.fault:
                    raise OSError(errno.EIO, member.fault, name)
                source: ByteSource = self._source
                if member.pieces is not None:
                    source = Slice(SparseBytes(source, member.pieces, header.size), 0, header.size)
                else:
                    source = Slice(source, member.offset, header.size)
                return File(name, source, header.size)
            if header.type == "2":
                name = clean(posixpath.join(posixpath.dirname(name), header.linkname))
            elif header.type == "1":
                name = clean(header.linkname)
            else:
                raise OSError(errno.EINVAL, "not a regular file", name)
        raise FileNotFoundError(errno.ENOENT, "no such member", name)


class FolderMembers:
    """The files in a folder; no link is followed."""

    problems: tuple[Problem, ...] = ()

    def __init__(self, top: Directory) -> None:
        self._top = top

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, without its own, sorted."""
        entries = list_directory(self._top.descend(folder))
        return [] if isinstance(entries, Fault) else [name for name, kind in entries if kind == "f"]

    def folders(self) -> list[str]:
        """The folders at the top, sorted."""
        entries = list_directory(self._top)
        return [] if isinstance(entries, Fault) else [name for name, kind in entries if kind == "d"]

    def find(self, name: str) -> File:
        """The file of a name."""
        name = clean(name)
        folder, _, base = name.rpartition("/")
        file = BlockFile.of(self._top.descend(folder).open(base))
        return File(name, Slice(file, 0, file.size), file.size)
