"""What an overlay's user can't set, kept beside the files of the upper layer: owners, modes, devices, capabilities.

| refused | kept |
| --- | --- |
| owner and group of a file or directory | attribute ``user.containers.override_stat`` on it, mode included |
| the same of a symlink, FIFO or socket, or where ``user.*`` attributes can't be set | the side record of the layer |
| a device node | an empty file whose attribute says what it is |
| a file capability | attribute ``user.containers.override_xattr.security.capability`` |

An entry with such a record lies on disk with permissions that let its owner read and change it; the ones that are
meant stand in the record. The forms: :mod:`layerscope.formats.override_stat`.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from layerscope.formats.override_stat import (
    OVERRIDE,
    OVERRIDE_STAT,
    OVERRIDE_XATTR,
    OverrideStat,
    SideEntry,
)
from layerscope.hostfs.rename import RENAME_EXCHANGE
from layerscope.overlay import attributes, namespace
from layerscope.overlay.operations import Operations
from layerscope.overlay.owners import KEPT_XATTRS, Owners, kept_stat
from layerscope.overlay.part import Part
from layerscope.overlay.side_file import SideFile, owners_beside, side_file_of
from layerscope.overlay.target import Target, failure
from layerscope.overlay.upper import proc_path
from layerscope.overlay.writer import Writer

_REFUSED = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL}
_PLAIN = (modes.S_IFREG, modes.S_IFDIR)
_DEVICES = (modes.S_IFCHR, modes.S_IFBLK)


class Keeping(Operations):
    """Reads and writes the records of one overlay.

    Args:
        writer: the overlay's levels.
        owners: what is kept beside each level, base first, the upper one last (if there is one).
        record: the upper layer's side record; None for a read-only overlay.
        as_root: the user stands for root, who may do everything: what is made is root's, and no change of owner or
            mode is left to the file system. Else only what the file system refuses is kept.
    """

    def __init__(self, writer: Writer, owners: Sequence[Owners], record: SideFile | None, as_root: bool) -> None:
        super().__init__(writer)
        self._record = record
        self.as_root = as_root
        levels = list(owners)
        self._side: dict[str, SideEntry] = {}
        if record is not None:
            self._side = dict(levels[-1].side)
            levels[-1] = replace(levels[-1], side=self._side)
        self._owners = dict(enumerate(levels, 1))
        if writer.is_writable:
            writer.upper.keeping = self

    @classmethod
    def beside(cls, writer: Writer, lower: Sequence[Path], upper: Path | None) -> Self:
        """What is kept beside layers by their paths (``lower`` top first), ids meaning themselves."""
        layers = [*reversed(lower), *([upper] if upper is not None else [])]
        owners = [owners_beside(Path(layer)) for layer in layers]
        return cls(writer, owners, side_file_of(Path(upper)) if upper is not None else None, as_root=False)

    def close(self) -> None:
        """Give back what is open."""
        if self._record is not None:
            self._record.close()

    # ------------------------------------------------------------------ looking
    def shown(self, part: Part, name: str, stat: os.stat_result) -> os.stat_result:
        """``stat`` of the entry ``name`` of a level's directory ("": itself), as it is meant."""
        owners = self._owners[part.level]
        return owners.shown(stat, self._kept(part, name, stat))

    def stat(self, target: Target) -> os.stat_result:
        """``lstat`` of what is there, as it is meant."""
        part = target.parent.parts[0] if target.found is None else target.found.part
        return self.shown(part, target.name, self._writer.stat(target))

    def _kept(self, part: Part, name: str, stat: os.stat_result) -> OverrideStat | None:
        path = f"{part.path}/{name}" if part.path and name else name or part.path
        return kept_stat(part.directory, name, stat, path, self._owners[part.level])

    # ------------------------------------------------------------------ mode and owner
    def chmod(self, path: str, mode: int, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.chmod`."""
        target = self._writer.existing(path, follow)
        own = self._writer.stat(target)
        if not follow and modes.S_ISLNK(own.st_mode):
            raise failure(errno.EOPNOTSUPP, path)
        kept = self._kept_of(target)
        if not self.as_root and kept is None:
            super().chmod(path, mode, follow)
            target = self._writer.existing("/" + target.path, follow=False)
            kept = self._kept_of(target)  # a copy-up may have left one
            if kept is None and modes.S_IMODE(self._writer.stat(target).st_mode) == mode & 0o7777:
                return
        self._keep(target, replace(kept or _record_of(self.stat(target)), permissions=mode & 0o7777))

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.chown`."""
        target = self._writer.existing(path, follow)
        kept = self._kept_of(target)
        if not self.as_root and kept is None:
            refused = False
            try:
                super().chown(path, uid, gid, follow)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EINVAL):
                    raise
                refused = True
            target = self._writer.existing("/" + target.path, follow=False)
            kept = self._kept_of(target)  # a copy-up may have left one
            if kept is None and not refused:
                return
        stat = self.stat(target)
        permissions = modes.S_IMODE(stat.st_mode)
        if modes.S_ISREG(stat.st_mode):
            # A change of owner takes set-id bits away, of the group only where it is executable.
            permissions &= ~(modes.S_ISUID | (modes.S_ISGID if permissions & modes.S_IXGRP else 0))
        self._keep(
            target,
            replace(
                kept or _record_of(stat),
                uid=stat.st_uid if uid < 0 else uid,
                gid=stat.st_gid if gid < 0 else gid,
                permissions=permissions,
            ),
        )
        self._drop_capability(target)

    def _kept_of(self, target: Target) -> OverrideStat | None:
        part = target.parent.parts[0] if target.found is None else target.found.part
        return self._kept(part, target.name, self._writer.stat(target))

    def _keep(self, target: Target, kept: OverrideStat) -> None:
        folder, name = self._writer.raise_target(target, metadata_only=True)
        kind = modes.S_IFMT((folder.stat(name) if name else folder.stat_self()).st_mode)
        with folder.held() as fd:
            entry = _put(fd, name, kind, kept)
        if entry is not None:
            self._remember({target.path: entry})

    def about_to_write(self, path: str) -> None:
        """A file's capability goes when its content is changed."""
        self._drop_capability(self._writer.existing(path, follow=False))

    def _drop_capability(self, target: Target) -> None:
        with attributes.stored(target) as (fd, name):
            for key in KEPT_XATTRS if name else ():
                try:
                    os.removexattr(proc_path(fd, name), OVERRIDE_XATTR + key, follow_symlinks=False)
                except OSError:
                    continue

    # ------------------------------------------------------------------ extended attributes
    def getxattr(self, path: str, key: str, follow: bool) -> bytes:
        """As :func:`layerscope.overlay.attributes.getxattr`."""
        if key.startswith(OVERRIDE):
            raise failure(errno.ENODATA, path)
        try:
            return super().getxattr(path, key, follow)
        except OSError as error:
            if error.errno != errno.ENODATA or key not in KEPT_XATTRS:
                raise
            return super().getxattr(path, OVERRIDE_XATTR + key, follow)

    def listxattr(self, path: str, follow: bool) -> list[str]:
        """As :func:`layerscope.overlay.attributes.listxattr`."""
        found = super().listxattr(path, follow)
        kept = [key.removeprefix(OVERRIDE_XATTR) for key in found if key.startswith(OVERRIDE_XATTR)]
        return [*(key for key in found if not key.startswith(OVERRIDE)), *(key for key in kept if key in KEPT_XATTRS)]

    def setxattr(self, path: str, key: str, value: bytes, flags: int, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.setxattr`."""
        if key.startswith(OVERRIDE):
            raise failure(errno.EPERM, path)
        try:
            super().setxattr(path, key, value, flags, follow)
        except OSError as error:
            if error.errno not in _REFUSED or key not in KEPT_XATTRS:
                raise
            super().setxattr(path, OVERRIDE_XATTR + key, value, flags, follow)

    def removexattr(self, path: str, key: str, follow: bool) -> None:
        """As :func:`layerscope.overlay.attributes.removexattr`."""
        if key.startswith(OVERRIDE):
            raise failure(errno.ENODATA, path)
        try:
            super().removexattr(path, key, follow)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EPERM) or key not in KEPT_XATTRS:
                raise
            try:
                super().removexattr(path, OVERRIDE_XATTR + key, follow)
            except PermissionError:  # no file that could have one kept beside it
                raise error from None

    # ------------------------------------------------------------------ new entries
    def create(self, target: Target, path: str, make: Callable[[int, str], None], is_dir: bool = False) -> None:
        """As :func:`layerscope.overlay.namespace.create`; where the user stands for root, the entry is as root's."""
        if not self.as_root:
            super().create(target, path, make, is_dir)
            return
        above = self.shown(target.parent.parts[0], "", target.parent.parts[0].directory.stat_self())

        def make_as_root(fd: int, name: str) -> None:
            make(fd, name)
            own = os.stat(name, dir_fd=fd, follow_symlinks=False)
            group = above.st_gid if above.st_mode & modes.S_ISGID else 0
            permissions = modes.S_IMODE(own.st_mode)
            if above.st_mode & modes.S_ISGID and is_dir:
                permissions |= modes.S_ISGID
            kind = modes.S_IFMT(own.st_mode)
            if group or permissions != modes.S_IMODE(own.st_mode) or _widened(kind, permissions) & ~permissions:
                entry = _put(fd, name, kind, OverrideStat(0, group, permissions))
                if entry is not None:
                    self._remember({target.path: entry})

        namespace.create(self._writer, target, path, make_as_root, is_dir, aside=True)

    def mknod(self, target: Target, path: str, mode: int, device: int) -> None:
        """A device where the system makes one for this user, else an empty file that says what it is."""
        if modes.S_IFMT(mode) not in _DEVICES:
            super().mknod(target, path, mode, device)
            return

        def make(fd: int, name: str) -> None:
            try:
                os.mknod(name, mode, device, dir_fd=fd)
            except PermissionError:
                os.mknod(name, modes.S_IFREG | modes.S_IMODE(mode), dir_fd=fd)
                own = os.stat(name, dir_fd=fd, follow_symlinks=False)
                uid, gid = (0, 0) if self.as_root else (own.st_uid, own.st_gid)
                permissions = modes.S_IMODE(own.st_mode)
                kept = OverrideStat(uid, gid, permissions, modes.S_IFMT(mode), os.major(device), os.minor(device))
                _put(fd, name, modes.S_IFREG, kept)

        namespace.create(self._writer, target, path, make, aside=True)

    def dress(self, scratch: int, fresh: str, stat: os.stat_result, part: Part, name: str, path: str) -> None:
        """Owner, attributes and mode of a copy-up that is being made in the work directory.

        Args:
            scratch: descriptor of the directory in which it is made.
            fresh: its name there.
            stat: that of the entry below, as it lies on disk.
            part: the level's directory that holds it.
            name: its name there.
            path: its path in the upper layer.
        """
        kind = modes.S_IFMT(stat.st_mode)
        kept = self._kept(part, name, stat)
        try:
            os.chown(fresh, stat.st_uid, stat.st_gid, dir_fd=scratch, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            kept = kept or _record_of(self.shown(part, name, stat))
        for key, value in part.directory.xattrs(name).items():
            if self._writer.dialect.is_own(key) or key == OVERRIDE_STAT:
                continue
            try:
                os.setxattr(proc_path(scratch, fresh), key, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                if key in KEPT_XATTRS:
                    os.setxattr(proc_path(scratch, fresh), OVERRIDE_XATTR + key, value, follow_symlinks=False)
        permissions = modes.S_IMODE(stat.st_mode)
        if kept is None and self.as_root and kind in _PLAIN and _widened(kind, permissions) & ~permissions:
            kept = _record_of(self.shown(part, name, stat))
        if kept is None:
            if kind != modes.S_IFLNK:
                os.chmod(fresh, permissions, dir_fd=scratch)
            return
        entry = _put(scratch, fresh, kind, kept)
        if entry is not None:
            self._remember({path: entry})

    # ------------------------------------------------------------------ names
    def unlink(self, path: str) -> None:
        """As :func:`layerscope.overlay.namespace.unlink`."""
        place = namespace.locate_name(self._writer, path).path if self._side else ""
        super().unlink(path)
        self._forget(place)

    def link(self, source: str, destination: str) -> None:
        """As :func:`layerscope.overlay.namespace.link`."""
        super().link(source, destination)
        old, new = (namespace.locate_name(self._writer, path).path for path in (source, destination))
        if old in self._side:
            self._remember({new: self._side[old]})

    def rename(self, source: str, destination: str, flags: int) -> None:
        """As :func:`layerscope.overlay.rename.rename`."""
        super().rename(source, destination, flags)
        if not self._side:
            return
        old, new = (namespace.locate_name(self._writer, path) for path in (source, destination))
        exchange = bool(flags & RENAME_EXCHANGE)
        moved = _moved(self._side, old.path, new.path)
        back = _moved(self._side, new.path, old.path) if exchange else {}
        nothing_done = not exchange and self._writer.locate("/" + old.path, follow=False).found is not None
        if nothing_done or old.path == new.path or not (moved or back or self._below(new.path)):
            return
        for path in [*self._below(old.path), *self._below(new.path)]:
            self._side.pop(path, None)
        self._side.update({**moved, **back})
        self._write()

    # ------------------------------------------------------------------ the side record
    def _below(self, top: str) -> list[str]:
        return [path for path in self._side if path == top or path.startswith(top + "/")]

    def _remember(self, entries: Mapping[str, SideEntry]) -> None:
        self._side.update(entries)
        self._write()

    def _forget(self, top: str) -> None:
        gone = self._below(top) if top else []
        for path in gone:
            del self._side[path]
        if gone:
            self._write()

    def _write(self) -> None:
        assert self._record is not None
        self._record.write(self._side)


def _moved(side: Mapping[str, SideEntry], source: str, target: str) -> dict[str, SideEntry]:
    return {
        target + path.removeprefix(source): entry
        for path, entry in side.items()
        if path == source or path.startswith(source + "/")
    }


def _record_of(stat: os.stat_result) -> OverrideStat:
    return OverrideStat(stat.st_uid, stat.st_gid, modes.S_IMODE(stat.st_mode))


def _widened(kind: int, permissions: int) -> int:
    """The permissions on disk of an entry whose own stand in a record."""
    if kind not in _PLAIN:
        return permissions
    return permissions & 0o777 | (0o700 if kind == modes.S_IFDIR else 0o600)


def _put(fd: int, name: str, kind: int, kept: OverrideStat) -> SideEntry | None:
    """Keep a record on an entry of the directory ``fd`` ("": itself); what must go to the side record is given back."""
    if kind not in _PLAIN:
        return SideEntry(kept)
    os.chmod(proc_path(fd, name), _widened(kind, kept.permissions))
    try:
        os.setxattr(proc_path(fd, name), OVERRIDE_STAT, kept.encode(), follow_symlinks=not name)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return SideEntry(kept)
    return None
