"""Files out of a view onto the analyst's own disk, without letting them do harm there.

Written with directory descriptors and exclusive creation, so nothing that exists is overwritten or followed. Symlinks
become symlinks, as they are; setuid and setgid bits and owners are dropped; devices, FIFOs and sockets are left out.
"""

from __future__ import annotations

import os
import shutil
import stat as modes
from pathlib import Path

from layerscope.errors import CommitError, UsageError
from layerscope.formats.escape import escape
from layerscope.model.problem import Problem, Severity
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.view import MergedView, Place

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = "a device, FIFO or socket"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def extract(view: MergedView, path: str, destination: Path) -> list[Problem]:
    """Copy the file, symlink or directory at ``path`` to ``destination``.

    An existing directory as destination gets the thing by its name, as with ``cp``.

    Raises:
        FileNotFoundError: the view has no such path.
        UsageError: it is a device, a FIFO or a socket.
        CommitError: the target exists already, or its folder doesn't.
    """
    place = view.place(path)
    if place.name and _is_special(place):
        raise UsageError(f"cannot extract {escape(path)}: it is {_SPECIAL}, and such are never made")
    name = place.name or place.directory.path.rpartition("/")[2] or "root"
    target = destination / name if destination.is_dir() else destination
    try:
        parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CommitError(f"cannot write to {target.parent}: {os.strerror(error.errno or 0)}") from None
    writer = _Writer()
    try:
        if place.name:
            writer.entry(place.directory, place.name, parent, target.name)
        else:
            writer.tree(place.directory, parent, target.name)
    except FileExistsError:
        raise CommitError(f"{target} exists already; nothing is overwritten") from None
    finally:
        os.close(parent)
    return [*writer.problems, *view.problems]


def _is_special(place: Place) -> bool:
    found = place.directory.lookup(place.name)
    mode = found.part.directory.stat(place.name).st_mode if found is not None else modes.S_IFREG
    return not (modes.S_ISREG(mode) or modes.S_ISLNK(mode))


class _Writer:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def tree(self, directory: MergedDirectory, parent: int, name: str) -> None:
        """A directory with all below it; an explicit stack, one open descriptor at a time."""
        os.mkdir(name, 0o700, dir_fd=parent)
        top = os.open(name, _FOLDER, dir_fd=parent)
        try:
            pending: list[tuple[MergedDirectory, tuple[str, ...]]] = [(directory, ())]
            finished: list[tuple[tuple[str, ...], os.stat_result]] = []
            while pending:
                source, trail = pending.pop()
                folder = _descend(top, trail)
                try:
                    for entry, _, kind in source.visible():
                        if kind != "d":
                            self.entry(source, entry, folder, entry)
                            continue
                        try:
                            child = source.child(entry)
                        except OSError as error:
                            self._tell(source.path_of(entry), error)
                            continue
                        os.mkdir(entry, 0o700, dir_fd=folder)
                        pending.append((child, (*trail, entry)))
                finally:
                    os.close(folder)
                finished.append((trail, source.stat()))
            for trail, stat in reversed(finished):
                folder = _descend(top, trail)
                try:
                    os.fchmod(folder, modes.S_IMODE(stat.st_mode) & 0o1777)
                    os.utime(folder, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
                finally:
                    os.close(folder)
        finally:
            os.close(top)

    def entry(self, directory: MergedDirectory, name: str, folder: int, target: str) -> None:
        """One file or symlink."""
        found = directory.lookup(name)
        if found is None:
            return
        path = directory.path_of(name)
        try:
            stat = found.part.directory.stat(name)
            if modes.S_ISLNK(stat.st_mode):
                os.symlink(found.part.directory.readlink(name), target, dir_fd=folder)
            elif modes.S_ISREG(stat.st_mode):
                with directory.open(name) as source:
                    fd = os.open(target, _NEW, 0o600, dir_fd=folder)
                    with os.fdopen(fd, "wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
                        os.fchmod(out.fileno(), modes.S_IMODE(stat.st_mode) & 0o777)
                        out.flush()
                        os.utime(out.fileno(), ns=(stat.st_mtime_ns, stat.st_mtime_ns))
            else:
                what = f"is {_SPECIAL}"
                self.problems.append(Problem(path, what, "it was not extracted", severity=Severity.NOTE))
        except FileExistsError:
            raise
        except OSError as error:
            self._tell(path, error)

    def _tell(self, path: str, error: OSError) -> None:
        what = f"cannot extract: {os.strerror(error.errno or 0)}"
        self.problems.append(Problem(path, what, "it was not extracted", severity=Severity.WARNING))


def _descend(top: int, trail: tuple[str, ...]) -> int:
    """A descriptor of a directory that was made below ``top``."""
    fd = os.dup(top)
    for name in trail:
        try:
            below = os.open(name, _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
