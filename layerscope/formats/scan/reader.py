"""Reading scan files; their layout is told in :mod:`layerscope.formats.scan.file`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain, islice, repeat
from operator import lt
from typing import Any, BinaryIO

import msgspec

from layerscope.errors import CorruptError, UnsupportedError, UsageError
from layerscope.formats.blocks.compression import Decompression
from layerscope.formats.escape import escape
from layerscope.formats.scan.file import (
    ALWAYS,
    LENGTH,
    LONGEST_PATH,
    MAGIC,
    MOST_RECORD,
    MOST_TIMES,
    SKIPPED_FRAME,
    START,
    TOP,
    VERSION,
    AnyRecord,
    EndRecord,
    EntryRecord,
    HeaderRecord,
    LedgerRecord,
    RowsRecord,
    SubjectRecord,
    TreeRecord,
)
from layerscope.model.scan import (
    LAYER,
    ROOT,
    ScanEnd,
    ScanEntry,
    ScanHeader,
    ScanRow,
    ScanSubject,
    ScanTree,
    decoded,
    entry_key,
)

_MOST_SUBJECTS = 1 << 20
_NUMBERS = ("mode", "uid", "gid", "size", "disk", "links", "device", "mark")
_DECODER: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)


class ScanReader:
    """A scan file that is read through once: the header at once, then the ledger, then trees, each with its rows.

    Every method raises CorruptError for a file that is damaged, cut off or goes on behind its end, and OSError for one
    that can't be read. Memory stays small whatever the file says.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Begin to read ``file``; ``name`` is what it is called in messages.

        Raises:
            UsageError: it is no scan file.
            UnsupportedError: a later version of layerscope wrote it.
            CorruptError: its beginning is damaged.
        """
        self.name = escape(name)
        self._check_start(file.read(START.size))
        self._file = file
        self._data = b""
        self._at = 0
        self._taken = self._given = 0
        self._digest = hashlib.sha256()
        self._subjects: list[ScanSubject] = []
        self._trees = self._rows = 0
        self._decompression = Decompression("zstd", self._compressed)
        first = self._record()
        if not isinstance(first, HeaderRecord):
            raise self._corrupt("it doesn't begin with a header")
        self.header = _header(first)
        self.end: ScanEnd | None = None
        self._next: AnyRecord = first
        self._advance()

    def _corrupt(self, what: str) -> CorruptError:
        return CorruptError(f"cannot read the scan {self.name}: {what}; it is damaged or cut off: scan again")

    def _check_start(self, start: bytes) -> None:
        if start[:4] == b"PAR1":
            raise UsageError(
                f"{self.name} is a parquet file; diff-scan compares files that scan wrote without --format"
            )
        if len(start) < START.size or START.unpack(start)[:3] != (SKIPPED_FRAME, START.size - 8, MAGIC):
            raise UsageError(f"{self.name} is no scan file; layerscope scan -o FILE makes one")
        version = START.unpack(start)[3]
        if version != VERSION:
            raise UnsupportedError(
                f"cannot read the scan {self.name}: it has version {version} of the format, this program reads version "
                f"{VERSION}; use the layerscope that wrote it, or a newer one"
            )

    def _compressed(self, _position: int, size: int) -> bytes:
        data = self._file.read(size)
        self._taken += len(data)
        return data

    # ------------------------------------------------------------------ records
    def _bytes(self, count: int) -> bytes:
        """Exactly so many decompressed bytes."""
        while len(self._data) - self._at < count:
            piece = self._piece()
            if not piece:
                raise self._corrupt("it ends within its records")
            self._given += len(piece)
            if self._given > ALWAYS + MOST_TIMES * self._taken:
                raise self._corrupt(f"its first {self._taken} bytes become more than {MOST_TIMES} times as many")
            self._data = self._data[self._at :] + piece
            self._at = 0
        self._at += count
        return self._data[self._at - count : self._at]

    def _piece(self) -> bytes:
        try:
            return self._decompression.piece()
        except CorruptError as error:
            raise self._corrupt(str(error)) from None

    def _record(self) -> AnyRecord:
        head = self._bytes(LENGTH.size)
        length = LENGTH.unpack(head)[0]
        if length > MOST_RECORD:
            raise self._corrupt(f"a record has {length} bytes, at most {MOST_RECORD} are expected")
        data = self._bytes(length)
        try:
            record = _DECODER.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._corrupt(f"a record isn't what it should be ({escape(str(error))})") from None
        if isinstance(record, EndRecord):
            if record.digest != self._digest.digest():
                raise self._corrupt("its SHA-256 isn't the one that its end tells")
        else:
            self._digest.update(head)
            self._digest.update(data)
        return record

    def _advance(self) -> None:
        """Go to the next record that tells no owner."""
        while isinstance(record := self._record(), SubjectRecord):
            if len(self._subjects) >= _MOST_SUBJECTS:
                raise self._corrupt(f"it has more than {_MOST_SUBJECTS} owners")
            self._subjects.append(ScanSubject(decoded(record.category), decoded(record.owner)))
        self._next = record
        if isinstance(record, EndRecord):
            self._check_end(record)

    def _check_end(self, record: EndRecord) -> None:
        if self._at < len(self._data) or self._piece():
            raise self._corrupt("something follows its end")
        if (record.trees, record.rows) != (self._trees, self._rows):
            raise self._corrupt(f"it has {self._trees} trees and {self._rows} rows, its end tells other numbers")
        self.end = ScanEnd(record.trees, record.rows, record.vanished, record.unreadable)

    # ------------------------------------------------------------------ the ledger
    def entries(self) -> Iterator[ScanEntry]:
        """The ledger, in the order of ``model.scan.entry_key``; to be read before the trees."""
        last: Any = ()
        while isinstance(record := self._next, LedgerRecord):
            for one in record.entries:
                entry = _entry(one)
                key = entry_key(entry)
                if key <= last:
                    raise self._corrupt("the entries of its ledger are out of order")
                numbers = (one.disk, one.apparent, one.count)
                if min(numbers) < 0 or max(numbers) >= TOP:
                    raise self._corrupt("an entry of its ledger has an impossible size")
                last = key
                yield entry
            self._advance()

    # ------------------------------------------------------------------ trees
    def trees(self) -> Iterator[tuple[ScanTree, Iterator[ScanRow]]]:
        """Each tree with its rows, which are read before the next tree or never; behind the last :attr:`end` is known.

        Entries of the ledger that were not read are passed over.
        """
        for _ in self.entries():
            pass
        last: Any = ()
        while isinstance(record := self._next, TreeRecord):
            tree = _tree(record)
            if tree.kind not in (ROOT, LAYER) or tree.key <= last:
                raise self._corrupt("its trees are out of order")
            last = tree.key
            self._trees += 1
            self._advance()
            rows = self._tree_rows()
            yield tree, rows
            for _ in rows:
                pass
        if not isinstance(self._next, EndRecord):
            raise self._corrupt("its records are out of order")

    def _tree_rows(self) -> Iterator[ScanRow]:
        last: tuple[bytes, bytes] | None = None
        while isinstance(record := self._next, RowsRecord):
            last = self._checked(record, last)
            self._rows += len(record.name)
            directories = chain.from_iterable(map(repeat, record.directories, record.counts))
            owners = map(self._subjects.__getitem__, record.subject)
            numbers = (record.mode, record.uid, record.gid, record.size, record.disk, record.mtime_ns)
            more = (record.links, record.device, record.mark, record.target)
            yield from map(ScanRow._make, zip(directories, record.name, owners, *numbers, *more, strict=True))
            self._advance()

    def _checked(self, record: RowsRecord, last: tuple[bytes, bytes] | None) -> tuple[bytes, bytes]:
        """The key of the last row, once all of them are possible and in order."""
        count = len(record.name)
        columns = [getattr(record, name) for name in _NUMBERS]
        lengths = {count, *map(len, (record.subject, record.mtime_ns, record.target, *columns))}
        if len(lengths) > 1 or not count or len(record.directories) != len(record.counts):
            raise self._corrupt("the columns of its rows differ in length")
        if not record.counts or min(record.counts) < 1 or sum(record.counts) != count:
            raise self._corrupt("its directories have other numbers of rows")
        if min(map(min, columns)) < 0 or max(map(max, columns)) >= TOP or max(record.mark) > 2:
            raise self._corrupt("a row has an impossible number")
        if max(map(abs, record.mtime_ns)) >= TOP:
            raise self._corrupt("a row has an impossible time")
        if min(record.subject) < 0 or max(record.subject) >= len(self._subjects):
            raise self._corrupt("a row has an owner that isn't told")
        if max(map(len, chain(record.name, record.target, record.directories))) > LONGEST_PATH:
            raise self._corrupt(f"a path is longer than {LONGEST_PATH} bytes")
        if b"\0" in b"/".join(record.directories) or any(b"/" in name or b"\0" in name for name in record.name):
            raise self._corrupt("a name isn't one")
        at = 0
        for directory, rows in zip(record.directories, record.counts, strict=True):
            names = record.name[at : at + rows]
            key = directory.replace(b"/", b"\0")
            if (last is not None and (key, names[0]) <= last) or not all(map(lt, names, islice(names, 1, None))):
                raise self._corrupt("its rows are out of order")
            last = (key, names[-1])
            at += rows
        assert last is not None
        return last


def _header(record: HeaderRecord) -> ScanHeader:
    return ScanHeader(
        host=decoded(record.host),
        root=decoded(record.root),
        scanned_at_ns=record.scanned_at_ns,
        store=decoded(record.store),
        driver=decoded(record.driver),
        drivers=tuple(map(decoded, record.drivers)),
        engine=decoded(record.engine),
        total_disk=record.total_disk,
        version=decoded(record.version),
    )


def _entry(record: EntryRecord) -> ScanEntry:
    subject = ScanSubject(decoded(record.category), decoded(record.owner))
    return ScanEntry(subject, decoded(record.path), record.disk, record.apparent, record.count, decoded(record.reason))


def _tree(record: TreeRecord) -> ScanTree:
    return ScanTree(
        kind=decoded(record.kind),
        id=decoded(record.id),
        path=decoded(record.path),
        role=decoded(record.role),
        chain_id=decoded(record.chain_id),
        diff_id=decoded(record.diff_id),
        cache_id=decoded(record.cache_id),
        names=tuple(map(decoded, record.names)),
        in_root=record.in_root,
        has_disk=record.has_disk,
        whole=record.whole,
    )
