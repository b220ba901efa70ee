"""A tar read from a stream, entry by entry, as Go's reader takes it and with nothing of it lost.

Headers are blocks of 512 bytes (:mod:`layerscope.formats.tar.header`), extension headers before their entry's own. The
content follows, filled up to whole blocks. A block of zeros, or the end of the stream between two entries, ends the
tar; behind it a second block of zeros and then anything may come, which is kept but not looked at.

What goes by can be written down as a tar-split record. Refused is what docker refuses, or keeps but can't give back:
sparse files, a block of zeros with a header behind it.

Source: Go archive/tar reader.go; vbatts/tar-split tar/asm/disassemble.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.escape import escape
from layerscope.formats.tar.header import BLOCK, TarHeader, parse_headers
from layerscope.formats.tar.split_writer import TarSplitWriter

MAX_EXTENSION = 1 << 20
"""Longest extension header, as in Go."""
MAX_HEADERS = 8 << 20
"""Longest headers of one entry, together."""
MAX_REST = 64 << 20
"""Most bytes behind the end of the tar."""
_CHUNK = 1 << 20
_SIZE = slice(124, 136)
_TYPE = 156
ZEROS = bytes(BLOCK)


def header_blocks(read: Callable[[int], bytes], start: int, *, refuse_sparse: bool = False) -> bytes:
    """The blocks of the next entry's headers, extension headers first; a block of zeros, or nothing, at the tar's end.

    Of an entry of type ``g`` its records are included, not what fills them up to whole blocks.

    Args:
        read: gives that many bytes, fewer only at the end.
        start: where in the tar they begin, for messages.
        refuse_sparse: raise UnsupportedError for an old GNU sparse file.

    Raises:
        CorruptError: they end too early, or are longer than Go would read.
    """
    blocks = bytearray()
    position = start
    while True:
        block = read(BLOCK)
        position += len(block)
        if not block and not blocks:
            return b""
        if len(block) < BLOCK:
            raise CorruptError(f"the tar ends at byte {position}, inside of a header")
        if not blocks and block == ZEROS:
            return block
        blocks += block
        kind = block[_TYPE : _TYPE + 1]
        if kind == b"S" and refuse_sparse:
            raise UnsupportedError(f"tar entry at byte {start}: a GNU sparse file, which no engine takes in a layer")
        if kind not in b"xgLK":
            return bytes(blocks)
        size = _extension_size(block, start)
        wanted = size if kind == b"g" else size + -size % BLOCK
        body = read(wanted) if wanted else b""
        position += len(body)
        if len(body) < wanted:
            raise CorruptError(f"the tar ends at byte {position}, inside of an extension header")
        blocks += body
        if kind == b"g":
            return bytes(blocks)
        if len(blocks) > MAX_HEADERS:
            raise CorruptError(f"tar entry at byte {start}: more than {MAX_HEADERS} bytes of headers")


def _extension_size(block: bytes, start: int) -> int:
    digits = block[_SIZE].strip(b" \0")
    size = int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1
    if not 0 <= size <= MAX_EXTENSION:
        raise CorruptError(f"tar entry at byte {start}: an extension header of a size over {MAX_EXTENSION} bytes")
    return size


class TarStream:
    """The entries of a tar; iterate over it, and over :meth:`content` of an entry before asking for the next.

    Args:
        source: read in order, from where it stands to its end. Its own errors come through.
        record: gets the tar-split record; finished at the end of the tar, but not closed.
    """

    def __init__(self, source: BinaryIO, record: TarSplitWriter | None = None) -> None:
        self._source = source
        self._record = record
        self._position = 0
        self._missing = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarHeader]:
        """Every entry, also those of type ``g``, whose records are passed over.

        Raises:
            CorruptError: it is no tar, is damaged, or ends too early.
            UnsupportedError: it holds a sparse file.
        """
        while True:
            for _ in self.content():
                pass
            header = self._next_header()
            if header is None:
                break
            yield header
        self._rest()

    def content(self) -> Iterator[bytes]:
        """What is left of the present entry's content, in pieces."""
        while self._missing:
            chunk = self._source.read(min(_CHUNK, self._missing))
            self._position += len(chunk)
            if not chunk:
                raise CorruptError(
                    f"the tar ends at byte {self._position}, {self._missing} bytes before its content's end"
                )
            self._missing -= len(chunk)
            if self._record is not None:
                self._record.content(chunk)
            yield chunk
        if self._padding:
            size, self._padding = self._padding, 0
            self._raw(self._take(size))  # a tar may end inside of its last padding, as umoci's do

    # ------------------------------------------------------------------ headers
    def _next_header(self) -> TarHeader | None:
        """The next entry's header; None at the end of the tar."""
        start = self._position
        blocks = header_blocks(self._take, start, refuse_sparse=True)
        if not blocks:
            return None
        if blocks == ZEROS:
            self._end(blocks)
            return None
        return self._entry(blocks, start)

    def _entry(self, blocks: bytes, start: int) -> TarHeader:
        try:
            header = parse_headers(blocks)
        except CorruptError as error:
            what = "it is no tar, or " if not start else ""
            raise CorruptError(f"tar entry at byte {start}: {what}{error}") from None
        if header.type == "g":
            self._padding = -header.stored_size % BLOCK
        else:
            if header.size != header.stored_size:
                name = escape(header.name)[:200]
                raise UnsupportedError(f"tar entry {name}: a sparse file, which an engine can't give back from a layer")
            self._missing = header.size
            self._padding = -header.size % BLOCK
        self._raw(blocks)
        if self._record is not None:
            self._record.entry(header.name.encode("utf-8", "surrogateescape"), header.size)
        return header

    # ------------------------------------------------------------------ bytes
    def _end(self, block: bytes) -> None:
        """The end blocks: one of zeros is there, a second may be."""
        self._raw(block)
        second = self._source.read(BLOCK)
        self._position += len(second)
        if second and second != ZEROS:
            what = "a header" if len(second) == BLOCK else f"{len(second)} bytes"
            raise CorruptError(f"the tar has {what} behind a block of zeros, at byte {self._position - len(second)}")
        self._raw(second)

    def _rest(self) -> None:
        """What lies behind the end."""
        kept: list[bytes] = []
        length = 0
        while chunk := self._source.read(_CHUNK):
            length += len(chunk)
            if length > MAX_REST:
                raise CorruptError(f"more than {MAX_REST} bytes behind the end of the tar, at byte {self._position}")
            kept.append(chunk)
        self._position += length
        if self._record is not None:
            self._record.rest(b"".join(kept))
            self._record.finish()

    def _take(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        self._position += len(data)
        return data

    def _read(self, size: int, what: str) -> bytes:
        data = self._take(size)
        if len(data) < size:
            raise CorruptError(f"the tar ends at byte {self._position}, inside of {what}")
        return data

    def _raw(self, data: bytes) -> None:
        if self._record is not None:
            self._record.raw(data)
