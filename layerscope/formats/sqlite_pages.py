"""The state of an SQLite database file, with what its write-ahead log adds, as bytes that can be read from memory.

Opening the file itself would take locks and could make ``-wal`` and ``-shm`` files beside it.

Layout (big-endian, but for the log's checksums, whose byte order its magic number tells)::

    database  100 bytes  header: "SQLite format 3\\0", page size u16 (1 = 65536), write version u8, read version u8
                         (1 = rollback journal, 2 = write-ahead log), …, pages u32 at 28
    log        32 bytes  header: magic u32 (0x377f0682, 0x377f0683: checksums big-endian), version u32 = 3007000,
                         page size u32, checkpoint u32, salt u32 x 2, checksum u32 x 2
    frame      24 bytes  page number u32, pages of the database behind a commit u32 (else 0), salt u32 x 2 (those of
                         the header, else it is of an older log), checksum u32 x 2; then the page
    checksum             over the first 24 bytes of the header, then the first 8 of each frame and its page, chained

Only frames up to the last commit count. Source: sqlite.org fileformat2.html, sections 1.3 and 4; walformat.html.
"""

from __future__ import annotations

import struct

from layerscope.errors import CorruptError

_MAGIC = b"SQLite format 3\0"
_NO_LOG = b"\1\1"
_WAL_MAGIC = 0x377F0682
_WAL_VERSION = 3007000
_WAL_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_MASK = 0xFFFFFFFF


def current_state(database: bytes, log: bytes | None = None) -> bytes | bytearray:
    """``database`` with the committed pages of ``log``, marked as one that has no log; itself where that is the same.

    A log that is damaged, or of another database, counts as far as its checksums hold.

    Raises:
        CorruptError: ``database`` isn't an SQLite file.
    """
    if len(database) < 100 or not database.startswith(_MAGIC):
        raise CorruptError(f"SQLite database: {len(database)} bytes, expected a header that begins with {_MAGIC!r}")
    size = struct.unpack_from(">H", database, 16)[0]
    page_size = 65536 if size == 1 else size
    if page_size < 512 or page_size & (page_size - 1):
        raise CorruptError(f"SQLite database: page size {page_size} at offset 16, expected a power of two from 512 on")
    if not log and database[18:20] == _NO_LOG:
        return database
    state = bytearray(database)
    if log:
        _apply(state, log, page_size)
    state[18:20] = _NO_LOG
    return state


def _apply(state: bytearray, log: bytes, page_size: int) -> None:
    """Write the log's committed pages into ``state``."""
    if len(log) < _WAL_HEADER.size:
        return
    magic, version, log_page_size, _checkpoint, salt_1, salt_2, sum_1, sum_2 = _WAL_HEADER.unpack_from(log)
    if magic & ~1 != _WAL_MAGIC or version != _WAL_VERSION or log_page_size != page_size:
        return
    order = ">" if magic & 1 else "<"
    running = _checksum(log[:24], (0, 0), order)
    if running != (sum_1, sum_2):
        return
    pages: dict[int, int] = {}
    committed: dict[int, int] = {}
    most = (len(state) + len(log)) // page_size
    length = 0
    place = _WAL_HEADER.size
    while place + _FRAME.size + page_size <= len(log):
        number, after, own_1, own_2, sum_1, sum_2 = _FRAME.unpack_from(log, place)
        page = place + _FRAME.size
        running = _checksum(log[place : place + 8] + log[page : page + page_size], running, order)
        if (own_1, own_2) != (salt_1, salt_2) or running != (sum_1, sum_2) or not 0 < number <= most:
            break
        pages[number] = page
        if after:
            committed.update(pages)
            pages.clear()
            length = min(after, most)
        place = page + page_size
    if not length:
        return
    del state[length * page_size :]
    state.extend(bytes(length * page_size - len(state)))
    for number, page in committed.items():
        if number <= length:
            state[(number - 1) * page_size : number * page_size] = log[page : page + page_size]


def _checksum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    """The chained checksum: two sums over pairs of 32-bit numbers."""
    first, second = start
    numbers = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
