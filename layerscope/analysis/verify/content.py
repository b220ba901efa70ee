"""A layer's tar rebuilt from its record and its files, and hashed: the digest is the diff ID if no byte was changed.

The checksums (CRC-64) that the record has of each file name the changed one; and they find a record in which nothing
but one of them was changed, which no other check can see.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable

from fastcrc import crc64
from msgspec import Struct

from layerscope.analysis.verify.deletions import VoidableFindings
from layerscope.analysis.verify.findings import Findings
from layerscope.analysis.verify.places import Place, Places
from layerscope.formats.tar.split import FileEntry, Segment
from layerscope.formats.whiteout import NAME_PREFIX
from layerscope.hostfs import Directory
from layerscope.hostfs.folder import Folder
from layerscope.model.verdict import Finding

_TOGETHER = 256 << 10
"""Bytes hashed at once: small pieces are put together first."""
_PIECE = 1 << 20
_TOLD_EVERY = 8 << 20

Entries = Iterable[Segment | FileEntry]


class Hashed(Struct, frozen=True):
    """``computed``: None if the tar can't be rebuilt. ``size_bytes`` of it were hashed.

    ``differ``: files whose checksum isn't the recorded one, if that was asked for. ``lost``: the tar had content that
    no engine keeps: in a file with the name of a whiteout. ``deleted``: in a file that a whiteout behind it deletes.
    """

    computed: str | None
    size_bytes: int
    differ: Findings
    lost: bool = False
    deleted: bool = False


class FileReader:
    """Reads the files of a layer one after the other, in the order of its tar."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._place: Place | None = None
        self._folder: Folder | None = None

    def close(self) -> None:
        """Give the descriptor of the last directory back."""
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def read(self, name: str, size: int, take: Callable[[bytes], object]) -> str:
        """Hand the content of an entry to ``take``, at most ``size`` bytes; what is wrong with its length, or "".

        Raises:
            OSError: it isn't there, is no regular file, or can't be read.
        """
        place, last = self._places.split(name)
        if place is not self._place:
            self.close()
            self._place = place
            if isinstance(place.directory, Directory):
                self._folder = Folder(place.directory)
        if self._folder is None:
            return self._read_foreign(place, last, size, take)
        fd, length = self._folder.open(last)
        try:
            missing = size
            while missing and (data := os.read(fd, min(missing, _PIECE))):
                missing -= len(data)
                take(data)
        finally:
            os.close(fd)
        if missing:
            return f"{size - missing} bytes"
        return "" if length == size else f"{length} bytes"

    @staticmethod
    def _read_foreign(place: Place, name: str, size: int, take: Callable[[bytes], object]) -> str:
        with place.directory.open(name) as file:
            missing = size
            while missing and (data := file.read(min(missing, _PIECE))):
                missing -= len(data)
                take(data)
            if missing:
                return f"{size - missing} bytes"
            return "more bytes" if file.read(1) else ""


def hash_layer(
    entries: Entries,
    reader: FileReader,
    findings: Findings,
    *,
    checksums: bool = False,
    whole_tree: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Hashed:
    """The digest of the tar that the entries and the layer's files make.

    Args:
        entries: the record, read to its end.
        reader: gives the files.
        findings: gets what is missing or of another length.
        checksums: compute each file's, too.
        whole_tree: a whiteout deletes what came before it, in the same tar, too.
        progress: told how many bytes more were hashed, now and then.

    Raises:
        CorruptError: the record is damaged.
    """
    digest = hashlib.sha256()
    waiting: list[bytes] = []
    held = total = told = 0
    whole, lost = True, False
    differ = Findings()
    missed = VoidableFindings() if whole_tree else None
    add = waiting.append

    def take(data: bytes) -> None:
        nonlocal held
        add(data)
        held += len(data)
        if held >= _TOGETHER:
            flush()

    def flush() -> None:
        nonlocal held, total, told
        digest.update(waiting[0] if len(waiting) == 1 else b"".join(waiting))
        waiting.clear()
        total += held
        held = 0
        if total - told >= _TOLD_EVERY:
            progress(total - told)
            told = total

    read = reader.read
    for entry in entries:
        if isinstance(entry, Segment):
            take(entry.payload)
            continue
        size = entry.size
        if not size:
            if missed is not None and missed.count:
                _tell_deleted(entry.name, missed)
            continue
        running = Checksum(take) if checksums and entry.crc64 is not None else None
        try:
            wrong = read(entry.name, size, running or take)
        except OSError as error:
            whole = False
            if error.errno == errno.ENOENT and entry.name.rpartition("/")[2].startswith(NAME_PREFIX):
                lost = True
                continue
            (missed or findings).fail(shown_path(entry.name), "file", f"{size} bytes", error)
            continue
        if wrong:
            whole = False
            (missed or findings).add(shown_path(entry.name), "length", f"{size} bytes", wrong)
        elif running is not None and running.value != entry.crc64:
            differ.put(_checksums(entry, "checksum", running.value))
    flush()
    progress(total - told)
    computed = f"sha256:{digest.hexdigest()}" if whole else None
    deleted = missed is not None and missed.settle(findings)
    return Hashed(computed, total, differ, lost, deleted)


def _tell_deleted(name: str, missed: VoidableFindings) -> None:
    """If an entry is a whiteout, tell which path it deletes."""
    folder, _, last = posixpath.normpath("/" + name.lstrip("/")).rpartition("/")
    if last.startswith(NAME_PREFIX) and not last.startswith(NAME_PREFIX * 2):
        missed.deleted(f"{folder}/{last.removeprefix(NAME_PREFIX)}"[1:])


class Checksum:
    """A running CRC-64 as Go's ``hash/crc64`` has it by its table ISO, of what is handed on to ``take``."""

    __slots__ = ("_take", "value")

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self.value = 0

    def __call__(self, data: bytes) -> None:
        """Take in more bytes."""
        self.value = crc64.go_iso(data, self.value)
        self._take(data)


def name_changed_files(entries: Entries, reader: FileReader, findings: Findings) -> int:
    """Name each file whose content doesn't have its recorded checksum; how many there are.

    Raises:
        CorruptError: the record is damaged.
    """
    changed = 0
    for entry in entries:
        if isinstance(entry, Segment) or not entry.size or entry.crc64 is None:
            continue
        running = Checksum(lambda data: None)
        try:
            if reader.read(entry.name, entry.size, running):
                continue
        except OSError:
            continue
        if running.value != entry.crc64:
            changed += 1
            findings.put(_checksums(entry, "content", running.value))
    return changed


def holds_sparse_files(entries: Entries) -> bool:
    """Whether the tar had a sparse file, whose map no engine keeps: neither it nor anybody can rebuild that tar.

    Raises:
        CorruptError: the record is damaged.
    """
    return any(isinstance(entry, Segment) and b" GNU.sparse." in entry.payload for entry in entries)


def _checksums(entry: FileEntry, subject: str, found: int) -> Finding:
    return Finding(f"/{shown_path(entry.name)}", subject, f"checksum {entry.crc64 or 0:016x}", f"checksum {found:016x}")


def shown_path(name: str) -> str:
    """A name of the tar as a path in the layer, without a slash at its ends."""
    return name.removeprefix("./").strip("/")
