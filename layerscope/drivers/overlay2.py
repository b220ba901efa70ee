"""overlay2: one directory a layer, holding what that layer changed, in the kernel's own marks.

| below ``overlay2/`` | what |
| --- | --- |
| ``<id>/diff/`` | the layer's own files |
| ``<id>/link`` | its short name, 26 characters A–Z2–7, no newline |
| ``<id>/lower`` | ``l/AAA:l/BBB:…``, nearest lower first; absent for a base layer |
| ``<id>/work/``, ``merged/``, ``committed`` | overlay's scratch, the mount point, "has children" |
| ``l/<short>`` | symlink ``../<id>/diff`` |

Short names are resolved through the ``link`` files, never through the symlinks of ``l/``, which may be missing,
dangling or lead elsewhere. Source: moby daemon/graphdriver/overlay2/overlay.go; seen with 20.10.24 and 26.1.5.
"""

from __future__ import annotations

import os
import re

from layerscope.errors import CorruptError
from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, is_file_name
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory

_SHORT_NAME = re.compile(r"[A-Z2-7]{26}")
_RECORD_LIMIT = 1 << 16


class Overlay2:
    """The overlay2 driver on one root."""

    name = "overlay2"
    kind = LayerKind.DIFF
    sizes_by_walk = True

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        self.dialect = dialect
        self._root = root
        self._home = root.enter(self.name)
        self._shorts: dict[str, CacheID] | None = None

    def layer_ids(self) -> list[CacheID]:
        """The directories below ``overlay2/`` but ``l``, sorted."""
        try:
            entries = self._home.scan()
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(CacheID(name) for name, kind in entries if kind == "d" and name != "l")

    def layer_path(self, cache_id: CacheID) -> str:
        """``overlay2/<id>/diff``."""
        return f"{self.name}/{cache_id}/diff"

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The layer's ``diff`` directory."""
        top = self._home.enter(cache_id).enter("diff")
        top.stat_self()
        return top

    # ------------------------------------------------------------------ the driver's own records
    def _record(self, cache_id: CacheID, name: str) -> str | None:
        """A small text record of a layer, None if it is missing or unreadable."""
        try:
            data = self._home.enter(cache_id).read(name, _RECORD_LIMIT)
        except (OSError, CorruptError):
            return None
        return os.fsdecode(data).strip()

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
            return None if self._home.enter(cache_id).stat_or_none("lower") else []
        found: list[CacheID] = []
        for item in text.split(":"):
            lower = self._resolve(item.removeprefix("l/")) if item.startswith("l/") else None
            if lower is None:
                return None
            found.append(lower)
        return found

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """Missing contents, a missing or bad ``link``, a missing ``l/`` name, a ``lower`` that can't be resolved."""
        folder = f"{self.name}/{cache_id}"
        try:
            here = {name for name, _ in self._home.enter(cache_id).scan()}
        except OSError as error:
            what = f"contents missing: {os.strerror(error.errno or 0)}"
            return [Problem(folder, what, "its files can't be shown", "restore the directory, or pull the image again")]
        found = []
        if "diff" not in here:
            found.append(Problem(f"{folder}/diff", "contents missing", "its files can't be shown"))
        link = self._record(cache_id, "link")
        if not link or not _SHORT_NAME.fullmatch(link):
            what = "missing" if link is None else f"is {link[:40]!r}, expected 26 characters A-Z2-7"
            effect = "the engine can't mount what stands on it; order is taken from the layer records"
            found.append(Problem(f"{folder}/link", what, effect))
        elif self._home.enter("l").stat_or_none(link) is None:
            effect = "the engine can't start or diff what uses this layer"
            hint = f"ln -s ../{cache_id}/diff overlay2/l/{link}"
            found.append(Problem(f"{self.name}/l/{link}", "short name missing", effect, hint, Severity.WARNING))
        if "lower" in here and self.lower_ids(cache_id) is None:
            effect = "the engine can't mount it; order is taken from the layer records"
            found.append(Problem(f"{folder}/lower", "names layers that are not there", effect))
        return found
