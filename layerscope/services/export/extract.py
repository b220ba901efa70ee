"""Files out of a view onto the analyst's own disk, without letting them do harm there.

Written with directory descriptors and exclusive creation, so nothing that exists is overwritten or followed. Symlinks
become symlinks, as they are; setuid and setgid bits and owners are dropped; devices, FIFOs and sockets are left out.
What is interrupted, or finds the disk full, takes away again what it made.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat as modes
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from layerscope.errors import CommitError, UsageError
from layerscope.formats.escape import escape
from layerscope.hostfs.removal import remove_tree
from layerscope.model.problem import Problem, Severity
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.view import MergedView, Place
from layerscope.services.export.entries import ViewEntry, entries_below, entry_at

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = "a device, FIFO or socket"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENDS_ALL = {errno.EEXIST, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors that are about the disk that is written to, and will be those of the next file, too."""
_CHUNK = 1 << 20


def extract(
    view: MergedView, path: str, destination: Path, passed: Callable[[], object] = lambda: None
) -> list[Problem]:
    """Copy the file, symlink or directory at ``path`` to ``destination``; ``passed`` is called for each entry.

    An existing directory as destination gets the thing by its name, as with ``cp``.

    Raises:
        FileNotFoundError: the view has no such path.
        UsageError: it is a device, a FIFO or a socket.
        CommitError: the target exists already, its folder doesn't, or the disk is full.
    """
    place = view.tree.place(path)
    if place.name and _is_special(place):
        raise UsageError(f"cannot extract {escape(path)}: it is {_SPECIAL}, and such are never made")
    name = place.name or place.directory.path.rpartition("/")[2] or "root"
    target = destination / name if destination.is_dir() else destination
    try:
        parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CommitError(f"cannot write to {target.parent}: {os.strerror(error.errno or 0)}") from None
    writer = _Writer(passed)
    try:
        if not place.name:
            writer.tree(place.directory, parent, target)
        elif (entry := entry_at(place.directory, place.name)) is not None:
            writer.entry(entry, parent, target.name)
    except FileExistsError:
        raise CommitError(f"{target} exists already; nothing is overwritten") from None
    except OSError as error:
        if error.errno not in _ENDS_ALL:
            raise
        raise CommitError(f"cannot write to {target}: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(parent)
    return [*writer.problems, *view.problems]


def _is_special(place: Place) -> bool:
    found = place.directory.lookup(place.name)
    mode = found.part.directory.stat(place.name).st_mode if found is not None else modes.S_IFREG
    return not (modes.S_ISREG(mode) or modes.S_ISLNK(mode))


class _Writer:
    def __init__(self, passed: Callable[[], object]) -> None:
        self._passed = passed
        self.problems: list[Problem] = []

    def tree(self, directory: MergedDirectory, parent: int, target: Path) -> None:
        """A directory with all below it; if that fails as a whole, nothing is left of it."""
        stat = directory.stat()
        os.mkdir(target.name, 0o700, dir_fd=parent)
        try:
            top = os.open(target.name, _FOLDER, dir_fd=parent)
            try:
                self._dress([(b"", stat), *self._below(directory, top)], top)
            finally:
                os.close(top)
        except BaseException:
            with suppress(OSError):
                remove_tree(target)
            raise

    def _below(self, directory: MergedDirectory, top: int) -> list[tuple[bytes, os.stat_result]]:
        """Write all that is below ``directory``; the directories that were made, parents first."""
        made: list[tuple[bytes, os.stat_result]] = []
        here: MergedDirectory | None = None
        folder = -1
        try:
            for entry in entries_below(directory, b"", self.problems):
                if entry.directory is not here:
                    if folder >= 0:
                        os.close(folder)
                        folder = -1
                    here = entry.directory
                    folder = _descend(top, entry.whole.rpartition(b"/")[0])
                if modes.S_ISDIR(entry.look.stat.st_mode):
                    self._passed()
                    os.mkdir(entry.name, 0o700, dir_fd=folder)
                    made.append((entry.whole, entry.look.stat))
                else:
                    self.entry(entry, folder, entry.name)
        finally:
            if folder >= 0:
                os.close(folder)
        return made

    @staticmethod
    def _dress(made: list[tuple[bytes, os.stat_result]], top: int) -> None:
        """Modes and times of directories, once nothing is made in them any more."""
        for path, stat in reversed(made):
            folder = _descend(top, path)
            try:
                os.fchmod(folder, modes.S_IMODE(stat.st_mode) & 0o1777)
                os.utime(folder, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
            finally:
                os.close(folder)

    def entry(self, entry: ViewEntry, folder: int, target: str) -> None:
        """One file or symlink: all of it, or nothing."""
        self._passed()
        stat = entry.look.stat
        try:
            if modes.S_ISLNK(stat.st_mode):
                os.symlink(entry.part.directory.readlink(entry.name), target, dir_fd=folder)
            elif modes.S_ISREG(stat.st_mode):
                self._file(entry, folder, target)
            else:
                what = f"is {_SPECIAL}"
                self.problems.append(Problem(entry.path, what, "it was not extracted", severity=Severity.NOTE))
        except OSError as error:
            if error.errno in _ENDS_ALL:
                raise
            what = f"cannot extract: {os.strerror(error.errno or 0)}"
            self.problems.append(Problem(entry.path, what, "it was not extracted", severity=Severity.WARNING))

    @staticmethod
    def _file(entry: ViewEntry, folder: int, target: str) -> None:
        stat, content = entry.look.stat, entry.content
        with entry.directory.open(entry.name) if content is None else BytesIO(content) as source:
            fd = os.open(target, _NEW, 0o600, dir_fd=folder)
            try:
                with os.fdopen(fd, "wb") as out:
                    shutil.copyfileobj(source, out, _CHUNK)
                    os.fchmod(fd, modes.S_IMODE(stat.st_mode) & 0o777)
                    out.flush()
                    os.utime(fd, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
            except BaseException:
                with suppress(OSError):
                    os.unlink(target, dir_fd=folder)
                raise


def _descend(top: int, path: bytes) -> int:
    """A descriptor of a directory that was made below ``top``."""
    fd = os.dup(top)
    for name in path.split(b"/") if path else ():
        try:
            below = os.open(name, _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
