"""Directory entries of ext2, ext3 and ext4, read in the order in which they lie: hashed directories, too.

| offset | type | field |
| --- | --- | --- |
| 0 | u32 | inode; 0: unused |
| 4 | u16 | bytes to the next entry (in blocks of 64 KiB: 0 or 65535 is the whole block, else two bits more) |
| 6 | u8 | length of the name |
| 7 | u8 | type: 1 file, 2 directory, 3 and 4 devices, 5 FIFO, 6 socket, 7 symlink, 0 unknown (without filetype: 0) |
| 8 | | the name |

The blocks of a hash index look like blocks with one unused entry, a check value at a block's end like an unused entry
of 12 bytes. With inline contents the directory begins with its parent's inode (u32), then come entries.

Source: Linux fs/ext4/ext4.h ``ext4_dir_entry_2``, ``ext4_rec_len_from_disk``; namei.c.
"""

from __future__ import annotations

import struct

from layerscope.formats.blocks.inode_tree import Listing
from layerscope.model.tree import Kind

_ENTRY = struct.Struct("<IHBB")
_WIDE = 1 << 16
_LEAST = 8
_KINDS: dict[int, Kind] = {1: "f", 2: "d", 3: "o", 4: "o", 5: "o", 6: "o", 7: "l"}


def add_entries(listing: Listing, block: bytes, has_types: bool) -> None:
    """Take the entries of one block into ``listing``; what lies behind a damaged one is lost."""
    offset, size = 0, len(block)
    while offset + _LEAST <= size:
        inode, length, name_length, kind = _ENTRY.unpack_from(block, offset)
        if size >= _WIDE:
            length = size if length in (0, 0xFFFF) else length & ~3 | (length & 3) << 16
        if length < _LEAST or length % 4 or offset + length > size or _LEAST + name_length > length:
            listing.faults.append(f"a damaged entry of {length} bytes at byte {offset} of a block")
            return
        if inode and name_length:
            name = block[offset + _LEAST : offset + _LEAST + name_length]
            listing.add(name, inode, _KINDS.get(kind) if has_types else None)
        offset += length
