"""The headers of a layer's tar as its record has them, in brief: only what an inode can be compared with, and quicker.

Most entries have one plain block (:mod:`layerscope.formats.tar.header` has the layout), whose numbers repeat; those are
read here. Everything else goes to the whole parser. A plain block's checksum isn't looked at: a changed header changes
the digest of the tar.
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from layerscope.errors import CorruptError
from layerscope.formats.tar.header import BLOCK, WITHOUT_CONTENT, TarHeader, parse_headers
from layerscope.formats.tar.split import MAX_HEADERS, FileEntry, Segment

_PLAIN = struct.Struct("100s8s8s8s12s12s8x1s100s8s64x8s8s155s12x")
_MAGIC = b"ustar\x0000"
_GNU_MAGIC = b"ustar  \x00"
_TYPES = {bytes((letter,)): chr(letter) for letter in b"0123456"}
_NO_XATTRS: dict[str, bytes] = {}
_MOST_NUMBERS = 4096


class BriefHeader(NamedTuple):
    """One entry. ``path`` as :attr:`TarHeader.path`, ``mode`` the twelve lower bits, the rest as in TarHeader."""

    path: str
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    linkname: str
    devmajor: int
    devminor: int
    xattrs: dict[str, bytes]


def brief_headers(entries: Iterable[Segment | FileEntry], damaged: Callable[[str, str], None]) -> Iterator[BriefHeader]:
    """Every entry of the tar, in its order, but global records.

    Args:
        entries: the record.
        damaged: told the name of an entry whose headers can't be understood, and why; the next one may be good.

    Raises:
        CorruptError: the record is damaged; what was given before it is good.
    """
    numbers: dict[bytes, int] = {}
    raw: bytes | bytearray = b""
    padding = 0
    for entry in entries:
        if isinstance(entry, Segment):
            # A tar may be followed by anything, in one segment or many; headers can't be that long.
            if not raw:
                raw = entry.payload
            elif len(raw) <= MAX_HEADERS:
                raw = raw if isinstance(raw, bytearray) else bytearray(raw)
                raw += entry.payload
            continue
        block = _plain(raw, padding, numbers) if len(raw) == padding + BLOCK else None
        if block is None:
            try:
                header = _whole(bytes(raw[padding:]), entry)
            except CorruptError as error:
                damaged(entry.name, str(error))
                padding, raw = -entry.size % BLOCK, b""
                continue
            padding = -header.stored_size % BLOCK
            raw = b""
            if header.type != "g":
                yield brief(header)
            continue
        if entry.size != block.size:
            damaged(entry.name, f"size {block.size}, expected {entry.size}")
        padding = -entry.size % BLOCK
        raw = b""
        yield block


def _plain(raw: bytes | bytearray, start: int, numbers: dict[bytes, int]) -> BriefHeader | None:
    """A block that needs no further headers; None for any other."""
    fields = _PLAIN.unpack_from(raw, start)
    name, mode, uid, gid, size, mtime, letter, link, magic, major, minor, prefix = fields
    kind = _TYPES.get(letter)
    if kind is None or (kind == "0" and raw[start + 99 : start + 100] == b"/"):
        return None
    if magic != _MAGIC and (magic != _GNU_MAGIC or prefix[0] or prefix[12]):  # GNU keeps two times where a prefix is
        return None
    try:
        if len(numbers) > _MOST_NUMBERS:
            numbers.clear()
        values = []
        for field in (mode, uid, gid):
            value = numbers.get(field)
            if value is None:
                value = numbers[field] = _octal(field)
            values.append(value)
        length, seconds = _octal(size), _octal(mtime)
        devmajor, devminor = (_octal(major), _octal(minor)) if kind in "34" else (0, 0)
        path = name.partition(b"\0")[0].decode()
        if prefix[0]:
            path = prefix.partition(b"\0")[0].decode() + "/" + path
    except ValueError:
        return None
    linkname = link.partition(b"\0")[0].decode("utf-8", "surrogateescape") if link[0] else ""
    path = path.removeprefix("./")
    if "/." in path or "//" in path or path[:1] in (".", "/") or not path:
        path = posixpath.normpath("/" + path.lstrip("/"))[1:]
    elif path[-1] == "/":
        path = path[:-1]
    if kind in WITHOUT_CONTENT:
        length = 0
    seconds *= 1_000_000_000
    return BriefHeader(
        path, kind, values[0] & 0o7777, values[1], values[2], length, seconds, linkname, devmajor, devminor, _NO_XATTRS
    )


def _octal(field: bytes) -> int:
    """A number with a NUL behind it; ValueError for any other form."""
    digits = field[:-1]
    if field[-1] or not digits.isdigit():
        raise ValueError
    return int(digits, 8)


def _whole(raw: bytes, entry: FileEntry) -> TarHeader:
    if len(raw) > MAX_HEADERS:
        raise CorruptError(f"more than {MAX_HEADERS} bytes of headers before it")
    header = parse_headers(raw)
    if entry.size != header.size and header.type not in WITHOUT_CONTENT:
        raise CorruptError(f"size {header.size}, expected {entry.size}")
    return header


def brief(header: TarHeader) -> BriefHeader:
    """What is compared of a whole header."""
    return BriefHeader(
        header.path,
        header.type if header.type not in "7S" else "0",
        header.permissions,
        header.uid,
        header.gid,
        header.size,
        header.mtime_ns,
        header.linkname,
        header.devmajor,
        header.devminor,
        header.xattrs,
    )
