"""The type of a file system's entry, from the type bits of its mode: in one word, and in words for a sentence."""

from __future__ import annotations

import stat as modes

_TYPES = {
    modes.S_IFREG: "file",
    modes.S_IFDIR: "dir",
    modes.S_IFLNK: "symlink",
    modes.S_IFCHR: "char",
    modes.S_IFBLK: "block",
    modes.S_IFIFO: "fifo",
    modes.S_IFSOCK: "socket",
}
KIND_NAMES = {
    modes.S_IFREG: "a file",
    modes.S_IFDIR: "a directory",
    modes.S_IFLNK: "a symlink",
    modes.S_IFCHR: "a character device",
    modes.S_IFBLK: "a block device",
    modes.S_IFIFO: "a FIFO",
    modes.S_IFSOCK: "a socket",
}
"""What an entry is, by the type bits of its mode."""


def file_type(mode: int) -> str:
    """``file dir symlink char block fifo socket``, from the type bits of a mode."""
    return _TYPES.get(modes.S_IFMT(mode), "file")
