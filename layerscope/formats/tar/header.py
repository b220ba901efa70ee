"""Tar headers out of raw bytes: one entry's header with the extension headers before it, as Go's reader takes them.

A header is one block of 512 bytes; numbers are octal text, or base 256 (big-endian, two's complement) if the first
byte has its high bit set::

    0    100  name          124  12  size           257  6    magic       329  8    devmajor
    100    8  mode          136  12  mtime, s       263  2    version     337  8    devminor
    108    8  uid           148   8  checksum       265  32   uname       345  155  prefix of the name (ustar;
    116    8  gid           156   1  type           297  32   gname                 131 bytes in star, none in GNU)
                            157 100  link name

Extension headers come before the entry they are for, each with a body padded to 512: ``x`` PAX records of the entry
(``LENGTH KEY=VALUE\\n``), ``L`` and ``K`` GNU's long name and long link name. ``g`` (PAX records for all that follow)
is an entry of its own, whose records docker ignores.

Source: Go archive/tar reader.go, strconv.go, format.go, which is how docker reads layers; POSIX pax.
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from layerscope.errors import CorruptError

BLOCK = 512
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12s")
WITHOUT_CONTENT = frozenset("123456")
"""Links, devices, directories, FIFOs: no bytes follow, whatever the size field says."""
_XATTR = "SCHILY.xattr."
_SPARSE_FORMATS = frozenset({"0.0", "0.1", "1.0"})
_INT64 = 1 << 63


class TarHeader(NamedTuple):
    """One entry of a tar, with all metadata that its headers hold.

    ``name`` and ``linkname`` are as recorded (``./a``, ``dir/``), decoded with surrogateescape. ``type`` is the tar's
    letter: ``0`` file, ``1`` hard link, ``2`` symlink, ``3`` character device, ``4`` block device, ``5`` directory,
    ``6`` FIFO, ``g`` global records; ``\\0`` is given as ``0``, or ``5`` where the name ends in a slash. ``mode`` is as
    recorded (engines before 24 put the type bits in). ``size`` is the number of content bytes; ``stored_size`` that of
    the bytes that follow in the tar: fewer for a PAX sparse file, the records for a ``g``. ``pax`` has the entry's own
    records, values raw.
    """

    name: str
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    linkname: str
    uname: str
    gname: str
    devmajor: int
    devminor: int
    pax: Mapping[str, bytes]
    stored_size: int

    @property
    def path(self) -> str:
        """The name as a path in the layer: no slash at the ends, no ``.``, no way out by ``..``; "" is the top."""
        return posixpath.normpath("/" + self.name.lstrip("/"))[1:]

    @property
    def permissions(self) -> int:
        """The twelve lower bits of ``mode``."""
        return self.mode & 0o7777

    @property
    def xattrs(self) -> dict[str, bytes]:
        """Extended attributes that the records carry (``SCHILY.xattr.*``), by their own names."""
        return {key.removeprefix(_XATTR): value for key, value in self.pax.items() if key.startswith(_XATTR)}


def parse_headers(data: bytes) -> TarHeader:
    """The entry whose headers ``data`` holds, from the first extension header to the end of its own header block.

    Of a ``g`` entry the records may follow; they are passed over.

    Raises:
        CorruptError: a header is damaged, is missing, or something follows it.
    """
    records: dict[str, bytes] = {}
    long_name: bytes | None = None
    long_link: bytes | None = None
    position = 0
    while True:
        block = data[position : position + BLOCK]
        if len(block) < BLOCK:
            raise CorruptError(f"tar header at {position}: {len(block)} bytes, expected {BLOCK}")
        fields = _FIELDS.unpack(block)
        _check_sum(block, fields[6], position)
        position += BLOCK
        kind = fields[7]
        if kind not in (b"x", b"L", b"K"):
            break
        size = number(fields[4], "size")
        body = data[position : position + size] if size >= 0 else b""
        if len(body) != size:
            raise CorruptError(f"tar extension header at {position}: {len(body)} bytes follow, expected {size}")
        position += size + (-size) % BLOCK
        if kind == b"x":
            records = parse_pax(body)
        elif kind == b"L":
            long_name = body.partition(b"\0")[0]
        else:
            long_link = body.partition(b"\0")[0]
    if kind != b"g" and position != len(data):
        raise CorruptError(f"tar header: {len(data) - position} bytes follow it, expected the entry's content")
    return _merge(fields, records, long_name, long_link)


def is_header(block: bytes) -> bool:
    """Whether ``block`` is a whole header block by its checksum."""
    if len(block) != BLOCK:
        return False
    try:
        _check_sum(block, block[148:156], 0)
    except CorruptError:
        return False
    return True


def parse_pax(body: bytes) -> dict[str, bytes]:
    """The records of a PAX header, in order; a key that comes twice has its last value, an empty value takes it out.

    Raises:
        CorruptError: a record's length or form is wrong.
    """
    records: dict[str, bytes] = {}
    position = 0
    while position < len(body):
        digits = body[position : position + 20].partition(b" ")[0]
        end = position + int(digits) if digits.isdigit() else position
        start = position + len(digits) + 1
        if not start < end <= len(body) or body[end - 1 : end] != b"\n":
            raise CorruptError(f"PAX record at {position}: not LENGTH KEY=VALUE and a newline")
        key, equals, value = body[start : end - 1].partition(b"=")
        if not key or not equals:
            raise CorruptError(f"PAX record at {position}: no KEY= in it")
        name = _text(key)
        if value:
            records[name] = value
        else:
            records.pop(name, None)
        position = end
    return records


def _merge(
    fields: tuple[bytes, ...], records: dict[str, bytes], long_name: bytes | None, long_link: bytes | None
) -> TarHeader:
    """The header block's fields, with the extension headers' values in their place."""
    name, mode, uid, gid, size, mtime, _sum, kind, linkname, magic, version, uname, gname, major, minor = fields[:15]
    name, linkname = _string(name), _string(linkname)
    plain = magic not in (b"ustar\0", b"ustar ")  # the oldest form ends after the link name
    front = b"" if plain else _prefix(magic + version, *fields[15:])
    if front:
        name = front + b"/" + name
    name = records.get("path", name) if long_name is None else long_name
    linkname = records.get("linkpath", linkname) if long_link is None else long_link
    stored_size = _decimal(records["size"], "size") if "size" in records else number(size, "size")
    content_size, name = _sparse(records, stored_size, name) if records else (stored_size, name)
    type_ = _text(kind)
    if type_ == "\0":
        type_ = "5" if name.endswith(b"/") else "0"
    if type_ in WITHOUT_CONTENT:
        stored_size = 0
    if type_ in WITHOUT_CONTENT or type_ == "g":
        content_size = 0
    if stored_size < 0 or content_size < 0:
        raise CorruptError(f"tar header: size {min(stored_size, content_size)} is below zero")
    if b"\0" in name or b"\0" in linkname:
        raise CorruptError("tar header: a NUL inside of a name")
    return TarHeader(
        name=_text(name),
        type=type_,
        mode=_repeated(mode, "mode"),
        uid=_decimal(records["uid"], "uid") if "uid" in records else _repeated(uid, "uid"),
        gid=_decimal(records["gid"], "gid") if "gid" in records else _repeated(gid, "gid"),
        size=content_size,
        mtime_ns=_pax_time(records["mtime"]) if "mtime" in records else number(mtime, "mtime") * 1_000_000_000,
        linkname=_text(linkname),
        uname=_text(records.get("uname", b"" if plain else _string(uname))),
        gname=_text(records.get("gname", b"" if plain else _string(gname))),
        devmajor=0 if plain else _repeated(major, "devmajor"),
        devminor=0 if plain else _repeated(minor, "devminor"),
        pax=records,
        stored_size=stored_size,
    )


def _prefix(magic: bytes, prefix: bytes, rest: bytes) -> bytes:
    """What goes before the name. GNU keeps two times in that place, but Go before 1.8 wrote names there as well."""
    if magic.startswith(b"ustar\0"):
        return _string(prefix[:131] if rest.endswith(b"tar\0") else prefix)
    if magic != b"ustar  \0":
        return b""
    try:
        for field in (prefix[:12], prefix[12:24]):
            if field[0]:
                number(field, "time")
    except CorruptError:
        text = _string(prefix)
        return text if text.isascii() else b""
    return b""


def _sparse(records: dict[str, bytes], stored_size: int, name: bytes) -> tuple[int, bytes]:
    """Content size and name: other than the header's for a PAX sparse file, which docker keeps in full length."""
    if "GNU.sparse.major" in records and "GNU.sparse.minor" in records:
        version = _text(records["GNU.sparse.major"] + b"." + records["GNU.sparse.minor"])
    elif "GNU.sparse.map" in records:
        version = "0.1"
    else:
        version = "0.0" if "GNU.sparse.size" in records else ""
    if version not in _SPARSE_FORMATS:
        return stored_size, name
    size = records.get("GNU.sparse.size", records.get("GNU.sparse.realsize"))
    content_size = stored_size if size is None else _decimal(size, "GNU.sparse.size")
    return content_size, records.get("GNU.sparse.name", name)


