"""Where the names of a layer's tar lie in the layer's directory.

A tar may write through a symlinked directory, so the folders on the way are resolved inside the layer: an absolute
target begins at the layer's top, ``..`` never leaves it. The last name of a path is never followed.
Source: moby pkg/archive/archive.go ``Unpack``, which runs with the layer as its root.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat as modes

from msgspec import Struct

from layerscope.model.tree import LayerDirectory

_MOST_LINKS = 40
_KEPT = 1024
_LONGEST = 4096


class Place(Struct, frozen=True):
    """A directory of the layer. ``path`` is the real one, without symlinks; "" is the top, where ``above`` is None."""

    directory: LayerDirectory
    path: str
    above: Place | None

    def path_of(self, name: str) -> str:
        """The real path of an entry."""
        return f"{self.path}/{name}" if self.path else name


class Places:
    """The directories of one layer by their names in the tar; those used last are remembered."""

    def __init__(self, top: LayerDirectory) -> None:
        self.top = Place(top, "", None)
        self._known: dict[str, Place] = {}

    def split(self, name: str) -> tuple[Place, str]:
        """The directory and the last name of an entry of the tar; "" is the top itself.

        Raises:
            OSError: a directory on the way isn't there, or is none.
        """
        folder, _, last = name.rpartition("/")
        if last in ("", ".", ".."):
            folder, _, last = posixpath.normpath("/" + name.lstrip("/")).rpartition("/")
        known = self._known.get(folder)
        return (known if known is not None else self._find(folder)), last

    def _find(self, folder: str) -> Place:
        if len(folder) > _LONGEST:
            raise OSError(errno.ENAMETOOLONG, "name too long", folder[:100])
        normal = posixpath.normpath("/" + folder.lstrip("/"))[1:]
        place = self._known.get(normal)
        if place is None:
            place = self._walk(normal)
        if len(self._known) >= 2 * _KEPT:
            for old in list(self._known)[:_KEPT]:
                del self._known[old]
        self._known[folder] = self._known[normal] = place
        return place

    def _walk(self, folder: str) -> Place:
        place, rest = self.top, folder
        above = folder
        while above:  # the nearest folder above that is known
            above = above.rpartition("/")[0]
            known = self._known.get(above)
            if known is not None and above:
                place, rest = known, folder[len(above) + 1 :]
                break
        pending = [name for name in reversed(rest.split("/")) if name]
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                place = place.above or place
                continue
            mode = place.directory.stat(name).st_mode
            if modes.S_ISDIR(mode):
                place = Place(place.directory.enter(name), place.path_of(name), place)
            elif modes.S_ISLNK(mode):
                links += 1
                target = place.directory.readlink(name)
                if links > _MOST_LINKS or len(pending) > _LONGEST:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                if target.startswith("/"):
                    place = self.top
                pending.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return place
