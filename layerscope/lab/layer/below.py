"""The directories of a layer that is being built, reached one component at a time and never out of the layer.

A tar may name its members through a symlink that it brought itself (``s -> d``, then ``s/file``): docker unpacks inside
of a chroot, so that such a link is followed within the layer, an absolute target from the layer's top. Here, too; but a
link that climbs over the top by ``..`` is refused, and so is one whose target isn't there.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from layerscope.errors import CommitError
from layerscope.formats.escape import escape

MAX_LINKS = 40
"""Symlinks followed for one name, as in Linux."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 64

Names = tuple[bytes, ...]
"""A path by its components, none of them empty, ``.`` or ``..``."""


class Refused(CommitError):
    """A member breaks a rule; the message is the rule, and the member's name is still to be added."""


class Place(Struct, frozen=True):
    """An open directory of the layer. ``real``: its path, no symlinks in it."""

    fd: int
    real: Names

    def path_of(self, name: bytes) -> str:
        """The path of an entry of it, as it is on disk."""
        return os.fsdecode(b"/".join((*self.real, name)))

    def lstat(self, name: bytes) -> os.stat_result | None:
        """``lstat`` of an entry, None if there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextmanager
    def inner(self, name: bytes) -> Iterator[Place]:
        """The directory ``name`` of it, open inside the ``with``."""
        fd = os.open(name, _DIRECTORY, dir_fd=self.fd)
        try:
            yield Place(fd, (*self.real, name))
        finally:
            os.close(fd)


class Below:
    """Directories below ``top``, a descriptor that stays the caller's. Close it when done.

    ``make(place, name)`` is called for a directory that is missing, or has something else in its place.
    """

    def __init__(self, top: int, make: Callable[[Place, bytes], None]) -> None:
        self.top = Place(top, ())
        self._make = make
        # By the path as members give it, symlinks included.
        self._open: OrderedDict[Names, Place] = OrderedDict()

    def close(self) -> None:
        """Give all descriptors back."""
        while self._open:
            os.close(self._open.popitem()[1].fd)

    def enter(self, names: Names, *, make: bool) -> Place:
        """The directory at ``names``; it stays open for some dozens of further calls. ``make``: what is missing.

        Raises:
            Refused: a link on the way leads out of the layer or to no directory.
            OSError: the system call's; ENOENT, ENOTDIR where ``make`` is false.
        """
        if not names:
            return self.top
        known = self._open.get(names)
        if known is not None:
            self._open.move_to_end(names)
            return known
        nearest = names[:-1]
        if nearest not in self._open:
            nearest = max((path for path in self._open if names[: len(path)] == path), key=len, default=())
        here = kept = self._open[nearest] if nearest else self.top
        try:
            for name in names[len(nearest) :]:
                below = self._step(here, name, make)
                if here is not kept:
                    os.close(here.fd)
                here = below
        except BaseException:
            if here is not kept:
                os.close(here.fd)
            raise
        self._open[names] = here
        if len(self._open) > _OPEN_DIRECTORIES:
            os.close(self._open.popitem(last=False)[1].fd)
        return here

    def _step(self, here: Place, name: bytes, make: bool) -> Place:
        try:
            return Place(os.open(name, _DIRECTORY, dir_fd=here.fd), (*here.real, name))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            found = here.lstat(name)
            if found is not None and modes.S_ISLNK(found.st_mode):
                return self._follow(here, name)
            if not make:
                raise
        self._make(here, name)
        return Place(os.open(name, _DIRECTORY, dir_fd=here.fd), (*here.real, name))

    def _follow(self, here: Place, name: bytes) -> Place:
        """The directory that the symlink ``name`` leads to."""
        link = f"the symlink {escape(here.path_of(name))[:200]}"
        real = list(here.real)
        pending = _target(here.fd, name, real)
        links = 1
        place = self._reopen(real)
        try:
            while pending:
                step = pending.pop()
                found = None if step == b".." else place.lstat(step)
                if step == b"..":
                    if not real:
                        raise Refused(f"it lies behind {link}, which leads out of the layer")
                    real.pop()
                elif found is not None and modes.S_ISLNK(found.st_mode):
                    links += 1
                    if links > MAX_LINKS:
                        raise Refused(f"it lies behind {link}, which leads through more than {MAX_LINKS} others")
                    pending += _target(place.fd, step, real)
                elif found is None or not modes.S_ISDIR(found.st_mode):
                    raise Refused(f"it lies behind {link}, which leads to no directory of this layer")
                else:
                    real.append(step)
                below = self._reopen(real)
                os.close(place.fd)
                place = below
        except BaseException:
            os.close(place.fd)
            raise
        return place

    def _reopen(self, real: list[bytes]) -> Place:
        """The directory at a path without symlinks, with a descriptor of its own."""
        fd = os.dup(self.top.fd)
        for name in real:
            try:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return Place(fd, tuple(real))


def _target(directory: int, name: bytes, real: list[bytes]) -> list[bytes]:
    """The components of a symlink's target, the last one first; ``real`` starts over if it is absolute."""
    target = os.readlink(name, dir_fd=directory)
    if target.startswith(b"/"):
        real.clear()
    return [step for step in reversed(target.split(b"/")) if step not in (b"", b".")]
