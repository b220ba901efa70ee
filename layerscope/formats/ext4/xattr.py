"""Extended attributes of ext2, ext3 and ext4, as the kernel gives them to a program.

They lie behind an inode's own fields (u32 magic, entries; offsets of values count from the first entry) and in one
block (32 bytes of header with the same magic, entries; offsets count from the block's start).

| offset in an entry | type | field |
| --- | --- | --- |
| 0, 1 | u8 | length of the name, number of its prefix |
| 2 | u16 | offset of the value |
| 4 | u32 | inode whose contents are the value, or 0 |
| 8, 12 | u32 | length of the value, hash |
| 16 | | the name without its prefix, padded to four bytes |

An entry whose first four bytes are 0 ends the list. Access control lists are stored in a shorter form (version 1) than
the one that programs see (version 2).

Source: Linux fs/ext4/xattr.h, xattr.c, acl.c; include/uapi/linux/posix_acl_xattr.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

from msgspec import Struct

from layerscope.errors import CorruptError

MAGIC = 0xEA020000
INLINE_CONTENTS = "system.data"
"""Not an attribute: the rest of contents that lie in the inode."""
_ENTRY = struct.Struct("<BBHIII")
_BLOCK_HEADER_BYTES = 32
_INODE_HEADER_BYTES = 4
_MAX_VALUE = 1 << 16
_ACLS = {2: "system.posix_acl_access", 3: "system.posix_acl_default"}
_PREFIXES = {1: "user.", 4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl", 10: "gnu."}

_ACL_STORED, _ACL_SHOWN = 1, 2
_ACL_NAMED = {0x02, 0x08}
"""Tags of entries for one user, one group: only these hold an id."""
_ACL_TAGS = {0x01, 0x04, 0x10, 0x20} | _ACL_NAMED
_NO_ID = 0xFFFFFFFF

ReadValue = Callable[[int, int], bytes]
"""The value in an inode of its own, from the inode's number and the value's length."""


class _Entry(Struct, frozen=True):
    prefix: int
    name: bytes
    offset: int
    value_inode: int
    size: int


def inode_attributes(extra: bytes, read_value: ReadValue) -> Iterator[tuple[str, bytes]]:
    """The attributes in what lies behind byte 128 of an inode. Raises CorruptError for the first damaged one."""
    start = int.from_bytes(extra[:2], "little")
    if len(extra) < _INODE_HEADER_BYTES or int.from_bytes(extra[start : start + 4], "little") != MAGIC:
        return
    first = start + _INODE_HEADER_BYTES
    yield from _attributes(extra, first, first, read_value)


def block_attributes(block: bytes, read_value: ReadValue) -> Iterator[tuple[str, bytes]]:
    """The attributes in a block of them. Raises CorruptError for the first damaged one."""
    if int.from_bytes(block[:4], "little") != MAGIC:
        raise CorruptError(f"extended attributes: magic {block[:4].hex()}, expected {MAGIC:#x}")
    yield from _attributes(block, _BLOCK_HEADER_BYTES, 0, read_value)


def _attributes(area: bytes, first: int, base: int, read_value: ReadValue) -> Iterator[tuple[str, bytes]]:
    for entry in _entries(area, first):
        name = _name(entry)
        if name is None:
            continue
        if entry.value_inode:
            value = read_value(entry.value_inode, entry.size)
        elif base + entry.offset + entry.size > len(area):
            raise CorruptError(f"extended attribute {name!r}: its value lies outside of its block")
        else:
            value = area[base + entry.offset : base + entry.offset + entry.size]
        yield name, _shown_acl(value) if entry.prefix in _ACLS else value


def _entries(area: bytes, offset: int) -> Iterator[_Entry]:
    while offset + 4 <= len(area) and area[offset : offset + 4] != b"\0\0\0\0":
        if offset + _ENTRY.size > len(area):
            raise CorruptError("extended attributes: the list runs over its end")
        length, prefix, value_offset, value_inode, size, _hash = _ENTRY.unpack_from(area, offset)
        end = offset + _ENTRY.size + length
        if end > len(area) or size > _MAX_VALUE:
            raise CorruptError(f"extended attributes: a name of {length} and a value of {size} bytes don't fit")
        yield _Entry(prefix, area[offset + _ENTRY.size : end], value_offset, value_inode, size)
        offset += _ENTRY.size + (length + 3 & ~3)


def _name(entry: _Entry) -> str | None:
    """The whole name; None for what isn't shown to programs."""
    if entry.prefix in _ACLS:
        return _ACLS[entry.prefix]
    prefix = _PREFIXES.get(entry.prefix)
    if prefix is None or b"\0" in entry.name:
        return None
    return prefix + os.fsdecode(entry.name)


def _shown_acl(stored: bytes) -> bytes:
    """An access control list in the form that programs see.

    Raises:
        CorruptError: it isn't one.
    """
    if len(stored) < 4 or int.from_bytes(stored[:4], "little") != _ACL_STORED:
        raise CorruptError(f"access control list: version {stored[:4].hex()}, expected {_ACL_STORED}")
    shown = [struct.pack("<I", _ACL_SHOWN)]
    offset = 4
    while offset < len(stored):
        tag, permissions = struct.unpack_from("<HH", stored[offset : offset + 4].ljust(4, b"\xff"))
        offset += 4
        owner = _NO_ID
        if tag in _ACL_NAMED:
            owner = int.from_bytes(stored[offset : offset + 4], "little")
            offset += 4
        if tag not in _ACL_TAGS or offset > len(stored):
            raise CorruptError(f"access control list: tag {tag:#x} at byte {offset}")
        shown.append(struct.pack("<HHI", tag, permissions, owner))
    return b"".join(shown)
