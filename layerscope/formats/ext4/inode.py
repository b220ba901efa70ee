"""Inodes of ext2, ext3 and ext4: everything ``lstat`` tells, and where the contents begin.

| offset | type | field |
| --- | --- | --- |
| 0, 2, 24 | u16 | mode, owner (high half at 120), group (high half at 122) |
| 4 | u32 | size (of regular files and large directories: high half at 108) |
| 8, 12, 16 | i32 | access, change, modification time in seconds |
| 26 | u16 | links |
| 28 | u32 | blocks of 512 bytes (high half: u16 at 116) |
| 32 | u32 | flags |
| 40 | 60 bytes | block map, extent tree, inline contents, short link, or device number |
| 100 | u32 | generation |
| 104 | u32 | block of extended attributes (high half: u16 at 118) |
| 128 | u16 | bytes of the fields behind 128 that are in use |
| 132, 136, 140 | u32 | more of change, modification, access time: nanoseconds << 2, two bits above the seconds |

Source: Linux fs/ext4/ext4.h, inode.c ``__ext4_iget``.
"""

from __future__ import annotations

import os
import stat as modes
import struct

from msgspec import Struct

from layerscope.formats.ext4.superblock import OLD_INODE_BYTES, Superblock

ROOT_INODE = 2
JOURNAL_INODE = 8
FLAG_ENCRYPTED = 0x800
FLAG_HUGE_FILE = 0x40000
FLAG_EXTENTS = 0x80000
FLAG_EA_INODE = 0x200000
FLAG_INLINE = 0x10000000
_FIXED = struct.Struct("<HHIiiiIHHIII60sIIII")
_HALVES = struct.Struct("<HHHH")
_SECOND = 1_000_000_000
_MINOR_LOW, _MAJOR = 0xFF, 0xFFF


class Inode(Struct, frozen=True):
    """One inode. Times are nanoseconds since 1970; ``block`` the 60 bytes, ``extra`` what lies behind byte 128."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    sectors: int
    flags: int
    atime_ns: int
    ctime_ns: int
    mtime_ns: int
    block: bytes
    generation: int
    attribute_block: int
    extra: bytes

    @property
    def device_number(self) -> int:
        """The number of a device node, 0 for everything else."""
        if not (modes.S_ISCHR(self.mode) or modes.S_ISBLK(self.mode)):
            return 0
        old, new = struct.unpack_from("<II", self.block)
        if old:
            return os.makedev(old >> 8 & _MINOR_LOW, old & _MINOR_LOW)
        return os.makedev(new >> 8 & _MAJOR, new & _MINOR_LOW | new >> 12 & 0xFFF00)

    def stat(self, device: int, block_bytes: int) -> os.stat_result:
        """``lstat`` of it, on a file system whose own device number is ``device``."""
        # The kernel counts inline contents of files as if they had blocks (fs/ext4/inode.c, ext4_file_getattr).
        inline = -(-self.size // 512) if self.flags & FLAG_INLINE and modes.S_ISREG(self.mode) else 0
        seconds = [time // _SECOND for time in (self.atime_ns, self.mtime_ns, self.ctime_ns)]
        return os.stat_result(
            (self.mode, self.number, device, self.links, self.uid, self.gid, self.size, *seconds),
            {
                "st_atime": self.atime_ns / _SECOND,
                "st_mtime": self.mtime_ns / _SECOND,
                "st_ctime": self.ctime_ns / _SECOND,
                "st_atime_ns": self.atime_ns,
                "st_mtime_ns": self.mtime_ns,
                "st_ctime_ns": self.ctime_ns,
                "st_blksize": block_bytes,
                "st_blocks": self.sectors + inline,
                "st_rdev": self.device_number,
            },
        )


def parse_inode(data: bytes, number: int, superblock: Superblock) -> Inode:
    """The inode in ``data``, which is as long as this file system's are. A free one has mode 0."""
    (
        mode,
        uid,
        size,
        atime,
        ctime,
        mtime,
        _deleted,
        gid,
        links,
        sectors,
        flags,
        _version,
        block,
        generation,
        attribute_block,
        size_high,
        _fragment,
    ) = _FIXED.unpack_from(data)
    sectors_high, attribute_high, uid_high, gid_high = _HALVES.unpack_from(data, 116)
    if modes.S_ISREG(mode) or (modes.S_ISDIR(mode) and "large_dir" in superblock.features):
        size |= size_high << 32
    if superblock.has_huge_files:
        sectors |= sectors_high << 32
        if flags & FLAG_HUGE_FILE:
            sectors *= superblock.block_bytes // 512
    if "64bit" in superblock.features:
        attribute_block |= attribute_high << 32
    extra = data[OLD_INODE_BYTES:]
    used = min(int.from_bytes(extra[:2], "little"), len(extra))
    return Inode(
        number=number,
        mode=mode,
        uid=uid | uid_high << 16,
        gid=gid | gid_high << 16,
        size=size,
        links=links,
        sectors=sectors,
        flags=flags,
        atime_ns=_time(atime, extra, used, 12),
        ctime_ns=_time(ctime, extra, used, 4),
        mtime_ns=_time(mtime, extra, used, 8),
        block=block,
        generation=generation,
        attribute_block=attribute_block,
        extra=extra,
    )


def _time(seconds: int, extra: bytes, used: int, offset: int) -> int:
    """A time from its signed seconds and, where the inode has them, the bits at ``offset`` of ``extra``."""
    if used < offset + 4:
        return seconds * _SECOND
    more = int.from_bytes(extra[offset : offset + 4], "little")
    return (seconds + ((more & 3) << 32)) * _SECOND + (more >> 2)
