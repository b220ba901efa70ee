"""Whiteouts and opaque marks of a layer that is being built, in the form that the file system takes."""

from __future__ import annotations

import os
import stat as modes

from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, is_whiteout_device
from layerscope.lab.layer.attributes import Attributes, Keeper
from layerscope.lab.layer.below import Below, Names, Place, Refused
from layerscope.lab.layer.member_rules import names_of
from layerscope.lab.root.abilities import Abilities, WhiteoutForm

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = NAME_PREFIX.encode()
_OPAQUE_NAME = NAME_OPAQUE.encode()


class Marks:
    """Makes marks, knows them again, and takes them away where an entry comes in their place."""

    def __init__(self, abilities: Abilities, keeper: Keeper) -> None:
        self._form = abilities.whiteouts
        self._dialect = abilities.dialect
        self._keeper = keeper
        # Directories that whiteouts were made in: elsewhere nothing has to be looked for.
        self._marked: set[Names] = set()

    def make_whiteout(self, place: Place, name: bytes, attributes: Attributes) -> None:
        """Mark ``name`` as deleted.

        Raises:
            OSError: EEXIST if the name is taken.
        """
        mark = name
        self._marked.add(place.real)
        if self._form is WhiteoutForm.DEVICE:
            os.mknod(name, modes.S_IFCHR, os.makedev(0, 0), dir_fd=place.fd)
        else:
            mark = _PREFIX + name if self._form is WhiteoutForm.NAME else name
            fd = os.open(mark, _CREATE, 0o600, dir_fd=place.fd)
            try:
                if self._form is WhiteoutForm.XATTR:
                    os.setxattr(fd, self._dialect.whiteout_key, b"y")
                    self._announce(place)
            finally:
                os.close(fd)
        self._keeper.on_mark(place, mark, attributes)

    def link(self, below: Below, first_name: str, place: Place, name: bytes, attributes: Attributes) -> bool:
        """Mark ``name`` as deleted by a further name of the whiteout at ``first_name``, if there is such a device."""
        try:
            first = names_of(first_name)
            source = below.enter(first[:-1], make=False)
        except (OSError, Refused):
            return False
        found = source.lstat(first[-1]) if first else None
        if found is None or not is_whiteout_device(found):
            return False
        self._marked.add(place.real)
        os.link(first[-1], name, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)
        self._keeper.on_mark(place, name, attributes)
        return True

    def make_opaque(self, place: Place) -> None:
        """Mark a directory as one that hides what lies below it."""
        if self._form is not WhiteoutForm.NAME:
            os.setxattr(place.fd, self._dialect.opaque_key, b"y")
            return
        try:
            os.close(os.open(_OPAQUE_NAME, _CREATE, 0o600, dir_fd=place.fd))
        except FileExistsError:
            pass

    def is_whiteout(self, place: Place, name: bytes, stat: os.stat_result) -> bool:
        """Whether the entry of that ``lstat`` is a mark."""
        if is_whiteout_device(stat):
            return True
        if self._form is not WhiteoutForm.XATTR or not modes.S_ISREG(stat.st_mode) or stat.st_size:
            return False
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
        try:
            return self._dialect.whiteout_key in os.listxattr(fd)
        finally:
            os.close(fd)

    def give_way(self, place: Place, name: bytes) -> bool:
        """Take a whiteout of ``name`` away, for what comes in its place; whether there was one."""
        if place.real not in self._marked:
            return False
        mark = _PREFIX + name if self._form is WhiteoutForm.NAME else name
        found = place.lstat(mark)
        if found is None or not (self._form is WhiteoutForm.NAME or self.is_whiteout(place, name, found)):
            return False
        os.unlink(mark, dir_fd=place.fd)
        self._keeper.forget(place.path_of(mark))
        return True

    def _announce(self, place: Place) -> None:
        """Say that whiteouts by attribute are in this directory; one that is opaque stays so."""
        try:
            if os.getxattr(place.fd, self._dialect.opaque_key) == b"y":
                return
        except OSError:
            pass
        os.setxattr(place.fd, self._dialect.opaque_key, b"x")
