"""ext2, ext3 and ext4 file systems, read from a block device without a mount."""

from __future__ import annotations

from layerscope.formats.ext4.file_system import FileSystem
from layerscope.formats.ext4.inode import Inode
from layerscope.formats.ext4.superblock import is_ext4

__all__ = ["FileSystem", "Inode", "is_ext4"]
