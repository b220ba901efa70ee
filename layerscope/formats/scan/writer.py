"""Writing scan files; their layout is told in :mod:`layerscope.formats.scan.file`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from itertools import groupby, islice
from typing import Any

import msgspec

from layerscope.formats.scan.file import (
    LENGTH,
    LONGEST_PATH,
    MAGIC,
    MOST_RECORD,
    MOST_TIMES,
    SKIPPED,
    SKIPPED_FRAME,
    START,
    VERSION,
    EndRecord,
    EntryRecord,
    HeaderRecord,
    LedgerRecord,
    Record,
    RowsRecord,
    SubjectRecord,
    TreeRecord,
)
from layerscope.model.scan import ScanEnd, ScanEntry, ScanHeader, ScanRow, ScanSubject, ScanTree, encoded

_ROWS_A_RECORD = 1000
_ENTRIES_A_RECORD = 200
_FRAME = 1 << 19
_LEVEL = 6

_ENCODER = msgspec.msgpack.Encoder()

if sys.version_info >= (3, 14):
    from compression import zstd

    _OPTIONS = {zstd.CompressionParameter.checksum_flag: 1, zstd.CompressionParameter.compression_level: _LEVEL}

    def _compressed(data: bytes) -> bytes:
        return zstd.compress(data, options=_OPTIONS)
else:
    import zstandard

    _COMPRESSOR = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)

    def _compressed(data: bytes) -> bytes:
        return _COMPRESSOR.compress(data)


def _text(value: str) -> bytes:
    return encoded(value)[:LONGEST_PATH]


class ScanWriter:
    """Writes a scan file through a function that takes bytes; a ``model.scan.ScanSink``. What that raises comes out."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting = bytearray()
        self._digest = hashlib.sha256()
        self._subjects: dict[ScanSubject, int] = {}

    def begin(self, header: ScanHeader, entries: Iterable[ScanEntry]) -> None:
        """The header, and the ledger in its order."""
        self._write(START.pack(SKIPPED_FRAME, START.size - 8, MAGIC, VERSION))
        self._put(
            HeaderRecord(
                host=_text(header.host),
                root=_text(header.root),
                scanned_at_ns=header.scanned_at_ns,
                store=_text(header.store),
                driver=_text(header.driver),
                drivers=list(map(_text, header.drivers)),
                engine=_text(header.engine),
                total_disk=header.total_disk,
                version=_text(header.version),
            )
        )
        iterator = iter(entries)
        while some := list(islice(iterator, _ENTRIES_A_RECORD)):
            self._put_ledger([_entry(entry) for entry in some])

    def _put_ledger(self, entries: list[EntryRecord]) -> None:
        data = _ENCODER.encode(LedgerRecord(entries))
        if len(data) > MOST_RECORD:
            half = len(entries) // 2
            self._put_ledger(entries[:half])
            self._put_ledger(entries[half:])
        else:
            self._put_data(data)

    def tree(self, tree: ScanTree, rows: Iterable[ScanRow]) -> None:
        """One tree with its rows."""
        self._put(
            TreeRecord(
                kind=_text(tree.kind),
                id=_text(tree.id),
                path=_text(tree.path),
                role=_text(tree.role),
                chain_id=_text(tree.chain_id),
                diff_id=_text(tree.diff_id),
                cache_id=_text(tree.cache_id),
                names=list(map(_text, tree.names)),
                in_root=tree.in_root,
                has_disk=tree.has_disk,
                whole=tree.whole,
            )
        )
        iterator = iter(rows)
        while some := list(islice(iterator, _ROWS_A_RECORD)):
            self._put_rows(some)

    def _put_rows(self, rows: list[ScanRow]) -> None:
        columns: Any = zip(*rows, strict=True)
        directories, names, subjects, *rest = columns
        runs = [(path, sum(1 for _ in run)) for path, run in groupby(directories)]
        numbers = [self._number(subject) for subject in subjects]
        record = RowsRecord([path for path, _ in runs], [count for _, count in runs], names, numbers, *rest)
        data = _ENCODER.encode(record)
        if len(data) > MOST_RECORD:
            half = len(rows) // 2
            self._put_rows(rows[:half])
            self._put_rows(rows[half:])
        else:
            self._put_data(data)

    def _number(self, subject: ScanSubject) -> int:
        number = self._subjects.get(subject)
        if number is None:
            number = self._subjects[subject] = len(self._subjects)
            self._put(SubjectRecord(_text(subject.category), _text(subject.owner)))
        return number

    def finish(self, end: ScanEnd) -> None:
        """The end, with the digest of all before it."""
        self._put(EndRecord(end.trees, end.rows, end.vanished, end.unreadable, self._digest.digest()))
        if self._waiting:
            self._flush()

    def _put(self, record: Record) -> None:
        self._put_data(_ENCODER.encode(record))

    def _put_data(self, data: bytes) -> None:
        framed = LENGTH.pack(len(data)) + data
        self._digest.update(framed)
        self._waiting += framed
        if len(self._waiting) >= _FRAME:
            self._flush()

    def _flush(self) -> None:
        frame = _compressed(bytes(self._waiting))
        self._write(frame)
        lacking = len(self._waiting) // MOST_TIMES - len(frame)
        if lacking > 0:
            self._write(SKIPPED.pack(SKIPPED_FRAME, lacking) + bytes(lacking))
        self._waiting.clear()


def _entry(entry: ScanEntry) -> EntryRecord:
    return EntryRecord(
        category=_text(entry.subject.category),
        owner=_text(entry.subject.owner),
        path=_text(entry.path),
        disk=entry.disk,
        apparent=entry.apparent,
        count=entry.count,
        reason=_text(entry.reason),
    )
