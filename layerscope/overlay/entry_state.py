"""What a level did to an entry: made it new, or copied it up and changed content, only metadata, or nothing.

Told by a comparison with the copy below that it replaces: by what ``lstat`` and the extended attributes say, and where
size and type are the same by the bytes.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Sequence
from typing import BinaryIO

from layerscope.model.entry import EntryState
from layerscope.model.tree import ContentsAbsent, KnowsContent, LayerDirectory
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part

_CHUNK = 1 << 18


def state_of(
    directory: MergedDirectory,
    part: Part,
    name: str,
    stat: os.stat_result,
    lower: Sequence[Part],
    plain: EntryState,
    compare_bytes: int | None = None,
) -> tuple[EntryState | None, int | None]:
    """The state of an entry, and the level of the copy that it replaces.

    Args:
        directory: The merged directory that has it.
        part: The one of its parts that made the entry what it is.
        name: The entry's.
        stat: The ``lstat`` of what serves it.
        lower: The parts below ``part``, the nearest first.
        plain: The state of an entry that replaces nothing.
        compare_bytes: Files above this size aren't read: their state is None unless size or times tell. None: all are.
    """
    if modes.S_ISDIR(stat.st_mode) and not part.bottom:
        try:
            child = directory.child(name)
        except OSError:  # a redirect that the kernel refuses: the entry is still told
            return plain, None
        copies = child.copies
        if copies[0].level < part.level:  # only what is in it has changed
            return EntryState.UNCHANGED, copies[0].level
        if len(copies) > 1 or copies[0].is_opaque:
            return directory_state(copies, stat, plain)
    if not part.may_replace(name):
        return plain, None
    for below in lower:
        kind = below.touches(name)
        if kind is None:
            continue
        if kind == "w":
            return plain, None
        if kind == "d" and modes.S_ISDIR(stat.st_mode):
            return directory_state([part.enter(name), below.enter(name)], stat, plain)
        below_stat = below.directory.stat(name)
        if modes.S_IFMT(below_stat.st_mode) != modes.S_IFMT(stat.st_mode):
            return EntryState.MODIFIED, below.level
        return _file_state(directory, (part, name, stat), (below, name, below_stat), compare_bytes), below.level
    return plain, None


def directory_state(parts: Sequence[Part], stat: os.stat_result, plain: EntryState) -> tuple[EntryState, int | None]:
    """The same of a directory, by its own copies in ``parts``, top first."""
    if parts[0].is_opaque:
        return EntryState.OPAQUE, None
    if len(parts) < 2:
        return plain, None
    below = parts[1]
    same = not different_owner_or_mode(stat, below.directory.stat_self()) and own_xattrs(parts[0]) == own_xattrs(below)
    return (EntryState.UNCHANGED if same else EntryState.METADATA), below.level


def _file_state(
    directory: MergedDirectory,
    above: tuple[Part, str, os.stat_result],
    below: tuple[Part, str, os.stat_result],
    compare_bytes: int | None,
) -> EntryState | None:
    """What a copy of the same type did to the one below it."""
    (part, name, stat), (below_part, below_name, below_stat) = above, below
    if (stat.st_dev, stat.st_ino) == (below_stat.st_dev, below_stat.st_ino):
        return EntryState.UNCHANGED
    if content_differs_by_stat(stat, below_stat):
        return EntryState.MODIFIED
    if modes.S_ISLNK(stat.st_mode):
        if link_target(part, name) != link_target(below_part, below_name):
            return EntryState.MODIFIED
    elif modes.S_ISREG(stat.st_mode) and stat.st_size:
        if compare_bytes is not None and stat.st_size > compare_bytes:
            if stat.st_mtime_ns != below_stat.st_mtime_ns:
                return None
        else:
            same = same_bytes(directory, part, name, below_part, below_name)
            if not same:
                return None if same is None else EntryState.MODIFIED
    if different_owner_or_mode(stat, below_stat) or stat.st_mtime_ns != below_stat.st_mtime_ns:
        return EntryState.METADATA
    if own_xattrs(part, name) != own_xattrs(below_part, below_name):
        return EntryState.METADATA
    return EntryState.UNCHANGED


def different_owner_or_mode(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether mode (with the type), owner or group differ."""
    return (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid)


def content_differs_by_stat(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether ``lstat`` alone shows other content: type, device number, or the size of a file or symlink."""
    if modes.S_IFMT(one.st_mode) != modes.S_IFMT(other.st_mode):
        return True
    if modes.S_ISREG(one.st_mode) or modes.S_ISLNK(one.st_mode):
        return one.st_size != other.st_size
    if modes.S_ISCHR(one.st_mode) or modes.S_ISBLK(one.st_mode):
        return one.st_rdev != other.st_rdev
    return False


def own_xattrs(part: Part, name: str = "") -> dict[str, bytes]:
    """The extended attributes that belong to the file, not to the overlay. No entry's absence is told from no right."""
    dialect = part.dialect
    return {key: value for key, value in part.directory.xattrs(name).items() if not dialect.is_own(key)}


def same_bytes(directory: MergedDirectory, part: Part, name: str, below: Part, below_name: str) -> bool | None:
    """Whether the view's file and the copy below hold the same bytes.

    A copy that can't be read counts as different; None: there are no bytes to be read, nor checksums of both.
    """
    try:
        data, source = directory.data_of(part, name)
        if data is below and source == below_name:
            return True
        with data.directory.open(source) as one, below.directory.open(below_name) as other:
            return same_stream(one, other)
    except ContentsAbsent:
        return _same_keys(part.directory, name, below.directory, below_name)
    except OSError:
        return False


def _same_keys(one: LayerDirectory, name: str, other: LayerDirectory, other_name: str) -> bool | None:
    if not isinstance(one, KnowsContent) or not isinstance(other, KnowsContent):
        return None
    left, right = one.content_key(name), other.content_key(other_name)
    return None if left is None or right is None else left == right


def same_stream(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two files hold the same bytes to their ends."""
    while True:
        left, right = one.read(_CHUNK), other.read(_CHUNK)
        if left != right:
            return False
        if not left:
            return True


def link_target(part: Part, name: str) -> str | None:
    """The target of a symlink, None where it can't be read."""
    try:
        return part.directory.readlink(name)
    except OSError:
        return None
