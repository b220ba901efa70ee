"""The overlay of a lab that was made without privilege: changes of owner and mode are kept beside the files.

Everything else is the engine's own. What it makes belongs to the lab's user, which means root.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from layerscope.errors import CommitError, CorruptError
from layerscope.formats.override_stat import (
    OVERRIDE_STAT,
    OVERRIDE_XATTR,
    SIDE_RECORD,
    OverrideStat,
    SideEntry,
    side_record_text,
)
from layerscope.hostfs import Directory
from layerscope.lab.disk import Disk
from layerscope.lab.owners import kept_stat, read_owners
from layerscope.overlay.engine import Overlay, OverlayEntry

_REFUSED = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP}


class OwnedOverlay(Overlay):
    """An overlay over layers of such a lab, all of them directories with ``diff`` and maybe a side record in them.

    Args:
        home: the lab's directory of layers.
        lower: the names of the layers below, nearest first.
        upper: the name of the writable one.
        work: scratch beside it.
    """

    def __init__(self, home: Directory, path: Path, lower: Sequence[str], upper: str) -> None:
        owner = home.stat_self()
        self._disk = Disk(home)
        self._side_path = f"{upper}/{SIDE_RECORD}"
        try:
            names = [*reversed(lower), upper]
            self._owners = {n: read_owners(home.enter(name), owner) for n, name in enumerate(names, 1)}
        except CorruptError as error:
            raise CommitError(f"cannot change {upper}: {error}") from None
        self._top = len(lower) + 1
        self._side = dict(self._owners[self._top].side)
        self._owners[self._top] = replace(self._owners[self._top], side=self._side)
        super().__init__(
            [path / name / "diff" for name in lower], path / upper / "diff", path / upper / "work", xattr="user"
        )

    # ------------------------------------------------------------------ looking
    def _stat(self, path: str, follow: bool) -> os.stat_result:
        target = self._writer.existing(path, follow)
        stat = self._writer.stat(target)
        if not target.name:
            return self._owners[self._top].shown(stat, None)
        assert target.found is not None
        part = target.found.part
        owners = self._owners[part.level]
        return owners.shown(stat, kept_stat(part.directory, target.name, stat, target.path, owners))

    def scandir(self, path: str = ".") -> Iterator[OverlayEntry]:
        """As :meth:`Overlay.scandir`, owners and modes as meant."""
        base = path.rstrip("/")
        return (
            OverlayEntry(entry.name, entry.level, self._stat(f"{base}/{entry.name}", False))
            for entry in list(super().scandir(path))
        )

    # ------------------------------------------------------------------ owners and modes
    def chmod(self, path: str, mode: int, *, follow_symlinks: bool = True) -> None:
        """As :meth:`Overlay.chmod`; the file stays readable to the lab's user."""
        stat = self._stat(path, follow_symlinks)
        if not follow_symlinks and modes.S_ISLNK(stat.st_mode):
            super().chmod(path, mode, follow_symlinks=False)
        self._keep(path, follow_symlinks, OverrideStat(stat.st_uid, stat.st_gid, mode & 0o7777))
        least = 0o700 if modes.S_ISDIR(stat.st_mode) else 0o600
        super().chmod(path, mode & 0o777 | least)

    def chown(self, path: str, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        """As :meth:`Overlay.chown`, kept beside the file."""
        stat = self._stat(path, follow_symlinks)
        permissions = modes.S_IMODE(stat.st_mode)
        if modes.S_ISREG(stat.st_mode):
            # A change of owner takes set-id bits away, of the group only where it is executable.
            permissions &= ~(modes.S_ISUID | (modes.S_ISGID if permissions & modes.S_IXGRP else 0))
        kept = OverrideStat(stat.st_uid if uid < 0 else uid, stat.st_gid if gid < 0 else gid, permissions)
        self._keep(path, follow_symlinks, kept)

    def lchown(self, path: str, uid: int, gid: int) -> None:
        """As :meth:`Overlay.lchown`, kept beside the file."""
        self.chown(path, uid, gid, follow_symlinks=False)

    def _keep(self, path: str, follow: bool, kept: OverrideStat) -> None:
        target = self._writer.existing(path, follow)
        place = "/" + target.path
        stat = self._writer.stat(target)
        super().chown(place, -1, -1, follow_symlinks=False)
        if modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode):
            super().setxattr(place, OVERRIDE_STAT, kept.encode(), follow_symlinks=False)
        else:
            self._remember({target.path: SideEntry(kept)})

    def setxattr(
        self, path: str, attribute: str, value: bytes, flags: int = 0, *, follow_symlinks: bool = True
    ) -> None:
        """As :meth:`Overlay.setxattr`; a file capability is kept beside the file."""
        try:
            super().setxattr(path, attribute, value, flags, follow_symlinks=follow_symlinks)
        except OSError as error:
            if error.errno not in _REFUSED or attribute != "security.capability":
                raise
            super().setxattr(path, OVERRIDE_XATTR + attribute, value, flags, follow_symlinks=follow_symlinks)

    # ------------------------------------------------------------------ names
    def unlink(self, path: str) -> None:
        """As :meth:`Overlay.unlink`."""
        place = self._writer.existing(path, follow=False).path
        super().unlink(path)
        self._forget(place)

    def rename2(self, src: str, dst: str, flags: int = 0) -> None:
        """As :meth:`Overlay.rename2`."""
        self._rename(src, dst, flags)

    def rename(self, src: str, dst: str) -> None:
        """As :meth:`Overlay.rename`."""
        self._rename(src, dst, 0)

    def _rename(self, src: str, dst: str, flags: int) -> None:
        source = self._writer.existing(src, follow=False).path
        carried = self._carried(src)
        target = self._writer.locate(dst, follow=False).path
        super().rename2(src, dst, flags)
        moved = {
            target + path.removeprefix(source): entry
            for path, entry in self._side.items()
            if path == source or path.startswith(source + "/")
        }
        exchanged = {
            source + path.removeprefix(target): entry
            for path, entry in self._side.items()
            if flags & 2 and (path == target or path.startswith(target + "/"))
        }
        self._forget(source, target)
        self._remember({**moved, **exchanged, **({target: carried} if carried else {})})

    def link(self, src: str, dst: str) -> None:
        """As :meth:`Overlay.link`."""
        carried = self._carried(src)
        super().link(src, dst)
        if carried:
            self._remember({self._writer.existing(dst, follow=False).path: carried})

    def _carried(self, path: str) -> SideEntry | None:
        """What a side record says of an entry that can't carry it itself."""
        target = self._writer.existing(path, follow=False)
        if target.found is None:
            return None
        return self._owners[target.found.part.level].side.get(target.path)

    # ------------------------------------------------------------------ the side record
    def _remember(self, entries: dict[str, SideEntry]) -> None:
        if entries:
            self._side.update(entries)
            self._write()

    def _forget(self, *paths: str) -> None:
        gone = [kept for kept in self._side for path in paths if kept == path or kept.startswith(path + "/")]
        for path in gone:
            self._side.pop(path, None)
        if gone:
            self._write()

    def _write(self) -> None:
        aside = self._disk.write_aside(self._side_path, side_record_text(self._side), 0o600)
        self._disk.rename(aside, self._side_path, replace=True)
