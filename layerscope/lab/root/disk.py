"""The single steps by which a root is changed: every write of a lab goes through here.

A path is relative to the root, without a leading slash, and is walked without following a symlink. What is new is made
complete under another name, brought to the disk and then renamed; the names of such halves begin with ``.tmp-``, as
docker's own do, and both engines pass them over.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import os
import secrets
import stat as modes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from layerscope.formats.gotime import format_rfc3339
from layerscope.hostfs import Directory
from layerscope.hostfs.removal import remove_tree
from layerscope.hostfs.rename import RENAME_NOREPLACE, renameat2

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
TEMPORARY = ".tmp-"
_LINK_CHARACTERS = 26

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)


def now() -> str:
    """The present time as docker writes it."""
    text = format_rfc3339(time.time_ns())
    assert text is not None
    return text


def split(path: str) -> tuple[str, str]:
    """The directory of a path and the last name of it."""
    folder, _, name = path.rpartition("/")
    return folder, name


class Disk:
    """Steps in the root ``top``; each is done or raises the OSError of its system call.

    Names and times that nothing else gives come from here, too: the only two things that differ when the same is done
    in two roots.
    """

    def __init__(self, top: Directory) -> None:
        self.top = top

    # ------------------------------------------------------------------ what is new each time
    def new_id(self) -> str:
        """64 hexadecimal digits that name nothing yet."""
        return secrets.token_hex(32)

    def new_short_name(self) -> str:
        """26 characters A-Z2-7 that name nothing in ``l/`` yet."""
        return base64.b32encode(secrets.token_bytes(17)).decode()[:_LINK_CHARACTERS]

    def now(self) -> str:
        """The present time as docker writes it."""
        return now()

    # ------------------------------------------------------------------ where it is
    @contextmanager
    def _held(self, path: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the directory that holds ``path``, and the last name."""
        folder, name = split(path)
        directory = self.top.descend(folder)
        try:
            with directory.held() as fd:
                yield fd, name
        finally:
            if folder:
                directory.close()

    # ------------------------------------------------------------------ looking
    def stat(self, path: str) -> os.stat_result | None:
        """``lstat``, or None if there is no such thing."""
        try:
            with self._held(path) as (fd, name):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Whether anything has this name."""
        return self.stat(path) is not None

    def is_directory(self, path: str) -> bool:
        """Whether it is a directory, not a link to one."""
        stat = self.stat(path)
        return stat is not None and modes.S_ISDIR(stat.st_mode)

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted by their bytes; none if it doesn't exist."""
        return self.top.descend(path).names()

    # ------------------------------------------------------------------ making
    def make_directory(self, path: str, mode: int) -> None:
        """A new directory of exactly this mode."""
        with self._held(path) as (fd, name):
            os.mkdir(name, mode, dir_fd=fd)
            os.chmod(name, mode, dir_fd=fd)

    def ensure_directory(self, path: str, mode: int) -> None:
        """The same, unless it is there already; its parents get the same mode."""
        folder, _ = split(path)
        if folder:
            self.ensure_directory(folder, mode)
        try:
            self.make_directory(path, mode)
        except FileExistsError:
            return

    def create(self, path: str, mode: int) -> BinaryIO:
        """A new file of exactly this mode, open for writing; :meth:`finish` brings it to the disk."""
        with self._held(path) as (fd, name):
            file = os.open(name, _NEW, mode, dir_fd=fd)
            os.fchmod(file, mode)
            return os.fdopen(file, "wb")

    @staticmethod
    def finish(file: BinaryIO) -> None:
        """Bring a file's bytes to the disk and close it."""
        with file:
            file.flush()
            os.fsync(file.fileno())

    def write(self, path: str, data: bytes, mode: int) -> None:
        """A new file with ``data``, on the disk when this returns."""
        with self.create(path, mode) as file:
            file.write(data)
            self.finish(file)

    def write_aside(self, path: str, data: bytes, mode: int) -> str:
        """``data`` in a file beside ``path``, to be renamed to it; gives its path."""
        folder, name = split(path)
        aside = f"{folder}/{TEMPORARY}{name}{secrets.randbelow(10**9)}"
        try:
            self.write(aside, data, mode)
        except OSError:
            self.remove_file(aside)
            raise
        return aside

    def make_symlink(self, path: str, target: str) -> None:
        """A new symlink with the text ``target``."""
        with self._held(path) as (fd, name):
            os.symlink(target, name, dir_fd=fd)

    def append(self, path: str, data: bytes) -> None:
        """Add ``data`` to the end of a file, and bring it to the disk."""
        with self._held(path) as (fd, name):
            file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        with os.fdopen(file, "ab") as out:
            out.write(data)
            self.finish(out)

    # ------------------------------------------------------------------ moving
    def rename(self, source: str, target: str, *, replace: bool = False) -> None:
        """Rename; without ``replace`` an existing ``target`` is an error (EEXIST)."""
        with self._held(source) as (source_fd, old), self._held(target) as (target_fd, new):
            if replace:
                os.rename(old, new, src_dir_fd=source_fd, dst_dir_fd=target_fd)
                return
            try:
                renameat2(source_fd, old, target_fd, new, RENAME_NOREPLACE)
            except OSError as error:
                # Not every file system, and no other system, has the flag; this lab's lock keeps others out.
                if error.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                if self.exists(target):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
                os.rename(old, new, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    # ------------------------------------------------------------------ removing
    def remove_file(self, path: str) -> None:
        """Remove a file or link; one that isn't there is no error."""
        try:
            with self._held(path) as (fd, name):
                os.unlink(name, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError):
            return

    def remove_tree(self, path: str) -> None:
        """Remove whatever is at ``path`` with all below it; nothing there is no error."""
        try:
            with self._held(path) as (fd, name):
                try:
                    os.unlink(name, dir_fd=fd)
                except (IsADirectoryError, PermissionError):
                    remove_tree(Path(f"/proc/self/fd/{fd}/{name}"))
        except (FileNotFoundError, NotADirectoryError):
            return

    # ------------------------------------------------------------------ to the disk
    def sync(self) -> None:
        """Bring everything that was written to the root's file system to the disk."""
        with self._held("x") as (fd, _):
            directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            if _syncfs is None:  # pragma: no cover - not Linux
                os.sync()
            elif _syncfs(directory):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(directory)

    def sync_directory(self, path: str) -> None:
        """Bring a directory's names to the disk."""
        directory = self.top.descend(path)
        with directory.held() as fd:
            reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            os.fsync(reading)
        finally:
            os.close(reading)
