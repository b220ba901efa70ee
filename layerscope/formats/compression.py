"""The bytes of a file that may be compressed, by what it begins with: gzip, zstd, bzip2, xz, or none of them.

A plain tar whose first name begins like one of the others is known by its header's checksum. Several compressed streams
in a row are one; anything else behind a stream is an error, and so is an end before the
stream's own. Memory stays small whatever the ratio: output comes in pieces.

| begins with (hexadecimal) | form |
| --- | --- |
| 1f 8b | gzip |
| 28 b5 2f fd, or 5x 2a 4d 18 (a frame to skip) | zstd |
| 42 5a 68 | bzip2 |
| fd 37 7a 58 5a 00 | xz |

Source: RFC 1952, RFC 8878, moby pkg/archive/archive.go ``DetectCompression``.
"""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from layerscope.errors import CorruptError
from layerscope.formats.tarheader import BLOCK, is_header

_READ = 128 << 10
_PIECE = 256 << 10
_BUFFER = 1 << 20
_ZSTD_READ = 2 << 10
"""A zstd block is at most 128 KiB and at least 4 bytes: what these bytes become is at most 64 MiB."""
_XZ_MEMORY = 256 << 20


class _Decompressor(Protocol):
    """As :class:`bz2.BZ2Decompressor`."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Some of the output."""


def form_of(start: bytes) -> str:
    """``gzip``, ``zstd``, ``bzip2``, ``xz`` or ``plain``, from the first six bytes."""
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start.startswith(b"\x28\xb5\x2f\xfd") or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50):
        return "zstd"
    if start.startswith(b"BZh"):
        return "bzip2"
    return "xz" if start.startswith(b"\xfd7zXZ\0") else "plain"


def decompressed(file: BinaryIO) -> tuple[str, BinaryIO]:
    """The form of ``file``, read from where it stands, and its bytes, decompressed, to be read to the end.

    Reading raises CorruptError if the data is damaged, ends too early or is followed by something else.
    """
    start = file.read(BLOCK)
    while len(start) < BLOCK and (more := file.read(BLOCK - len(start))):
        start += more
    form = "plain" if is_header(start) else form_of(start)
    joined = _joined(start, file)
    if form == "gzip":
        pieces = _streams(_GzipStream, joined, form, zlib.error)
    elif form == "zstd":
        pieces = _zstd(joined)
    elif form == "bzip2":
        pieces = _streams(bz2.BZ2Decompressor, joined, form, OSError)
    elif form == "xz":
        pieces = _streams(lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), joined, form, lzma.LZMAError)
    else:
        pieces = joined
    return form, as_file(pieces)


def as_file(pieces: Iterator[bytes]) -> BinaryIO:
    """A stream of bytes as a file, to be read once."""
    return io.BufferedReader(_Pieces(pieces), _BUFFER)


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class _GzipStream:
    """One gzip member, in the form of the other decompressors."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)
        self._rest = b""
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not (self._rest or self._full or self._inflater.eof)

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inflater.decompress(self._rest + data, max_length)
        self._rest = self._inflater.unconsumed_tail
        # All input may be taken in while output is still held back.
        self._full = 0 <= max_length <= len(out)
        return out


def _joined(start: bytes, file: BinaryIO) -> Iterator[bytes]:
    if start:
        yield start
    while chunk := file.read(_READ):
        yield chunk


def _streams(make: Callable[[], Any], source: Iterator[bytes], form: str, failure: type[Exception]) -> Iterator[bytes]:
    """The output of one compressed stream after the other."""
    stream: _Decompressor = make()
    done = read = 0
    for chunk in source:
        read += len(chunk)
        data = chunk
        while data or not (stream.needs_input or stream.eof):
            if stream.eof:
                _check_start(data, form, read - len(data))
                stream = make()
                done = read - len(data)
            try:
                piece = stream.decompress(data, _PIECE)
            except (failure, EOFError) as error:
                raise CorruptError(f"damaged {form} data in or after byte {done}: {error}") from None
            data = stream.unused_data if stream.eof else b""
            if piece:
                yield piece
    if not stream.eof:
        raise CorruptError(f"the {form} data ends after {read} bytes, before the end of its last stream")


def _check_start(data: bytes, form: str, position: int) -> None:
    """Only a further stream of the same form may follow; a start that is cut off is left to the decompressor."""
    magic = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}.get(form, b"")
    if data[: len(magic)] != magic[: len(data)]:
        raise CorruptError(f"something that is no {form} data follows at byte {position}")


if sys.version_info >= (3, 14):
    from compression import zstd

    def _zstd(source: Iterator[bytes]) -> Iterator[bytes]:
        return _streams(zstd.ZstdDecompressor, source, "zstd", zstd.ZstdError)

else:

    def _zstd(source: Iterator[bytes]) -> Iterator[bytes]:
        import zstandard

        class Frame:
            """One zstd frame; its output can't be asked for in pieces, so that the input must come in small ones."""

            needs_input = True

            def __init__(self) -> None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self.eof = False
                self.unused_data = b""

            def decompress(self, data: bytes, max_length: int = -1) -> bytes:
                out = self._frame.decompress(data)
                self.eof, self.unused_data = self._frame.eof, self._frame.unused_data
                return out

        small = (chunk[at : at + _ZSTD_READ] for chunk in source for at in range(0, len(chunk), _ZSTD_READ))
        return _streams(Frame, small, "zstd", zstandard.ZstdError)
