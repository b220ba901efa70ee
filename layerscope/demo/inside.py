"""What a person in a container does, done through the lab's overlay, at the times of the story."""

from __future__ import annotations

import os
import posixpath
import stat as modes
from datetime import datetime

from layerscope.overlay.engine import Overlay


class Inside:
    """The merged view of a container. Paths are as in it, without leading slash.

    What is changed gets the time of the story: that of the last :meth:`at`.
    """

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._now_ns = 0

    def at(self, clock: str) -> None:
        """It is now ``clock`` (HH:MM:SS, UTC) on the day of the story."""
        self._now_ns = int(datetime.fromisoformat(f"2026-03-12T{clock}+00:00").timestamp()) * 1_000_000_000

    def _stamp(self, *paths: str) -> None:
        """Give the time to what was changed."""
        for path in paths:
            self._overlay.utime(path, ns=(self._now_ns, self._now_ns), follow_symlinks=False)

    def _is_there(self, path: str) -> bool:
        try:
            self._overlay.lstat(path)
        except FileNotFoundError:
            return False
        return True

    # ------------------------------------------------------------------ files
    def write(self, path: str, content: str, mode: int | None = None) -> None:
        """New content in place of the old; a new file is 0644 unless told otherwise."""
        there = self._is_there(path)
        self._overlay.write_bytes(path, content.encode())
        if mode is not None or not there:
            self._overlay.chmod(path, mode or 0o644)
        self._stamp(path)
        if not there:
            self._stamp(posixpath.dirname(path))

    def append(self, path: str, content: str) -> None:
        """More at the end of a file."""
        with os.fdopen(self._overlay.open(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.write(content.encode())
        self._stamp(path)

    def open_for_writing(self, path: str) -> None:
        """Open and close: enough for a copy in the writable layer."""
        os.close(self._overlay.open(path, os.O_RDWR))

    def size(self, path: str) -> int:
        """A file's length in bytes."""
        return self._overlay.stat(path).st_size

    # ------------------------------------------------------------------ names
    def directory(self, path: str, mode: int = 0o755) -> None:
        """A new directory."""
        self._overlay.mkdir(path)
        self._overlay.chmod(path, mode)
        self._stamp(path, posixpath.dirname(path))

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        if modes.S_ISDIR(self._overlay.lstat(path).st_mode):
            for folder, folders, files in reversed(list(self._overlay.walk(path))):
                for name in files:
                    self._overlay.unlink(f"{folder}/{name}")
                for name in folders:
                    self._overlay.rmdir(f"{folder}/{name}")
            self._overlay.rmdir(path)
        else:
            self._overlay.unlink(path)
        self._stamp(posixpath.dirname(path))

    def rename(self, old: str, new: str) -> None:
        """Another name for a file."""
        self._overlay.rename(old, new)
        self._stamp(posixpath.dirname(old), posixpath.dirname(new))

    def link(self, first: str, second: str) -> None:
        """A second name for a file."""
        self._overlay.link(first, second)
        self._stamp(posixpath.dirname(second))

    def symlink(self, path: str, target: str) -> None:
        """A symlink, in place of the one that was there."""
        if self._is_there(path):
            self._overlay.unlink(path)
        self._overlay.symlink(target, path)
        self._stamp(path, posixpath.dirname(path))

    def fifo(self, path: str, mode: int) -> None:
        """A FIFO."""
        self._overlay.mkfifo(path)
        self._overlay.chmod(path, mode)
        self._stamp(path, posixpath.dirname(path))

    def character_device(self, path: str, mode: int, major: int, minor: int) -> None:
        """A character device, unless root itself may make none here."""
        try:
            self._overlay.mknod(path, modes.S_IFCHR | mode, os.makedev(major, minor))
        except PermissionError:
            return
        self._overlay.chmod(path, mode)
        self._stamp(path, posixpath.dirname(path))

    # ------------------------------------------------------------------ metadata
    def chmod(self, path: str, mode: int) -> None:
        """Another mode, and nothing else."""
        self._overlay.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Another owner."""
        self._overlay.chown(path, uid, gid)

    def touch(self, path: str) -> None:
        """Another time."""
        self._stamp(path)
