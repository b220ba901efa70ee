"""Owner, mode, attributes and time of what a layer's member has made; kept in overrides where they can't be set.

Order matters: a change of owner takes setuid, setgid and file capabilities away, so it comes first, then the mode,
then the attributes, and the time at last. As docker does it, a symlink's mode isn't set, and a time before 1970 or
after what 63 bits of nanoseconds hold (2262) becomes 0; a symlink's wraps around there instead.

Sources: chown(2), capabilities(7); moby pkg/archive/archive.go, pkg/system/chtimes.go; seen with 20.10.24.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from layerscope.errors import CorruptError
from layerscope.formats.override_stat import OVERRIDE_STAT, OVERRIDE_XATTR, OverrideStat, SideEntry, parse_override
from layerscope.lab.layer.below import Place
from layerscope.lab.root.abilities import Abilities

_LATEST_NS = (1 << 63) - 1
_NOT_TAKEN = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC


class Attributes(NamedTuple):
    """What a member says beside its name and content; ``stat`` has owner, permissions, type and device number."""

    stat: OverrideStat
    mtime_ns: int = 0
    xattrs: Mapping[str, bytes] | None = None

    @property
    def kept_mtime_ns(self) -> int:
        """The modification time that docker gives to what is no symlink."""
        return self.mtime_ns if 0 <= self.mtime_ns <= _LATEST_NS else 0

    @property
    def symlink_mtime_ns(self) -> int:
        """The modification time that docker gives to a symlink."""
        return (self.mtime_ns + _LATEST_NS + 1) % (2 * _LATEST_NS + 2) - _LATEST_NS - 1


class Keeper:
    """Gives entries their attributes.

    ``side_record`` collects by path what entries can't carry themselves; ``refused`` the names of attributes that root
    could not set, either, which docker passes over.
    """

    def __init__(self, abilities: Abilities) -> None:
        self._abilities = abilities
        self.side_record: dict[str, SideEntry] = {}
        self.refused: set[str] = set()

    def on_open(self, fd: int, place: Place, name: bytes, attributes: Attributes) -> None:
        """Attributes of an open regular file or directory; not the time, which everything else changes again."""
        stat, xattrs = attributes.stat, attributes.xattrs or {}
        if self._abilities.owners:
            os.fchown(fd, stat.uid, stat.gid)
            os.fchmod(fd, stat.permissions)
            for key, value in xattrs.items():
                self._set(fd, key, value)
            return
        least = 0o700 if modes.S_ISDIR(os.fstat(fd).st_mode) else 0o600
        os.fchmod(fd, stat.permissions & 0o777 | least)
        if not self._abilities.user_xattrs:
            self.side_record[place.path_of(name)] = SideEntry(stat, dict(xattrs))
            return
        os.setxattr(fd, OVERRIDE_STAT, stat.encode())
        for key, value in xattrs.items():
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno not in _NOT_TAKEN:
                    raise
                os.setxattr(fd, OVERRIDE_XATTR + key, value)

    def on_name(self, place: Place, name: bytes, attributes: Attributes) -> None:
        """Attributes of a symlink, FIFO or device, time included."""
        stat, xattrs = attributes.stat, attributes.xattrs or {}
        symlink = stat.type_bits == modes.S_IFLNK
        if not self._abilities.owners:
            self.side_record[place.path_of(name)] = SideEntry(stat, dict(xattrs))
        else:
            os.chown(name, stat.uid, stat.gid, dir_fd=place.fd, follow_symlinks=False)
            if not symlink:
                fd = os.open(name, _LOOK, dir_fd=place.fd)
                try:
                    os.chmod(f"/proc/self/fd/{fd}", stat.permissions)
                finally:
                    os.close(fd)
            for key, value in xattrs.items():
                self._set(b"/proc/self/fd/%d/%s" % (place.fd, name), key, value)
        mtime_ns = attributes.symlink_mtime_ns if symlink else attributes.kept_mtime_ns
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=place.fd, follow_symlinks=False)

    def on_mark(self, place: Place, name: bytes, attributes: Attributes) -> None:
        """Owner and time of a mark; its mode means nothing."""
        stat = attributes.stat
        if self._abilities.owners:
            os.chown(name, stat.uid, stat.gid, dir_fd=place.fd, follow_symlinks=False)
        else:
            self.side_record[place.path_of(name)] = SideEntry(OverrideStat(stat.uid, stat.gid, 0o600))
        times = (attributes.kept_mtime_ns, attributes.kept_mtime_ns)
        os.utime(name, ns=times, dir_fd=place.fd, follow_symlinks=False)

    def kept_type(self, fd: int, path: str, attributes: Attributes) -> Attributes:
        """``attributes`` for a further name of an open regular file, which may stand for a device."""
        if self._abilities.owners:
            return attributes
        known = self.side_record.get(path)
        kept = known.stat if known else None
        if kept is None and self._abilities.user_xattrs:
            try:
                kept = parse_override(os.getxattr(fd, OVERRIDE_STAT))
            except (OSError, CorruptError):
                return attributes
        if kept is None:
            return attributes
        stat = attributes.stat
        return attributes._replace(stat=replace(kept, uid=stat.uid, gid=stat.gid, permissions=stat.permissions))

    def same_as(self, path: str, target: str) -> None:
        """What the side record says of ``path`` holds for ``target``, too: they are one file."""
        if path in self.side_record:
            self.side_record[target] = self.side_record[path]

    def forget(self, path: str) -> None:
        """What was at ``path`` gave way."""
        self.side_record.pop(path, None)

    def _set(self, target: int | bytes, key: str, value: bytes) -> None:
        try:
            if isinstance(target, int):
                os.setxattr(target, key, value)
            else:
                os.setxattr(target, key, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise
            self.refused.add(key)
        except AttributeError:  # pragma: no cover - macOS has no os.setxattr
            self.refused.add(key)
