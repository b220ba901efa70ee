"""Tar headers exactly as Go's ``archive/tar`` writes them for docker: one member's blocks from a frozen value.

A member is plain USTAR whenever everything fits, so these bytes are laid out as in
:mod:`layerscope.formats.tar.header`, every number as octal digits and NUL, device numbers always there, the checksum
six digits, NUL, blank. One thing that doesn't fit turns it into PAX: an ``x`` header before it, with the records sorted
by key::

    path       name longer than 100 bytes or not ASCII. A long ASCII name is first tried as prefix and name, and if that
               works it isn't what makes the member PAX; but where another thing does, it gets its record all the same
    linkpath, uname, gname          not ASCII, or longer than 100, 32 and 32 bytes
    uid, gid, size, mtime           negative, or more than 7, 7, 11 and 11 octal digits: the field is then zero
    SCHILY.xattr.NAME               always a record, the raw bytes

The ``x`` header is named DIR/PaxHeaders.0/BASE, in ASCII, at most 100 bytes; its names and device numbers are empty.
The header after it has what fits of the texts: bytes of ASCII, cut to the field, no prefix.

Source: Go archive/tar writer.go, strconv.go, common.go, releases 1.19 to 1.27 alike.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from zlib import adler32

from layerscope.formats.tar.header import BLOCK

END = bytes(2 * BLOCK)
"""What ends a tar: docker's has nothing behind it."""

_NAME, _PREFIX, _OWNER = 100, 155, 32
_SHORT_LIMIT, _LONG_LIMIT = 1 << 21, 1 << 33
"""What 7 and 11 octal digits hold."""
_XATTR = b"SCHILY.xattr."
_PLAIN_REST = bytes(_NAME) + b"ustar\00000" + bytes(2 * _OWNER) + b"0000000\0" * 2 + bytes(_PREFIX + 12)
"""What follows the type letter of a file without any text but its name."""
_PLAIN_SUM = sum(_PLAIN_REST) + sum(b" " * 8) + ord("0")


_NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})


class Member(NamedTuple):
    """One member of a tar, its texts as bytes.

    ``name`` of a directory ends in a slash. ``type`` is the tar's letter. ``mode`` is written as it is, so type bits
    are the caller's choice; it and the device numbers fit seven octal digits. ``size`` is the number of content bytes
    that follow; ``mtime`` is in whole seconds.
    """

    name: bytes
    type: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    linkname: bytes = b""
    uname: bytes = b""
    gname: bytes = b""
    devmajor: int = 0
    devminor: int = 0
    xattrs: Mapping[bytes, bytes] = _NO_XATTRS


def header_blocks(member: Member) -> bytes:
    """The blocks of ``member``'s header, extension header included; its content comes next."""
    name, kind, mode, uid, gid, size, mtime, linkname, uname, gname, devmajor, devminor, xattrs = member
    if (
        kind == b"0"
        and len(name) <= _NAME
        and name.isascii()
        and not (linkname or uname or gname or xattrs or devmajor or devminor)
        and 0 <= uid < _SHORT_LIMIT
        and 0 <= gid < _SHORT_LIMIT
        and 0 <= size < _LONG_LIMIT
        and 0 <= mtime < _LONG_LIMIT
    ):
        return _plain_file(name, b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime))
    records, ustar = _records(member)
    if ustar:
        prefix, name = split_name(name) or (b"", name)
        return _block(member, name, linkname, uname, gname, prefix)
    body = b"".join(pax_record(key, records[key]) for key in sorted(records))
    texts = (_ascii(text) for text in (name, linkname, uname, gname))
    return _extension(name, len(body)) + body + padding(len(body)) + _block(member, *texts)


def _plain_file(name: bytes, numbers: bytes) -> bytes:
    """The block of a regular file about which there is nothing unusual: what most members are."""
    # Adler-32 has in its lower half the sum of all bytes and 1, modulo 65521, which ASCII of this length can't reach.
    total = (adler32(numbers, adler32(name)) & 0xFFFF) + _PLAIN_SUM - 1
    return b"%s%s%06o\0 0%s" % (name.ljust(_NAME, b"\0"), numbers, total, _PLAIN_REST)


