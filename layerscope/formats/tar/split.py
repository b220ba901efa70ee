"""``tar-split.json.gz``: what docker keeps of a layer's tar, all of it but the files' contents.

gzip over one JSON object a line, in the order of the tar::

    type      2 = segment: raw bytes of the tar; 1 = file: one entry of the tar, after its header
    name      type 1: the entry's name exactly as the tar has it (left out where it isn't UTF-8)
    name_raw  type 1: base64 of a name that isn't UTF-8
    size      type 1: bytes of content that belong here (left out if 0)
    payload   type 2: base64 of the bytes; type 1: base64 of the content's CRC-64, 8 bytes big-endian, null if size 0
    position  line number from 0 (not looked at, as docker doesn't)

Segments and contents put together are the tar, whose SHA-256 is the diff ID. A segment holds the padding of the content
before it and all headers of the entry after it; the last ones hold the end blocks, and may be empty.

Source: vbatts/tar-split tar/storage/entry.go, tar/asm; seen with docker 20.10.24, 26.1.5, 28.5.2, 29.7.2.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Annotated, BinaryIO, NamedTuple

import msgspec

from layerscope.errors import CorruptError
from layerscope.formats.tar.header import BLOCK, WITHOUT_CONTENT, TarHeader, parse_headers

__all__ = ["FileEntry", "Segment", "TarHeader", "headers", "read_entries", "reassemble"]

MAX_BYTES = 4 << 30
"""Largest text read, in bytes after decompression: some five million entries."""
MAX_LINE = 32 << 20
MAX_HEADERS = 32 << 20
"""Largest headers of one entry: 20.10 and before keep everything behind the last entry in one segment."""
MAX_NAME = 64 << 10
"""Characters."""
_CHUNK = 256 << 10
_MOST_MEMBERS = 10_000
"""Docker writes one; each more costs a copy of what was read behind it."""

_SEGMENT = 2
_FILE = 1
_Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Segment(NamedTuple):
    """Raw bytes of the tar."""

    payload: bytes


class FileEntry(NamedTuple):
    """The place of one entry's content in the tar.

    ``name`` is as recorded, decoded with surrogateescape; it may begin with a slash or hold ``..``, but no NUL.
    ``size`` is in bytes. ``crc64`` is None where none is kept (no content).
    """

    name: str
    size: int
    crc64: int | None


class _Line(msgspec.Struct):
    type: int
    name: str | None = None
    name_raw: bytes | None = None
    size: _Size = 0
    payload: bytes | None = None


_DECODER = msgspec.json.Decoder(_Line)


def read_entries(stream: BinaryIO, *, max_bytes: int = MAX_BYTES) -> Iterator[Segment | FileEntry]:
    """Segments and file entries in the order of the tar.

    Args:
        stream: the compressed file, read from where it stands to its end.
        max_bytes: the largest text that is read, decompressed.

    Raises:
        CorruptError: with the line's number (from 1); what was given before it is good.
    """
    for number, text in enumerate(_lines(stream, max_bytes), start=1):
        try:
            line = _DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
            raise CorruptError(f"tar-split line {number}: {_reason(error)}, expected a JSON entry") from None
        if line.type == _SEGMENT:
            yield Segment(line.payload or b"")
        elif line.type == _FILE:
            yield _file_entry(line, number)
        else:
            raise CorruptError(f"tar-split line {number}: type {line.type}, expected 1 (file) or 2 (segment)")


def headers(stream: BinaryIO, *, max_bytes: int = MAX_BYTES) -> Iterator[TarHeader]:
    """Every entry of the layer with its metadata, in the order of the tar, without reading the layer.

    Global PAX headers are left out: docker ignores their records.

    Raises:
        CorruptError: the text is damaged, or the headers in it are; what was given before it is good.
    """
    raw = bytearray()
    padding = 0
    for number, entry in enumerate(read_entries(stream, max_bytes=max_bytes), start=1):
        if isinstance(entry, Segment):
            # Only what lies before a further entry is needed, and the end of a tar may be followed by anything.
            if len(raw) <= MAX_HEADERS:
                raw += entry.payload
            continue
        if len(raw) > MAX_HEADERS:
            raise CorruptError(f"tar-split line {number}: more than {MAX_HEADERS} bytes of headers before one entry")
        try:
            header = parse_headers(bytes(raw[padding:]))
        except CorruptError as error:
            raise CorruptError(f"tar-split line {number}, headers of {entry.name!a:.200}: {error}") from None
        if entry.size != header.size and header.type not in WITHOUT_CONTENT:
            raise CorruptError(f"tar-split line {number}: size {entry.size}, but the header says {header.size}")
        padding = -header.stored_size % BLOCK
        raw.clear()
        if header.type != "g":
            yield header


def reassemble(
    stream: BinaryIO, open_file: Callable[[str, int], BinaryIO], *, max_bytes: int = MAX_BYTES
) -> Iterator[bytes]:
    """The layer's tar, piece by piece; its SHA-256 is the diff ID if nothing was changed.

    Args:
        stream: the compressed file.
        open_file: gives the content of an entry, by its name as recorded and its size. It must not leave the layer,
            whatever the name is. What it returns is closed here. Its own errors come through.
        max_bytes: the largest text that is read, decompressed.

    Raises:
        CorruptError: the text is damaged, or a file is shorter or longer than recorded.
    """
    for entry in read_entries(stream, max_bytes=max_bytes):
        if isinstance(entry, Segment):
            yield entry.payload
        elif entry.size > 0:
            with open_file(entry.name, entry.size) as file:
                missing = entry.size
                while missing and (chunk := file.read(min(_CHUNK, missing))):
                    missing -= len(chunk)
                    yield chunk
                if missing or file.read(1):
                    found = f"{entry.size - missing} bytes" if missing else "more"
                    raise CorruptError(f"layer file {entry.name!a:.200}: {found}, expected {entry.size} bytes")


def _file_entry(line: _Line, number: int) -> FileEntry:
    name = (line.name or "") if line.name_raw is None else line.name_raw.decode("utf-8", "surrogateescape")
    if len(name) > MAX_NAME or "\0" in name:
        what = "a NUL inside of it" if len(name) <= MAX_NAME else f"{len(name)} characters, expected at most {MAX_NAME}"
        raise CorruptError(f"tar-split line {number}: the name has {what}")
    if line.payload is not None and len(line.payload) not in (0, 8):
        raise CorruptError(f"tar-split line {number}: a CRC of {len(line.payload)} bytes, expected 8")
    crc64 = int.from_bytes(line.payload, "big") if line.payload else None
    return FileEntry(name, line.size, crc64)


def _lines(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """The text's lines without their newlines; the last one needs none."""
    begun: list[bytes] = []
    length = 0
    for chunk in _inflate(stream, max_bytes):
        *ends, rest = chunk.split(b"\n")
        if ends:
            begun.append(ends[0])
            ends[0] = b"".join(begun)
            yield from ends
            begun.clear()
            length = 0
        begun.append(rest)
        length += len(rest)
        if length > MAX_LINE:
            raise CorruptError(f"tar-split: a line of more than {MAX_LINE} bytes")
    if length:
        yield b"".join(begun)


def _inflate(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """The decompressed text in pieces of at most ``_CHUNK`` bytes, one gzip member after the other."""
    inflater = zlib.decompressobj(wbits=31)
    read = written = 0
    members = 1
    data = b""
    while data or (data := stream.read(_CHUNK)):
        if inflater.eof:
            members += 1
            if members > _MOST_MEMBERS:
                raise CorruptError(f"tar-split: more than {_MOST_MEMBERS} gzip members, of which docker writes one")
            inflater = zlib.decompressobj(wbits=31)
        try:
            piece = inflater.decompress(data, _CHUNK)
        except zlib.error as error:
            raise CorruptError(f"tar-split: damaged gzip data in or after byte {read} ({error})") from None
        rest = inflater.unused_data or inflater.unconsumed_tail
        read += len(data) - len(rest)
        written += len(piece)
        if max(read, written) > max_bytes:
            raise CorruptError(f"tar-split: more than {max_bytes} bytes of text")
        if piece:
            yield piece
        data = rest
    if not inflater.eof:
        raise CorruptError(f"tar-split: the gzip data ends after {read} bytes, before its last block")


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200].replace("\n", " ")
