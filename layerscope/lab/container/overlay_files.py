"""What an overlay shows, as a tree of files to be copied."""

from __future__ import annotations

import os
import stat as modes
from typing import BinaryIO

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.lab.build.files import Entry
from layerscope.lab.layer.upper import docker_capability
from layerscope.overlay.engine import Overlay


class OverlayFiles:
    """The tree below an overlay."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def entry(self, path: str) -> Entry | None:
        """What is there, None if nothing is."""
        try:
            status = self._overlay.lstat(path or "/")
        except (FileNotFoundError, NotADirectoryError):
            return None
        mode = status.st_mode
        return Entry(
            mode,
            status.st_uid,
            status.st_gid,
            status.st_size if modes.S_ISREG(mode) else 0,
            status.st_mtime_ns,
            status.st_rdev,
            self._overlay.readlink(path) if modes.S_ISLNK(mode) else "",
            (status.st_dev, status.st_ino) if status.st_nlink > 1 and not modes.S_ISDIR(mode) else None,
            self._capability(path) if modes.S_ISREG(mode) else b"",
        )

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted by their bytes."""
        return sorted(self._overlay.listdir(path or "/"), key=os.fsencode)

    def open(self, path: str) -> BinaryIO:
        """The bytes of a regular file."""
        try:
            return os.fdopen(self._overlay.open(path, os.O_RDONLY), "rb")
        except OSError as error:
            raise CommitError(f"cannot read {escape(path)} of the image: {error.strerror}") from None

    def _capability(self, path: str) -> bytes:
        try:
            return docker_capability(self._overlay.getxattr(path, "security.capability", follow_symlinks=False))
        except OSError:
            return b""
