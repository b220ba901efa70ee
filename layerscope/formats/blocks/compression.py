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
from layerscope.formats.tar.header import BLOCK, is_header

_READ = 128 << 10
_PIECE = 256 << 10
_BUFFER = 1 << 20
_ZSTD_READ = 2 << 10
"""A zstd block is at most 128 KiB and at least 4 bytes: what these bytes become is at most 64 MiB."""
_XZ_MEMORY = 256 << 20


class _Decompressor(Protocol):
    """As :class:`bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to be had of what was given."""

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""

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
    form = form_of_file(start)
    if form == "plain":
        return form, as_file(_joined(start, file))
    ahead = io.BytesIO(start)
    decompression = Decompression(form, lambda _position, size: ahead.read(size) or file.read(size))
    return form, as_file(iter(decompression.piece, b""))


def form_of_file(start: bytes) -> str:
    """As :func:`form_of`, from the first 512 bytes of what may be a plain tar."""
    return "plain" if is_header(start) else form_of(start)


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

    def copy(self) -> _GzipStream:
        """One that goes on from here by itself; about 42 kB."""
        other = _GzipStream()
        other._inflater, other._rest, other._full = self._inflater.copy(), self._rest, self._full
        return other

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


class Decompression:
    """The output of one compressed stream after the other.

    Args:
        form: as :func:`form_of` tells it, but not ``plain``.
        read: gives up to that many bytes of the compressed data from that position on; b"" at their end.
    """

    def __init__(self, form: str, read: Callable[[int, int], bytes]) -> None:
        self.form = form
        self.taken = 0
        self._read = read
        self._make, self._failure, self._chunk = _FORMS[form]
        self._stream = self._make()
        self._data = b""
        self._begun = 0

    def copy(self) -> Decompression | None:
        """One that goes on from here by itself; None where that can't be had now (of gzip between two chunks only)."""
        if self._data or not isinstance(self._stream, _GzipStream):
            return None
        other = Decompression(self.form, self._read)
        other.taken, other._begun, other._stream = self.taken, self._begun, self._stream.copy()
        return other

    def piece(self) -> bytes:
        """The next bytes of the output, b"" at its end.

        Raises:
            CorruptError: the data is damaged, ends too early or is followed by something else.
        """
        while True:
            if not self._data and (self._stream.needs_input or self._stream.eof):
                self._data = self._read(self.taken, self._chunk)
                self.taken += len(self._data)
                if not self._data:
                    if self._stream.eof:
                        return b""
                    what = f"the {self.form} data ends after {self.taken} bytes, before the end of its last stream"
                    raise CorruptError(what)
            if self._stream.eof:
                self._begun = self.taken - len(self._data)
                _check_start(self._data, self.form, self._begun)
                self._stream = self._make()
            try:
                piece = self._stream.decompress(self._data, _PIECE)
            except (self._failure, EOFError) as error:
                raise CorruptError(f"damaged {self.form} data in or after byte {self._begun}: {error}") from None
            self._data = self._stream.unused_data if self._stream.eof else b""
            if piece:
                return piece


def _check_start(data: bytes, form: str, position: int) -> None:
    """Only a further stream of the same form may follow; a start that is cut off is left to the decompressor."""
    magic = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}.get(form, b"")
    if data[: len(magic)] != magic[: len(data)]:
        raise CorruptError(f"something that is no {form} data follows at byte {position}")


if sys.version_info >= (3, 14):
    from compression import zstd

    _new_zstd: Callable[[], _Decompressor] = zstd.ZstdDecompressor
    _ZSTD_ERROR: type[Exception] = zstd.ZstdError
    _ZSTD_CHUNK = _READ
else:
    import zstandard

    class _Frame:
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

    _new_zstd = _Frame
    _ZSTD_ERROR = zstandard.ZstdError
    _ZSTD_CHUNK = _ZSTD_READ


def _new_xz() -> _Decompressor:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


_FORMS: dict[str, tuple[Callable[[], _Decompressor], type[Exception], int]] = {
    "gzip": (_GzipStream, zlib.error, _READ),
    "zstd": (_new_zstd, _ZSTD_ERROR, _ZSTD_CHUNK),
    "bzip2": (bz2.BZ2Decompressor, OSError, _READ),
    "xz": (_new_xz, lzma.LZMAError, _READ),
}
