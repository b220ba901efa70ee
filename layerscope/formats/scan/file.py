"""Scan files: what ``layerscope scan`` writes and ``layerscope diff-scan`` reads.

A scan file is made of zstd frames (RFC 8878), so ``zstd -dc FILE`` gives the records:

| bytes | what |
| --- | --- |
| 4 | ``5c 2a 4d 18``: a frame that decompressors skip |
| 4 | its length, 18, little endian |
| 16 | ``layerscope scan`` and a newline |
| 2 | version of the format, little endian: 1 |
| … | zstd frames with checksums; decompressed they are the records, one after the other |

Nothing becomes more than 400 times as long: where it would, a further frame to skip makes up for that. So a reader may
give up a file that is made to fill memory or time.

A record is four bytes of length (little endian, at most 1 MiB), then that much MessagePack: an array whose first
element is the record's letter. Texts are byte strings, as they are stored; an absent one is empty. Sizes are bytes,
times nanoseconds since 1970. Later versions may append elements to any array; readers pass over those they don't know.

| letter | elements | how many |
| --- | --- | --- |
| ``H`` | host, root, time, store, driver, [driver…], engine, total disk or nil, version of layerscope | one, first |
| ``L`` | a list of ledger entries, each: class, owner, path, disk, apparent, count, reason | any |
| ``S`` | class, owner: a subject, to which rows refer by its number, from 0 | any, before its first use |
| ``T`` | kind, id, path, role, chain ID, diff ID, cache ID, [name…], in root, has disk, whole tree | one a tree |
| ``R`` | columns of rows of that tree, below | any |
| ``E`` | trees, rows, vanished, unreadable, SHA-256 of all records before this one with their lengths | one, last |

Columns of ``R``: directories, how many rows each has, then for all rows name, subject, mode, uid, gid, size, disk,
modification time, links, device number, mark (0 none, 1 whiteout, 2 opaque), symlink target. A tree has a row for its
own top, without directory and name.

Ledger entries are ordered by the owner's kind, owner, class and path; trees by kind (roots first) and id; rows by the
components of their directory, then by name; everything by bytes, nothing twice. So two scans are compared in one pass
over both, whatever their size. What the fields mean is told in ``layerscope.model.scan``.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

MAGIC = b"layerscope scan\n"
VERSION = 1
SKIPPED_FRAME = 0x184D2A5C
SKIPPED = struct.Struct("<II")
START = struct.Struct("<II16sH")
LENGTH = struct.Struct("<I")
MOST_RECORD = 1 << 20
LONGEST_PATH = 1 << 16
"""Bytes of a path; what lies deeper isn't scanned."""
MOST_TIMES, ALWAYS = 400, 4 << 20
"""What a file may become: so many times its own length, and that many bytes in any case."""
TOP = 1 << 63

Whole = Annotated[int, msgspec.Meta(ge=0, le=TOP - 1)]


class Record(msgspec.Struct, array_like=True):
    """A record is an array; elements behind the known ones are passed over."""


class HeaderRecord(Record, tag="H"):
    """Where and when."""

    host: bytes
    root: bytes
    scanned_at_ns: Whole
    store: bytes
    driver: bytes
    drivers: list[bytes]
    engine: bytes
    total_disk: Whole | None
    version: bytes


class EntryRecord(Record):
    """One entry of a ledger."""

    category: bytes
    owner: bytes
    path: bytes
    disk: int
    apparent: int
    count: int
    reason: bytes


class LedgerRecord(Record, tag="L"):
    """Some entries of the ledger."""

    entries: list[EntryRecord]


class SubjectRecord(Record, tag="S"):
    """Whose rows are, by number."""

    category: bytes
    owner: bytes


class TreeRecord(Record, tag="T"):
    """One tree."""

    kind: bytes
    id: bytes
    path: bytes
    role: bytes
    chain_id: bytes
    diff_id: bytes
    cache_id: bytes
    names: list[bytes]
    in_root: bool
    has_disk: bool
    whole: bool


class RowsRecord(Record, tag="R"):
    """Columns of some rows."""

    directories: list[bytes]
    counts: list[int]
    name: list[bytes]
    subject: list[int]
    mode: list[int]
    uid: list[int]
    gid: list[int]
    size: list[int]
    disk: list[int]
    mtime_ns: list[int]
    links: list[int]
    device: list[int]
    mark: list[int]
    target: list[bytes]


class EndRecord(Record, tag="E"):
    """The end."""

    trees: Whole
    rows: Whole
    vanished: Whole
    unreadable: Whole
    digest: bytes


AnyRecord = HeaderRecord | LedgerRecord | SubjectRecord | TreeRecord | RowsRecord | EndRecord