def _check_sum(block: bytes, field: bytes, position: int) -> None:
    """The sum of all bytes, the checksum's own taken as blanks; old writers summed signed bytes."""
    unsigned = sum(block) - sum(field) + 8 * 32
    recorded = number(field, "checksum")
    if recorded == unsigned:
        return
    if recorded != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        raise CorruptError(f"tar header at {position}: checksum {recorded}, expected {unsigned}")


def number(field: bytes, name: str) -> int:
    """A number field, octal or base 256; ``name`` is for the CorruptError that it may raise."""
    digits = field.strip(b" \0")
    if not digits.strip(b"01234567"):
        return int(digits, 8) if digits else 0
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << (8 * (len(field) - 1)))
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if not -_INT64 <= value < _INT64:
            raise CorruptError(f"tar header: {name} doesn't fit 64 bits")
        return value
    digits = _string(digits)
    if not digits.strip(b"01234567"):
        return int(digits, 8)
    raise CorruptError(f"tar header: {name} is {field!r}, expected octal digits")


_repeated = lru_cache(1024)(number)
"""For the fields that are alike in most headers."""


def _decimal(value: bytes, name: str) -> int:
    """A whole number of a PAX record."""
    if len(value) <= 20 and value.removeprefix(b"-").isdigit():
        number = int(value)
        if -_INT64 <= number < _INT64:
            return number
    raise CorruptError(f"PAX record {name}: {value[:40]!r}, expected a whole number")


def _pax_time(value: bytes) -> int:
    """Seconds with a fraction, in nanoseconds; further digits are cut."""
    seconds, _point, fraction = value.partition(b".")
    whole = _decimal(seconds, "mtime") * 1_000_000_000
    if fraction and not fraction.isdigit():
        raise CorruptError(f"PAX record mtime: {value[:40]!r}, expected seconds")
    part = int(fraction[:9].ljust(9, b"0"))
    return whole - part if seconds.startswith(b"-") else whole + part


def _string(field: bytes) -> bytes:
    """A text field: up to its first NUL."""
    return field.partition(b"\0")[0]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
