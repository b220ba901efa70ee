"""The operations of an overlay whose user can set everything that a file system keeps: each as it is."""

from __future__ import annotations

import os
from collections.abc import Callable

from layerscope.overlay import attributes, namespace
from layerscope.overlay.part import Part
from layerscope.overlay.rename import rename
from layerscope.overlay.target import Target
from layerscope.overlay.writer import Writer


class Operations:
    """What an overlay does to names and attributes; :class:`layerscope.overlay.keeping.Keeping` does it otherwise."""

    as_root = False
    """Whether the user stands for root, who may do everything."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def close(self) -> None:
        """Give back what is open."""

    # ------------------------------------------------------------------ looking
    def shown(self, _part: Part, _name: str, stat: os.stat_result) -> os.stat_result:
        """``stat`` of the entry of a level's directory ("": itself), as it is meant."""
        return stat

    def stat(self, target: Target) -> os.stat_result:
        """``lstat`` of what is there, as it is meant."""
        return self._writer.stat(target)

    # ------------------------------------------------------------------ attributes
    def chmod(self, path: str, mode: int, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.chmod`."""
        attributes.chmod(self._writer, path, mode, follow)

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.chown`."""
        attributes.chown(self._writer, path, uid, gid, follow)

    def about_to_write(self, path: str) -> None:
        """What a file loses when its content is changed, and the file system doesn't know of."""

    def getxattr(self, path: str, key: str, follow: bool) -> bytes:
        """As :func:`layerscope.overlay.attributes.getxattr`."""
        return attributes.getxattr(self._writer, path, key, follow)

    def listxattr(self, path: str, follow: bool) -> list[str]:
        """As :func:`layerscope.overlay.attributes.listxattr`."""
        return attributes.listxattr(self._writer, path, follow)

    def setxattr(self, path: str, key: str, value: bytes, flags: int, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.setxattr`."""
        attributes.setxattr(self._writer, path, key, value, flags, follow)

    def removexattr(self, path: str, key: str, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.removexattr`."""
        attributes.removexattr(self._writer, path, key, follow)

    # ------------------------------------------------------------------ names
    def create(self, target: Target, path: str, make: Callable[[int, str], None], is_dir: bool = False) -> None:
        """As :func:`layerscope.overlay.namespace.create`."""
        namespace.create(self._writer, target, path, make, is_dir)

    def mknod(self, target: Target, path: str, mode: int, device: int) -> None:
        """Make a file, FIFO, socket or device."""
        self.create(target, path, lambda fd, name: os.mknod(name, mode, device, dir_fd=fd))

    def unlink(self, path: str) -> None:
        """As :func:`layerscope.overlay.namespace.unlink`."""
        namespace.unlink(self._writer, path)

    def link(self, source: str, destination: str) -> None:
        """As :func:`layerscope.overlay.namespace.link`."""
        namespace.link(self._writer, source, destination)

    def rename(self, source: str, destination: str, flags: int) -> None:
        """As :func:`layerscope.overlay.rename.rename`."""
        rename(self._writer, source, destination, flags)
