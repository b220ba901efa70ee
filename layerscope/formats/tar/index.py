"""Where the entries of a tar lie in it: their headers and the offsets of their contents, which are passed over.

How headers are grouped: :mod:`layerscope.formats.tar.stream`.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.blocks.source import ByteSource
from layerscope.formats.escape import escape
from layerscope.formats.tar.header import BLOCK, TarHeader, parse_headers
from layerscope.formats.tar.sparse import Piece, old_pieces, pax_pieces, placed
from layerscope.formats.tar.stream import ZEROS, header_blocks

_AHEAD = 8 << 10


class TarMember(Struct, frozen=True):
    """An entry: its header, and where the ``header.stored_size`` bytes of its content begin in the tar.

    ``pieces``: where the bytes of a sparse file are. ``fault``: why its content can't be read, "" if it can.
    """

    header: TarHeader
    offset: int
    pieces: tuple[Piece, ...] | None = None
    fault: str = ""


def tar_members(source: ByteSource) -> Iterator[TarMember]:
    """Every entry of a tar in its order, but records for all that follow (type ``g``); contents aren't read.

    Raises:
        CorruptError: the tar is damaged or ends too early. What came before is good, only the content of the last
            entry may end early.
        OSError: it can't be read.
    """
    reader = _Reader(source)
    while True:
        start = reader.position
        try:
            blocks = header_blocks(reader.read, start)
        except CorruptError as error:
            raise CorruptError(f"it is no tar, or {error}" if not start else str(error)) from None
        if not blocks or blocks == ZEROS:
            return
        try:
            header = parse_headers(blocks)
            if header.type == "g":
                reader.position += -header.stored_size % BLOCK
                continue
            member = _member(header, blocks, reader)
        except CorruptError as error:
            what = "it is no tar, or " if not start else ""
            raise CorruptError(f"tar entry at byte {start}: {what}{error}") from None
        yield member
        end = member.offset + member.header.stored_size
        if end > member.offset and not reader.reaches(end):
            raise CorruptError(f"it ends inside of {escape(member.header.name)[:200]}")
        reader.position = end + -member.header.stored_size % BLOCK


class _Reader:
    """A source that is read forwards only, headers of small files several at a time."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.position = 0
        self._ahead = b""
        self._end = 0

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        behind = self._end - self.position
        if behind < size:
            self._ahead = self._ahead[-behind:] if behind > 0 else b""
            self._end = max(self._end, self.position)
            # What lies ahead may be damaged: only what is asked for must be there.
            while len(self._ahead) < size and (more := self.source.read_at(self._end, max(size, _AHEAD))):
                self._ahead += more
                self._end += len(more)
            behind = len(self._ahead)
        start = len(self._ahead) - behind
        data = self._ahead[start : start + size]
        self.position += len(data)
        return data

    def reaches(self, end: int) -> bool:
        """Whether there are that many bytes."""
        if self.source.size is None:
            return end <= self._end or bool(self.source.read_at(end - 1, 1))
        return end <= self.source.size


def _member(header: TarHeader, blocks: bytes, reader: _Reader) -> TarMember:
    if header.type == "S":
        size, pairs = old_pieces(blocks[-BLOCK:], reader.read)
        pieces = placed(pairs, size, reader.position, header.stored_size)
        return TarMember(header._replace(size=size), reader.position, pieces)
    start = reader.position
    if header.size == header.stored_size and "GNU.sparse.major" not in header.pax:
        return TarMember(header, start)
    try:
        map_size, pairs = pax_pieces(header, reader.source, start)
        pieces = placed(pairs, header.size, start + map_size, header.stored_size - map_size)
    except CorruptError as error:
        return TarMember(header, start, fault=str(error))
    return TarMember(header, start, pieces)
