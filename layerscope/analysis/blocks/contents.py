"""From a block back to files: what an ext4 file system keeps in a range of its device's bytes.

Source: Linux Documentation/filesystems/ext4, "Block and Inode Allocation Policy", "Layout".
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator

from layerscope.errors import CorruptError
from layerscope.formats.blocks.inode_tree import InodeDirectory
from layerscope.formats.ext4 import FileSystem, Inode
from layerscope.formats.ext4.inode import JOURNAL_INODE
from layerscope.model.block_map import BlockUse

_LAYER = "rootfs"
_MOST = 1000
"""Uses of one block that are listed; real ones have fewer than seventy."""
_MOST_GROUPS = 1 << 20
"""Block groups that are looked at: those of 128 TiB."""
_WORDS = {modes.S_IFREG: "file", modes.S_IFDIR: "directory", modes.S_IFLNK: "symlink"}


def contents_of(system: FileSystem, first: int, end: int) -> tuple[BlockUse, ...]:
    """What lies in the bytes from ``first`` to before ``end``: the file system's own blocks, then files by path.

    Raises:
        CorruptError, OSError: the file system can't be read.
    """
    size = system.superblock.block_bytes
    wanted = range(first // size, -(-end // size))
    found = dict.fromkeys(BlockUse(kind) for kind in _own_blocks(system, wanted))
    files = []
    for use in _files(system, wanted):
        files.append(use)
        if len(files) == _MOST:
            break
    files.sort(key=lambda use: (not use.in_layer, os.fsencode(use.path or ""), use.kind))
    return (*found, *dict.fromkeys(files))


def _own_blocks(system: FileSystem, wanted: range) -> Iterator[str]:
    """The file system's own structures in the blocks ``wanted``."""
    superblock = system.superblock
    if 1024 // superblock.block_bytes in wanted:
        yield "superblock"
    per_table = -(-superblock.inodes_per_group * superblock.inode_bytes // superblock.block_bytes)
    groups: dict[str, list[int]] = {"block bitmap": [], "inode bitmap": [], "inodes": []}
    # Descriptors, bitmaps and tables may lie far from their group, so all groups are looked at.
    for number in range(min(superblock.groups, _MOST_GROUPS)):
        try:
            if superblock.descriptor_offset(number) // superblock.block_bytes in wanted:
                yield "group descriptors"
            group = system.group(number)
        except CorruptError:
            continue
        if group.block_bitmap in wanted:
            groups["block bitmap"].append(number)
        if group.inode_bitmap in wanted:
            groups["inode bitmap"].append(number)
        if group.inode_table < wanted.stop and wanted.start < group.inode_table + per_table:
            groups["inodes"].append(number)
    for what, numbers in groups.items():
        if numbers:
            yield f"{what} of {_spoken(numbers)}"
    try:
        if _touches(system, system.inode(JOURNAL_INODE), wanted):
            yield "journal"
    except CorruptError:
        pass  # there is none


def _spoken(numbers: list[int]) -> str:
    """``group 3``, ``groups 0 to 15``, ``groups 1, 4, 9``; rising numbers."""
    if len(numbers) == 1:
        return f"group {numbers[0]}"
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"groups {numbers[0]} to {numbers[-1]}"
    return f"groups {', '.join(map(str, numbers))}"


def _touches(system: FileSystem, inode: Inode, wanted: range) -> bool:
    extents, _damage = system.extents(inode)
    return any(
        extent.physical is not None and extent.physical < wanted.stop and wanted.start < extent.physical + extent.length
        for extent in extents
    )


def _files(system: FileSystem, wanted: range) -> Iterator[BlockUse]:
    """Everything with a name that has blocks in ``wanted``; a file of several names under the first one met."""
    top = InodeDirectory(system, 0)
    seen: set[int] = set()
    pending = [("", top)]
    while pending:
        path, directory = pending.pop()
        try:
            own = directory.stat_self().st_ino
            listing = directory.scan()
        except OSError:
            continue
        yield from _uses(system, own, path, wanted, seen)
        names = [name for name, kind in listing if kind != "d"]
        for name, stat in zip(names, directory.stats(names), strict=True):
            if stat is not None:
                yield from _uses(system, stat.st_ino, f"{path}/{name}", wanted, seen)
        pending.extend((f"{path}/{name}", directory.enter(name)) for name, kind in listing if kind == "d")


def _uses(system: FileSystem, number: int, path: str, wanted: range, seen: set[int]) -> Iterator[BlockUse]:
    if number in seen:
        return
    seen.add(number)
    try:
        inode = system.inode(number)
        word = _WORDS.get(modes.S_IFMT(inode.mode))
        is_there = word is not None and not _is_fast(inode) and _touches(system, inode, wanted)
        has_attributes = inode.attribute_block in wanted and inode.attribute_block != 0
    except CorruptError:
        return
    prefix = f"/{_LAYER}"
    in_layer = path == prefix or path.startswith(prefix + "/")
    shown = (path.removeprefix(prefix) if in_layer else path) or "/"
    if is_there and word is not None:
        yield BlockUse(word, shown, in_layer)
    if has_attributes:
        yield BlockUse("extended attributes", shown, in_layer)


def _is_fast(inode: Inode) -> bool:
    """Whether a symlink's target lies in its inode, so that the place of a block map holds text."""
    return modes.S_ISLNK(inode.mode) and inode.size < len(inode.block)
