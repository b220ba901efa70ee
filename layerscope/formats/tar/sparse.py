"""Sparse files in tars: which of their bytes are stored, and where; all others are zeros.

| in an old GNU header (type ``S``) | what |
| --- | --- |
| 386, four times 24 bytes | offset and length of a stored piece, 12 octal digits each; empty: no more |
| 482 | not 0: a block with 21 more pieces follows, whose byte 504 says the same |
| 483, 12 | the real size |

A PAX sparse file has its pieces in the record ``GNU.sparse.map`` (version 0.1: ``offset,length,offset,length``), or
from version 1.0 in decimal lines (their count first, then offset and length of each) before its content, filled up to
a block. Version 0.0 repeats one key for each piece and can't be read from records that are kept by key.

Source: GNU tar manual, "Storing Sparse Files"; Go archive/tar reader.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from layerscope.errors import CorruptError
from layerscope.formats.blocks.source import ByteSource, read_fully
from layerscope.formats.tar.header import BLOCK, TarHeader, number

_MAP, _MORE, _REAL_SIZE = slice(386, 482), 482, slice(483, 495)
_PIECE_BYTES, _NUMBER_BYTES, _FURTHER = 24, 12, 21 * 24
_MOST_PIECES = 1 << 16
_MOST_DIGITS = 20


class Piece(NamedTuple):
    """Stored bytes of a sparse file: at ``offset`` of the file, ``size`` of them, at ``stored`` in the tar."""

    offset: int
    size: int
    stored: int


class SparseBytes:
    """The whole of a sparse file; a :class:`~layerscope.formats.blocks.device.BlockDevice`."""

    __slots__ = ("_pieces", "_source", "size")

    def __init__(self, source: ByteSource, pieces: Sequence[Piece], size: int) -> None:
        self._source = source
        self._pieces = pieces
        self.size = size

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``.

        Raises:
            CorruptError: stored ones aren't there.
        """
        found = bytearray(size)
        for piece in self._pieces:
            start, end = max(piece.offset, offset), min(piece.offset + piece.size, offset + size)
            if start < end:
                data = read_fully(self._source, piece.stored + start - piece.offset, end - start)
                if len(data) < end - start:
                    raise CorruptError(f"it ends before byte {end} of its {self.size}")
                found[start - offset : end - offset] = data
        return bytes(found)


def old_pieces(block: bytes, read: Callable[[int], bytes]) -> tuple[int, list[tuple[int, int]]]:
    """Real size, and offset and length of each piece, from an old GNU header and the blocks that ``read`` gives next.

    Raises:
        CorruptError: they are damaged.
    """
    size = number(block[_REAL_SIZE], "real size")
    found = _pairs(block[_MAP])
    more = block[_MORE]
    while more:
        block = read(BLOCK)
        if len(block) < BLOCK or len(found) > _MOST_PIECES:
            raise CorruptError(f"the map of a sparse file ends early, or has more than {_MOST_PIECES} pieces")
        found += _pairs(block[:_FURTHER])
        more = block[_FURTHER]
    return size, found


def _pairs(data: bytes) -> list[tuple[int, int]]:
    found = []
    for start in range(0, len(data), _PIECE_BYTES):
        offset, size = data[start : start + _NUMBER_BYTES], data[start + _NUMBER_BYTES : start + _PIECE_BYTES]
        if not offset[0] or not size[0]:
            break
        found.append((number(offset, "offset of a piece"), number(size, "size of a piece")))
    return found


def pax_pieces(header: TarHeader, source: ByteSource, start: int) -> tuple[int, list[tuple[int, int]]]:
    """How many bytes before the content are a map, and the pieces of a PAX sparse file whose content is at ``start``.

    Raises:
        CorruptError: the map is damaged, or of a version that can't be read.
    """
    text = header.pax.get("GNU.sparse.map")
    if text is not None:
        return 0, _paired(text.split(b","))
    if header.pax.get("GNU.sparse.major") != b"1":
        raise CorruptError("the map of a sparse file is of a version that can't be read")
    data = b""
    numbers: list[bytes] = []
    wanted = 1
    while len(numbers) < wanted:
        block = read_fully(source, start + len(data), min(BLOCK, header.stored_size - len(data)))
        data += block
        if len(block) < BLOCK or len(data) > _MOST_PIECES * 2 * _MOST_DIGITS:
            raise CorruptError("the map of a sparse file ends early")
        numbers = data.split(b"\n")[:-1]
        if numbers and wanted == 1:
            wanted = 1 + 2 * _decimal(numbers[0])
            if wanted > 2 * _MOST_PIECES:
                raise CorruptError(f"a sparse file of more than {_MOST_PIECES} pieces")
    return len(data), _paired(numbers[1:wanted])


def _paired(numbers: Sequence[bytes]) -> list[tuple[int, int]]:
    values = [_decimal(text) for text in numbers if text]
    if len(values) % 2 or len(values) > 2 * _MOST_PIECES:
        raise CorruptError("the map of a sparse file has an offset without a length, or too many")
    return list(zip(values[::2], values[1::2], strict=True))


def _decimal(text: bytes) -> int:
    if len(text) > _MOST_DIGITS or not text.isdigit():
        raise CorruptError(f"the map of a sparse file has {text[:40]!r} for a number")
    return int(text)


def placed(pairs: Sequence[tuple[int, int]], size: int, stored: int, there: int) -> tuple[Piece, ...]:
    """The pieces with their places in the tar, where ``there`` bytes are stored from ``stored`` on.

    Raises:
        CorruptError: they overlap, leave the file of ``size`` bytes, or are more than is stored.
    """
    found = []
    reached = 0
    at = stored
    for offset, length in pairs:
        if offset < reached or offset + length > size or at + length > stored + there:
            raise CorruptError("the map of a sparse file doesn't fit its size")
        if length:
            found.append(Piece(offset, length, at))
        reached = offset + length
        at += length
    return tuple(found)
