"""What every writing operation of the engine stands on: fresh views, the upper layer, copy-up of what it touches."""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.overlay.copy_up import copy_up, fill_data
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.target import Target, failure, locate
from layerscope.overlay.upper import Upper
from layerscope.overlay.view import MergedView, ViewLevel


class Features(Struct, frozen=True):
    """The mount options that change what is written, as the kernel names them."""

    redirect_dir: bool = False
    metacopy: bool = False

    @property
    def opaque_mkdir(self) -> bool:
        """Whether every new directory in a merged one is made opaque."""
        return self.redirect_dir or self.metacopy


class Writer:
    """The levels of one overlay, base first, the writable one last (if there is one)."""

    def __init__(self, lowers: Sequence[Path], upper: Upper | None, dialect: Dialect, features: Features) -> None:
        self.dialect = dialect
        self.features = features
        self._upper = upper
        self._tops = [Directory.open_root(lower) for lower in reversed(lowers)]
        self._levels = [ViewLevel(number, top, dialect=dialect) for number, top in enumerate(self._tops, 1)]
        self.upper_level = len(self._levels) + 1
        if upper is not None:
            self._levels.append(ViewLevel(self.upper_level, upper.top, dialect=dialect))

    def close(self) -> None:
        """Give all descriptors back."""
        for top in self._tops:
            top.close()
        if self._upper is not None:
            self._upper.close()

    def view(self) -> MergedView:
        """A view of now: views remember what they have read, so each operation makes its own."""
        return MergedView(self._levels)

    @property
    def is_writable(self) -> bool:
        """Whether there is an upper layer."""
        return self._upper is not None

    @property
    def upper(self) -> Upper:
        """The writable layer.

        Raises:
            OSError: EROFS if there is none.
        """
        if self._upper is None:
            raise failure(errno.EROFS, "")
        return self._upper

    def demand_upper(self) -> None:
        """Refuse a change of a read-only overlay, which the kernel does before it looks a name up.

        Raises:
            OSError: EROFS.
        """
        if self._upper is None:
            raise failure(errno.EROFS, "")

    def locate(self, path: str, follow: bool) -> Target:
        """Resolve a path in a view of now."""
        return locate(self.view(), path, follow)

    def existing(self, path: str, follow: bool) -> Target:
        """Resolve a path that must lead to something; a metadata-only file without data is an error, as in the kernel.

        Raises:
            OSError: ENOENT and as :func:`locate`.
        """
        target = self.locate(path, follow)
        if target.name and target.found is None:
            raise failure(errno.ENOENT, path)
        return target

    # ------------------------------------------------------------------ levels of a target
    def in_upper(self, target: Target) -> bool:
        """Whether the upper layer serves it."""
        if not target.name:
            return True
        return target.found is not None and target.found.part.level == self.upper_level

    def is_merged(self, directory: MergedDirectory) -> bool:
        """Whether a directory is in the upper layer and goes on in a lower one. The root always does."""
        levels = [part.level for part in directory.parts]
        return self.upper_level in levels and (len(levels) > 1 or not directory.path)

    def has_lower(self, parent: MergedDirectory, name: str) -> bool:
        """Whether the name would be seen if the upper layer were left out, in this parent's stack."""
        for part in parent.parts:
            if part.level == self.upper_level:
                continue
            kind = part.kind(name)
            if kind is not None:
                return kind != "w"
        return False

    def lower_part(self, parent: MergedDirectory, name: str) -> Part | None:
        """The topmost lower part of the directory ``name``, through its redirect if it has one."""
        child = parent.child(name)
        return next((part for part in child.parts if part.level != self.upper_level), None)

    # ------------------------------------------------------------------ copy-up
    def raise_directory(self, path: str) -> Directory:
        """The upper layer's own directory at ``path``, copied up with its parents if need be, from the top down."""
        upper = self.upper
        here, merged = upper.top, self.view().root
        for name in path.split("/") if path else ():
            part = merged.child(name).parts[0]
            if part.level != self.upper_level:
                found = merged.lookup(name)
                assert found is not None
                copy_up(upper, merged, found.part, name, here)
            here, merged = here.enter(name), merged.child(name)
        return here

    def raise_target(self, target: Target, *, data: bool = True, metadata_only: bool = False) -> tuple[Directory, str]:
        """The upper directory and name of an existing object, copied up if need be ("" as name: the root itself).

        ``data`` false: the file is about to be truncated. ``metadata_only``: with metacopy its data may stay below.
        """
        upper = self.upper
        if not target.name:
            return upper.top, ""
        assert target.found is not None
        if self.in_upper(target):
            folder = upper.top.descend(target.parent.path)
            if data and not metadata_only and target.found.kind == "f":
                self._fill(target, folder)
            return folder, target.name
        folder = self.raise_directory(target.parent.path)
        partial = metadata_only and self.features.metacopy and target.found.kind == "f"
        copy_up(upper, target.parent, target.found.part, target.name, folder, data=data, metadata_only=partial)
        return folder, target.name

    def _fill(self, target: Target, folder: Directory) -> None:
        """Give a metadata-only copy its data."""
        if folder.xattr(self.dialect.metacopy_key, target.name) is not None:
            fill_data(self.upper, target.parent, target.name, folder)

    def keeps_data_below(self, folder: Directory, name: str) -> bool:
        """Whether an upper file is a metadata-only copy."""
        return folder.xattr(self.dialect.metacopy_key, name) is not None

    def stat(self, target: Target) -> os.stat_result:
        """``lstat`` of an existing target, as the view shows it: a merged directory has one link."""
        if not target.name:
            return linked_once(target.parent.stat(), target.parent)
        assert target.found is not None
        stat = target.found.part.directory.stat(target.name)
        if target.found.kind == "d":
            return linked_once(stat, target.parent.child(target.name))
        if modes.S_ISREG(stat.st_mode):
            target.parent.data_of(target.found.part, target.name)
        return stat


def linked_once(stat: os.stat_result, directory: MergedDirectory) -> os.stat_result:
    """``stat`` of a directory as an overlay shows it: with one link if it goes on in another level."""
    if len(directory.parts) < 2:
        return stat
    reduced: Any = stat.__reduce__()
    values = list(reduced[1][0])
    values[3] = 1
    return os.stat_result(tuple(values), dict(reduced[1][1]))
