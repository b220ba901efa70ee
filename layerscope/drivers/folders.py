"""What several drivers have in common: layers as folders, and layers with the short names of overlay2."""

from __future__ import annotations

import os
import re
import stat as modes
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

from layerscope.errors import CorruptError, PermissionDenied, RootError
from layerscope.formats.escape import escape
from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.hostfs.walk import inodes_below
from layerscope.model.digest import CacheID, is_file_name
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory

if TYPE_CHECKING:
    from pathlib import Path

_MOST_LOWER = 128
"""How many layers the engine puts below one, at most. Source: moby overlay2 ``maxDepth``."""
_SHORT_NAME = re.compile(r"[A-Z2-7]{26}")
_RECORD_LIMIT = 1 << 16
_BLOCK = 512


LayerDirs = tuple[tuple[CacheID, "Path"], ...]


def open_handed(layer_dirs: LayerDirs) -> dict[CacheID, Directory]:
    """The directories that were handed over for layers. Paths below one begin with its own.

    Raises:
        RootError: one can't be opened; PermissionDenied: this user may not.
    """
    found = {}
    for cache_id, path in layer_dirs:
        try:
            outer = Directory.open_root(path)
            try:
                found[cache_id] = outer.as_root(os.path.abspath(path))
            finally:
                outer.close()
            found[cache_id].scan()
        except PermissionError:
            raise PermissionDenied(f"cannot open {escape(str(path))}: permission denied; run as root") from None
        except OSError as error:
            raise RootError(f"cannot open {escape(str(path))}: {error.strerror or error}") from None
    return found


class LayerFolders:
    """Layers that are folders: the files of one are ``<home>/<cache ID>/<inside>``, relative to the root."""

    home: ClassVar[str]
    inside: ClassVar[str] = ""

    def __init__(self, root: Directory, dialect: Dialect, layer_dirs: LayerDirs = ()) -> None:
        """The driver of ``root``; ``layer_dirs``: where the files of some layers lie instead.

        Raises:
            RootError: one of those isn't there; PermissionDenied: this user may not read it.
        """
        self.dialect = dialect
        self._home = root.descend(self.home)
        self.handed = open_handed(layer_dirs)

    def layer_ids(self) -> list[CacheID]:
        """The directories in ``home``, sorted, and those that lie elsewhere."""
        try:
            entries = self._home.scan()
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        return sorted({*self.handed, *(CacheID(name) for name, kind in entries if kind == "d")})

    def layer_path(self, cache_id: CacheID) -> str:
        """``<home>/<cache ID>/<inside>``; an absolute path if it lies elsewhere."""
        if cache_id in self.handed:
            return self.handed[cache_id].shown
        return f"{self.home}/{cache_id}/{self.inside}".rstrip("/")

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The top of a layer's tree. Raises as ``Driver.open_layer``."""
        top = self._top(cache_id)
        top.stat_self()
        return top

    def _top(self, cache_id: CacheID) -> Directory:
        if cache_id in self.handed:
            return self.handed[cache_id]
        folder = self._home.enter(cache_id)
        return folder.enter(self.inside) if self.inside else folder

    def _record(self, cache_id: CacheID, name: str) -> str | None:
        """A small text record beside a layer's files, None if it is missing or unreadable."""
        try:
            data = self._home.enter(cache_id).read(name, _RECORD_LIMIT)
        except (OSError, CorruptError):
            return None
        return os.fsdecode(data).strip()


