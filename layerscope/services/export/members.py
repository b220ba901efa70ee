"""Entries of a view as the members of a tar, as docker writes them where it gives files away (``export``, ``cp``).

Whole seconds; hard links to the name that was met first; of the extended attributes only ``security.capability``; no
sockets; modes without type bits and no owner names, as from docker 24 on. What changes while it is read can't break the
tar: a file has the bytes that its header says, cut or filled up with zeros. Source: moby pkg/archive/archive.go; seen
with 20.10.24.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Mapping
from typing import BinaryIO

from layerscope.formats.tar.go_header import END, Member, header_blocks, padding
from layerscope.formats.tar.types import TYPE_OF_MODE
from layerscope.lab.layer.upper import docker_capability
from layerscope.model.problem import Problem, Severity
from layerscope.services.export.entries import CAPABILITY, ViewEntry
from layerscope.services.file.reading import size_of

_AT_ONCE = 1 << 18
"""Bytes that are written together, and that are read of a file."""
_FILE, _LINK, _SYMLINK, _FOLDER = b"0", b"1", b"2", b"5"
_DEVICES = (b"3", b"4")
_NO_XATTRS: Mapping[bytes, bytes] = {}
_KEY = CAPABILITY.encode()


class MemberWriter:
    """Writes members to ``out``, whose errors come through; ``problems`` tells what can't be read, or not whole.

    What is small is held back until there is enough to write.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._first_names: dict[tuple[int, int, int], bytes] = {}
        self.problems: list[Problem] = []

    def add(self, entry: ViewEntry) -> None:
        """Write an entry; nothing of a socket, or of what can't be read."""
        stat = entry.look.stat
        kind = TYPE_OF_MODE.get(modes.S_IFMT(stat.st_mode))
        if kind is None:
            return
        try:
            if stat.st_nlink == 1 or kind == _FOLDER:
                self._add(entry, kind)
                return
            key = entry.directory.view.file_key(entry.part.level, stat)
            first = self._first_names.get(key)
            if first is None:
                self._add(entry, kind)
                self._first_names[key] = entry.whole
            else:
                self._put(_header(entry, _LINK, linkname=first))
        except _Unreadable as error:
            self._tell(entry, str(error), "it is not in the tar")

    def end(self) -> None:
        """Write what ends a tar, and all that was held back."""
        self._put(END)
        self._write()

    def _add(self, entry: ViewEntry, kind: bytes) -> None:
        if kind == _FILE:
            content = entry.content
            size = entry.look.stat.st_size
            if content is None or len(content) != size:
                self._opened(entry)
            else:
                self._put(_header(entry, kind, size) + content + padding(size))
        else:
            self._put(_header(entry, kind, linkname=_target(entry) if kind == _SYMLINK else b""))

    def _opened(self, entry: ViewEntry) -> None:
        """A file whose bytes are read as they are written."""
        try:
            file = entry.directory.open(entry.name)
        except OSError as error:
            raise _Unreadable(error) from None
        with file:
            size = size_of(file)
            self._put(_header(entry, _FILE, size))
            fault: str | None = None
            left = size
            while left:
                wanted = min(left, _AT_ONCE)
                data = b""
                if fault is None:
                    try:
                        data = file.read(wanted)
                    except OSError as error:
                        fault = _cut_off(error)
                if len(data) < wanted:
                    fault = fault or "became shorter while it was read"
                    data = data.ljust(wanted, b"\0")
                self._put(data)
                left -= wanted
            self._put(padding(size))
            fault = fault or _more_in(file)
        if fault is not None:
            self._tell(entry, fault, "the tar has other bytes than it had")

    # ------------------------------------------------------------------ the stream
    def _put(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes >= _AT_ONCE:
            self._write()

    def _write(self) -> None:
        self._out.write(b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0

    def _tell(self, entry: ViewEntry, what: str, effect: str) -> None:
        self.problems.append(Problem(entry.path, what, effect, severity=Severity.WARNING))


class _Unreadable(Exception):
    """An entry that can't be read at all: nothing of it is written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot read: {os.strerror(error.errno or 0)}")


def _header(entry: ViewEntry, kind: bytes, size: int = 0, linkname: bytes = b"") -> bytes:
    stat = entry.look.stat
    device = stat.st_rdev if kind in _DEVICES else 0
    return header_blocks(
        Member(
            entry.whole + b"/" if kind == _FOLDER else entry.whole,
            kind,
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid,
            size,
            stat.st_mtime_ns // 1_000_000_000,
            linkname,
            b"",
            b"",
            os.major(device) if device else 0,
            os.minor(device) if device else 0,
            _xattrs(entry),
        )
    )


def _xattrs(entry: ViewEntry) -> Mapping[bytes, bytes]:
    value = entry.look.xattr
    if entry.look.content is None:
        try:
            value = entry.part.directory.xattr(CAPABILITY, entry.name)
        except OSError as error:
            raise _Unreadable(error) from None
    return _NO_XATTRS if value is None else {_KEY: docker_capability(value)}


def _target(entry: ViewEntry) -> bytes:
    try:
        return os.fsencode(entry.part.directory.readlink(entry.name))
    except OSError as error:
        raise _Unreadable(error) from None


def _more_in(file: BinaryIO) -> str | None:
    """Whether there is more than there was, or should have been."""
    try:
        return "became longer while it was read" if file.read(1) else None
    except OSError as error:
        return _cut_off(error)


def _cut_off(error: OSError) -> str:
    return f"cannot read all of it: {os.strerror(error.errno or 0)}"