def padding(size: int) -> bytes:
    """The zeros that fill the last block of ``size`` bytes of content."""
    return bytes(-size % BLOCK)


def pax_record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE`` and a newline; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if rest + len(str(length)) != length:
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name of a long ASCII name, cut at the last slash that lets both fit; None if none does."""
    if len(name) <= _NAME or not name.isascii():
        return None
    seen = len(name)
    if seen > _PREFIX + 1:
        seen = _PREFIX + 1
    elif name.endswith(b"/"):
        seen -= 1
    cut = name.rfind(b"/", 0, seen)
    rest = len(name) - cut - 1
    if cut <= 0 or cut > _PREFIX or not 0 < rest <= _NAME:
        return None
    return name[:cut], name[cut + 1 :]


def _records(member: Member) -> tuple[dict[bytes, bytes], bool]:
    """The PAX records that would be written, and whether the member can do without them."""
    records: dict[bytes, bytes] = {}
    ustar = True
    for key, text, width in (
        (b"path", member.name, _NAME),
        (b"linkpath", member.linkname, _NAME),
        (b"uname", member.uname, _OWNER),
        (b"gname", member.gname, _OWNER),
    ):
        if len(text) > width or not text.isascii():
            records[key] = text
            ustar = ustar and key == b"path" and split_name(text) is not None
    for key, number, limit in (
        (b"uid", member.uid, _SHORT_LIMIT),
        (b"gid", member.gid, _SHORT_LIMIT),
        (b"size", member.size, _LONG_LIMIT),
        (b"mtime", member.mtime, _LONG_LIMIT),
    ):
        if not 0 <= number < limit:
            records[key] = b"%d" % number
            ustar = False
    for name, value in member.xattrs.items():
        records[_XATTR + name] = value
        ustar = False
    return records, ustar


def _extension(name: bytes, size: int) -> bytes:
    """The header block of the PAX records of ``name``."""
    directory, base = posixpath.split(name)
    full = posixpath.normpath(b"/".join(part for part in (directory, b"PaxHeaders.0", base) if part))
    # normpath keeps two slashes at the front, which Go's path.Clean doesn't.
    short = _ascii(full[1:] if full.startswith(b"//") else full)[:_NAME].rstrip(b"/")
    return _sealed(_front(short, 0, 0, 0, size, 0, b"x", b"").ljust(BLOCK, b"\0"))


def _block(member: Member, name: bytes, linkname: bytes, uname: bytes, gname: bytes, prefix: bytes = b"") -> bytes:
    front = _front(name, member.mode, member.uid, member.gid, member.size, member.mtime, member.type, linkname)
    owners = _string(uname, _OWNER) + _string(gname, _OWNER)
    devices = b"%07o\0%07o\0" % (member.devmajor, member.devminor)
    return _sealed((front + owners + devices + _string(prefix, _PREFIX)).ljust(BLOCK, b"\0"))


def _front(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes, linkname: bytes) -> bytes:
    """The fields up to magic and version, the checksum blank."""
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        mode,
        uid if 0 <= uid < _SHORT_LIMIT else 0,
        gid if 0 <= gid < _SHORT_LIMIT else 0,
        size if 0 <= size < _LONG_LIMIT else 0,
        mtime if 0 <= mtime < _LONG_LIMIT else 0,
    )
    return _string(name, _NAME) + numbers + b" " * 8 + kind + _string(linkname, _NAME) + b"ustar\00000"


def _sealed(block: bytes) -> bytes:
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _string(text: bytes, width: int) -> bytes:
    """A text field: cut without a terminator. A cut that ends in slashes loses them, lest a reader see a directory."""
    cut = text[:width].ljust(width, b"\0")
    if len(text) > width and cut.endswith(b"/"):
        end = len(cut.rstrip(b"/"))
        cut = cut[:end] + b"\0" + cut[end + 1 :]
    return cut


def _ascii(text: bytes) -> bytes:
    return text if text.isascii() else bytes(byte for byte in text if byte < 0x80)