class SpreadFolders(LayerFolders):
    """Layers that are folders of several roots of one layout: of the opened one first, then of those added."""

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, dialect)
        self._more: list[Self] = []
        self._seen: Callable[[CacheID, Directory], LayerDirectory] | None = None

    def show_owners(self, seen: Callable[[CacheID, Directory], LayerDirectory]) -> None:
        """From now on the top of a layer is given as ``seen`` makes it of the directory on disk."""
        self._seen = seen

    def add_root(self: Self, root: Directory) -> None:
        """Look for layers in ``root``, too."""
        self._more.append(type(self)(root, self.dialect))

    def _holder(self, cache_id: CacheID) -> Self:
        """Who has a layer's directory; this one if nobody has it."""
        if self._more and not self._has(cache_id):
            return next((other for other in self._more if other._has(cache_id)), self)
        return self

    def _has(self, cache_id: CacheID) -> bool:
        try:
            return self._home.stat_or_none(cache_id) is not None
        except OSError:
            return False

    def layer_ids(self) -> list[CacheID]:
        """The directories in every ``home``, sorted."""
        return sorted({*super().layer_ids()}.union(*(other.layer_ids() for other in self._more)))

    def layer_path(self, cache_id: CacheID) -> str:
        """``<home>/<cache ID>/<inside>``; an absolute path in a root that was added."""
        return f"{self._holder(cache_id)._home.path}/{cache_id}/{self.inside}".rstrip("/")

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The top of a layer's tree. Raises as ``Driver.open_layer``."""
        holder = self._holder(cache_id)
        top = super().open_layer(cache_id) if holder is self else holder.open_layer(cache_id)
        return self._seen(cache_id, top) if self._seen is not None and isinstance(top, Directory) else top


class LinkedLayers(LayerFolders):
    """Layers of changes with short names, as overlay2 has them and fuse-overlayfs has taken over from it.

    | below ``home`` | what |
    | --- | --- |
    | ``<id>/diff/`` | the layer's own files |
    | ``<id>/link`` | its short name, 26 characters A–Z2–7, no newline |
    | ``<id>/lower`` | ``l/AAA:l/BBB:…``, nearest lower first; absent for a base layer |
    | ``<id>/work/``, ``merged/``, ``committed`` | overlay's scratch, the mount point, "has children" |
    | ``l/<short>`` | symlink ``../<id>/diff`` |

    Short names are resolved through the ``link`` files, never through the symlinks of ``l/``, which may be missing,
    dangling or lead elsewhere.
    """

    inside = "diff"
    kind = LayerKind.DIFF
    most_lower: ClassVar[int] = _MOST_LOWER

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, dialect)
        self._shorts: dict[str, CacheID] | None = None
        self._resolved: dict[str, CacheID] = {}

    def layer_ids(self) -> list[CacheID]:
        """The directories in ``home`` but ``l``, sorted."""
        return [cache_id for cache_id in super().layer_ids() if cache_id != "l"]

    def short_names(self) -> dict[str, CacheID]:
        """Short name to cache ID, from the ``link`` file of every layer."""
        if self._shorts is None:
            shorts = {}
            for cache_id in self.layer_ids():
                link = self._record(cache_id, "link")
                if link:
                    shorts[link] = cache_id
            self._shorts = shorts
        return self._shorts

    def _resolve(self, short: str) -> CacheID | None:
        """The layer of a short name, looked up once: each of a stack's layers names all below it."""
        found = self._resolved.get(short)
        if found is None and (found := self._look_up(short)) is not None:
            self._resolved[short] = found
        return found

    def _look_up(self, short: str) -> CacheID | None:
        """The layer of a short name: by the symlink's text if the ``link`` file agrees, else by all ``link`` files."""
        if not is_file_name(short):
            return None
        if self._shorts is None:
            try:
                target = self._home.enter("l").readlink(short)
            except OSError:
                target = ""
            names = target.split("/")
            if len(names) == 3 and names[0] == ".." and names[2] == "diff" and is_file_name(names[1]):
                cache_id = CacheID(names[1])
                if self._record(cache_id, "link") == short:
                    return cache_id
        return self.short_names().get(short)

    def lower_ids(self, cache_id: CacheID) -> list[CacheID] | None:
        """The cache IDs that a mount of this layer would put below it, nearest first."""
        text = self._record(cache_id, "lower")
        if text is None:
            return [] if self._is_base(cache_id) else None
        items = text.split(":")
        found: dict[CacheID, None] = {}
        for item in items if len(items) <= self.most_lower else ("",):
            lower = self._resolve(item.removeprefix("l/")) if item.startswith("l/") else None
            if lower is None or lower == cache_id or lower in found:
                return None
            found[lower] = None
        return list(found)

    def _is_base(self, cache_id: CacheID) -> bool:
        """Whether the layer is there and has no ``lower`` at all."""
        try:
            return self._home.enter(cache_id).stat_or_none("lower") is None
        except OSError:
            return False

    def lower_record(self, cache_id: CacheID) -> str:
        """``<home>/<id>/lower``."""
        return f"{self.home}/{cache_id}/lower"

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """Missing contents, a missing or bad ``link``, a missing ``l/`` name, a ``lower`` that can't be resolved."""
        folder = f"{self.home}/{cache_id}"
        try:
            contents, lower = self._home.enter(cache_id).stats(("diff", "lower"))
        except OSError as error:
            what, hint = (
                f"contents missing: {os.strerror(error.errno or 0)}",
                "restore the directory, or pull the image again",
            )
            if isinstance(error, PermissionError):
                what, hint = "can't be read without privilege", "run as root"
            return [Problem(folder, what, "its files can't be shown", hint)]
        found = []
        if contents is None or not modes.S_ISDIR(contents.st_mode):
            what = "contents missing" if contents is None else "contents missing: it is not a directory"
            found.append(Problem(f"{folder}/diff", what, "its files can't be shown"))
        link = self._record(cache_id, "link")
        if not link or not _SHORT_NAME.fullmatch(link):
            what = "missing" if link is None else f"is {link[:40]!r}, expected 26 characters A-Z2-7"
            effect = "the engine can't mount what stands on it; order is taken from the layer records"
            found.append(Problem(f"{folder}/link", what, effect))
        elif what := self._wrong_short_name(link, cache_id):
            effect = "the engine can't start or diff what uses this layer, or takes other files for it"
            hint = f"ln -s ../{cache_id}/diff {self.home}/l/{link}"
            found.append(Problem(f"{self.home}/l/{link}", what, effect, hint, Severity.WARNING))
        if lower is not None and self.lower_ids(cache_id) is None:
            what = f"names layers that are not there, one twice, or more than {self.most_lower}"
            effect = "the engine can't mount it; order is taken from the layer records"
            found.append(Problem(f"{folder}/lower", what, effect))
        return found

    def _wrong_short_name(self, short: str, cache_id: CacheID) -> str:
        """What is wrong with a symlink of ``l/``; "" if nothing is, or this user may not look."""
        try:
            target = self._home.enter("l").readlink(short)
        except PermissionError:
            return ""
        except OSError:  # the folder of short names, too, may be missing, or be something else
            return "short name missing"
        return "" if target == f"../{cache_id}/diff" else f"short name leads to {target[:80]!r}"


class SnapshotFolders(LayerFolders):
    """containerd's snapshots: folders with numbers for names, counted by the blocks that they take."""

    def layer_ids(self) -> list[CacheID]:
        """The numbered directories in ``home``, by number; half-made ones have other names."""
        numbered = (cache_id for cache_id in super().layer_ids() if cache_id.isascii() and cache_id.isdigit())
        return sorted(numbered, key=lambda cache_id: (len(cache_id), cache_id))

    def layer_path(self, cache_id: CacheID) -> str:
        """The snapshot's files, relative to the opened root; absolute where containerd's root lies outside of it."""
        return f"{self._home.path}/{cache_id}/{self.inside}".rstrip("/")

    def disk_usage(self, cache_id: CacheID, cancelled: Callable[[], bool] = lambda: False) -> int:
        """The bytes of all blocks of a snapshot, its top directory's included, each inode once.

        What vanishes meanwhile is left out. Source: containerd continuity, fs/du_unix.go.
        """
        top = self.open_layer(cache_id)
        below = sum(stat.st_blocks for _, _, stat in inodes_below(top, cancelled, directories=True))
        return (top.stat_self().st_blocks + below) * _BLOCK
