"""What a commit puts into the layer tar for each entry of an upper directory, in docker's order.

Depth first, names of one directory sorted by their bytes, a directory before its members, the top itself left out.

| in the upper | in the tar |
| --- | --- |
| regular file, directory, symlink, FIFO, device | itself; of its extended attributes only ``security.capability`` |
| further name of a file that came already (never a directory) | hard link to the first name, no content |
| whiteout | empty file ``.wh.NAME``, mode 0600, own owner and time |
| opaque directory | itself, then at once ``DIR/.wh..wh..opq``: its owner and permissions, time 0 |
| socket | nothing |

Whiteouts that share an inode keep the first one's path in the link name of the later ones, though these are no links:
an oversight of docker's that is part of the diff ID.

Where a user without privilege made the upper, what docker would have found there is kept in
``user.containers.override_stat`` (:mod:`layerscope.formats.override_stat`).

Source: moby pkg/archive/archive.go, archive_linux.go; seen with 20.10.24, 26.1.5, 28.5.2 and 29.7.2 on Linux 6.18.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple

from msgspec import Struct, field

from layerscope.errors import CommitError, CorruptError, PermissionDenied
from layerscope.formats.engine_rules import EngineRules
from layerscope.formats.escape import escape
from layerscope.formats.override_stat import OVERRIDE_STAT, OVERRIDE_XATTR, OverrideStat, SideEntry, parse_override
from layerscope.formats.tar.go_header import Member
from layerscope.formats.tar.types import TYPE_OF_MODE
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, Dialect
from layerscope.hostfs import Directory
from layerscope.hostfs.short_files import Look, look
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory

DOCKER_MARKS = Dialect("trusted.overlay.", xattrs=False)
"""The marks that docker knows: it takes an empty file with a whiteout attribute for an ordinary one."""

_CAPABILITY = "security.capability"
_REVISION_2, _REVISION_3, _REVISION_2_LENGTH = 2, 3, 20
_OPAQUE_NAME = NAME_OPAQUE.encode()
_NO_XATTRS: Mapping[bytes, bytes] = {}
_NOBODY: Mapping[int, bytes] = {}
_SHORT = 60_000
"""Longest file that is read when its directory is, in bytes."""
_AT_ONCE = 32
"""Entries of a directory that are looked at together."""
_WHITEOUT_PREFIX = NAME_PREFIX.encode()


class CommitRules(Struct, frozen=True):
    """How a commit reads an upper and writes its tar.

    ``dialect``: the marks that count. ``users`` and ``groups``: names by id, for engines that write names.
    ``overrides``: ``user.containers.override_stat`` counts, and ``side_record`` (by path) for what can't carry it; only
    for an upper that was made without privilege, since any process in a container may set ``user.*`` attributes.
    """

    engine: EngineRules
    dialect: Dialect = DOCKER_MARKS
    users: Mapping[int, bytes] = field(default_factory=dict)
    groups: Mapping[int, bytes] = field(default_factory=dict)
    overrides: bool = False
    side_record: Mapping[str, SideEntry] = field(default_factory=dict)


class Packable(NamedTuple):
    """One member of the tar. ``content``: where the bytes are that follow, None if none do.

    That is the directory and name of the file, or the bytes themselves of a short one.
    ``counted`` is what the entry adds to docker's size of the layer: each inode once, symlinks by their target's
    length.
    """

    member: Member
    path: str
    counted: int = 0
    content: tuple[LayerDirectory, str] | bytes | None = None


class _Meant(NamedTuple):
    """Whose an entry is, what it allows, and what it is; ``type_bits`` 0: what it is on disk."""

    uid: int
    gid: int
    permissions: int
    type_bits: int
    major: int
    minor: int


class Upper:
    """One upper directory, read once by :meth:`members`; ``problems`` then tells what was left out."""

    def __init__(self, top: LayerDirectory, rules: CommitRules) -> None:
        self._top = top
        self._rules = rules
        self._first_names: dict[tuple[int, int], bytes] = {}
        self.problems: list[Problem] = []

    def members(self) -> Iterator[Packable]:
        """The members of the tar, in its order.

        Raises:
            CommitError: an entry can't be put into a layer, or changed while it was read.
            PermissionDenied: this user may not read it.
        """
        stack = [self._listing(self._top, "")]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            directory, path, name, look = step
            if look.content is not None and not self._rules.overrides:
                yield self._short_file(path, name, look)
                continue
            inner = directory.enter(name) if modes.S_ISDIR(look.stat.st_mode) else None
            with reading(path):
                made = self._entry(directory, path, name, look.stat, inner)
            yield from made
            if inner is not None:
                stack.append(self._listing(inner, path))

    def _listing(self, directory: LayerDirectory, path: str) -> Iterator[tuple[LayerDirectory, str, str, Look]]:
        """The entries of one directory as they are on disk, in the order of the names that they mean."""
        with reading(path):
            keyed = [(os.fsencode(name), name) for name, _ in directory.scan()]
        if self._rules.dialect.names:
            keyed = [(key.removeprefix(_WHITEOUT_PREFIX), name) for key, name in keyed if key != _OPAQUE_NAME]
        keyed.sort()
        front = f"{path}/" if path else ""
        for start in range(0, len(keyed), _AT_ONCE):
            names = [name for _, name in keyed[start : start + _AT_ONCE]]
            with reading(path):
                looks = _looks(directory, names)
            for name, found in zip(names, looks, strict=True):
                if found is None:
                    raise CommitError(
                        f"cannot pack {escape(front + name)}: it went away while the directory was read; pack it again"
                    )
                yield directory, front + name, name, found

    # ------------------------------------------------------------------ one entry
    def _short_file(self, path: str, name: str, look: Look) -> Packable:
        """The member that a short file becomes that has no further names: what most entries are."""
        stat, content = look.stat, look.content
        if isinstance(content, OSError):
            with reading(path):
                raise content
        if name.startswith(NAME_PREFIX):
            raise _taken(path, name)
        size = stat.st_size
        if content is None or len(content) != size:
            raise changed(path)
        engine = self._rules.engine
        uid, gid = stat.st_uid, stat.st_gid
        users, groups = (self._rules.users, self._rules.groups) if engine.owner_names else (_NOBODY, _NOBODY)
        member = Member(
            path.encode("utf-8", "surrogateescape"),
            b"0",
            stat.st_mode if engine.type_bits else stat.st_mode & 0o7777,
            uid,
            gid,
            size,
            stat.st_mtime_ns // 1_000_000_000,
            b"",
            users.get(uid, b""),
            groups.get(gid, b""),
            0,
            0,
            _NO_XATTRS if look.xattr is None else {_CAPABILITY.encode(): docker_capability(look.xattr)},
        )
        return Packable(member, path, size, content)

    def _entry(
        self, directory: LayerDirectory, path: str, name: str, stat: os.stat_result, inner: LayerDirectory | None
    ) -> tuple[Packable, ...]:
        """The members that an entry becomes; ``inner`` is the directory that it is."""
        meant = self._meant(directory, path, name, stat)
        kind = meant.type_bits or modes.S_IFMT(stat.st_mode)
        if kind == modes.S_IFSOCK:
            what, effect = "a socket", "it is not in the layer: a tar can't hold one"
            self.problems.append(Problem(path, what, effect, severity=Severity.NOTE))
            return ()
        whole = os.fsencode(path)
        if self._is_whiteout(directory, name, stat, kind, meant):
            mark, linkname = self._whiteout(whole, stat)
            return (Packable(self._member(mark, b"0", 0o600, meant, stat, linkname=linkname), path),)
        if name.startswith(NAME_PREFIX):
            raise _taken(path, name)
        mode = meant.permissions | (kind if self._rules.engine.type_bits else 0)
        if inner is not None:
            xattrs = self._kept_xattrs(directory, path, name, directory.xattr(_CAPABILITY, name))
            entry = Packable(self._member(whole + b"/", b"5", mode, meant, stat, xattrs=xattrs), path)
            if not self._is_opaque(inner):
                return (entry,)
            marker, permissions = whole + b"/" + _OPAQUE_NAME, meant.permissions & 0o777
            return entry, Packable(self._member(marker, b"0", permissions, meant), path)
        first = self._linked(whole, stat)
        if first is not None:
            xattrs = self._kept_xattrs(directory, path, name, directory.xattr(_CAPABILITY, name))
            member = self._member(whole, b"1", mode, meant, stat, linkname=first, xattrs=xattrs, kind=kind)
            return (Packable(member, path),)
        size = stat.st_size if kind == modes.S_IFREG else 0
        xattrs = self._kept_xattrs(directory, path, name, directory.xattr(_CAPABILITY, name))
        target = os.fsencode(directory.readlink(name)) if kind == modes.S_IFLNK else b""
        member = self._member(
            whole, TYPE_OF_MODE[kind], mode, meant, stat, size=size, linkname=target, xattrs=xattrs, kind=kind
        )
        return (Packable(member, path, size or len(target), (directory, name) if size else None),)

    def _member(
        self,
        name: bytes,
        letter: bytes,
        mode: int,
        meant: _Meant,
        stat: os.stat_result | None = None,
        *,
        size: int = 0,
        linkname: bytes = b"",
        xattrs: Mapping[bytes, bytes] = _NO_XATTRS,
        kind: int = 0,
    ) -> Member:
        """A member with the owner and (by ``kind``) device number of ``meant`` and the time of ``stat``, else 0."""
        named = self._rules.engine.owner_names
        device = kind in (modes.S_IFCHR, modes.S_IFBLK)
        return Member(
            name,
            letter,
            mode,
            meant.uid,
            meant.gid,
            size,
            stat.st_mtime_ns // 1_000_000_000 if stat is not None else 0,
            linkname,
            self._rules.users.get(meant.uid, b"") if named else b"",
            self._rules.groups.get(meant.gid, b"") if named else b"",
            meant.major if device else 0,
            meant.minor if device else 0,
            xattrs,
        )

    def _linked(self, name: bytes, stat: os.stat_result) -> bytes | None:
        """The name under which this inode is in the tar already; else this one is remembered."""
        if stat.st_nlink < 2:
            return None
        first = self._first_names.setdefault((stat.st_dev, stat.st_ino), name)
        return None if first == name else first

    def _whiteout(self, whole: bytes, stat: os.stat_result) -> tuple[bytes, bytes]:
        """Name and link name of the mark of a deleted name."""
        directory, slash, base = whole.rpartition(b"/")
        removed = base.removeprefix(_WHITEOUT_PREFIX) if self._rules.dialect.names else base
        linked = self._linked(directory + slash + removed, stat)
        return directory + slash + _WHITEOUT_PREFIX + removed, linked or b""

    # ------------------------------------------------------------------ what the entry carries
    def _is_whiteout(
        self, directory: LayerDirectory, name: str, stat: os.stat_result, kind: int, meant: _Meant
    ) -> bool:
        dialect = self._rules.dialect
        if kind == modes.S_IFCHR and dialect.devices and (meant.major, meant.minor) == (0, 0):
            return True
        if not modes.S_ISREG(stat.st_mode) or stat.st_size:
            return False
        if dialect.names and name.startswith(NAME_PREFIX):
            removed = name.removeprefix(NAME_PREFIX)
            return bool(removed) and not removed.startswith(NAME_PREFIX)
        return dialect.xattrs and directory.xattr(dialect.whiteout_key, name) is not None

    def _is_opaque(self, directory: LayerDirectory) -> bool:
        dialect = self._rules.dialect
        if directory.xattr(dialect.opaque_key) == b"y":
            return True
        return dialect.names and directory.stats((NAME_OPAQUE,))[0] is not None

    def _meant(self, directory: LayerDirectory, path: str, name: str, stat: os.stat_result) -> _Meant:
        """Owner, permissions and device number that count."""
        own = _Meant(
            stat.st_uid, stat.st_gid, modes.S_IMODE(stat.st_mode), 0, os.major(stat.st_rdev), os.minor(stat.st_rdev)
        )
        if not self._rules.overrides:
            return own
        kept: OverrideStat | None = None
        if modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode):
            value = directory.xattr(OVERRIDE_STAT, name)
            try:
                kept = parse_override(value) if value is not None else None
            except CorruptError as error:
                raise CommitError(f"cannot pack {escape(path)}: {error}") from None
        if kept is None and path in self._rules.side_record:
            kept = self._rules.side_record[path].stat
        if kept is None:
            return own
        if kept.type_bits == modes.S_IFLNK and not modes.S_ISLNK(stat.st_mode):
            raise CommitError(f"cannot pack {escape(path)}: {OVERRIDE_STAT} says symlink, but it is none")
        if modes.S_ISREG(stat.st_mode) and not stat.st_size and kept.type_bits != modes.S_IFDIR:
            return _Meant(kept.uid, kept.gid, kept.permissions, kept.type_bits, kept.major, kept.minor)
        return _Meant(kept.uid, kept.gid, kept.permissions, 0, own.major, own.minor)

    def _kept_xattrs(
        self, directory: LayerDirectory, path: str, name: str, value: bytes | None
    ) -> Mapping[bytes, bytes]:
        """The attributes that a layer keeps: the file capability, which is ``value`` if it is on the entry itself."""
        if value is None and self._rules.overrides:
            value = directory.xattr(OVERRIDE_XATTR + _CAPABILITY, name)
            if value is None and path in self._rules.side_record:
                value = self._rules.side_record[path].xattrs.get(_CAPABILITY)
        return _NO_XATTRS if value is None else {_CAPABILITY.encode(): docker_capability(value)}


def docker_capability(value: bytes) -> bytes:
    """A ``security.capability`` as docker keeps it: revision 3 becomes 2, without the id of its user namespace."""
    if len(value) > 3 and value[3] == _REVISION_3:
        return value[:3] + bytes((_REVISION_2,)) + value[4:_REVISION_2_LENGTH]
    return value


def _taken(path: str, name: str) -> CommitError:
    """The error about a file whose name would be a mark."""
    deleted = escape(name.removeprefix(NAME_PREFIX))
    return CommitError(
        f"cannot pack {escape(path)}: in a layer this name is a whiteout that deletes {deleted}; rename it"
    )


def _looks(directory: LayerDirectory, names: list[str]) -> list[Look | None]:
    if isinstance(directory, Directory):
        return look(directory, names, _SHORT, _CAPABILITY)
    return [None if stat is None else Look(stat) for stat in directory.stats(names)]


def changed(path: str) -> CommitError:
    """The error about a file that isn't as long any more as its header says."""
    return CommitError(f"cannot pack {escape(path)}: its size changed while it was read; stop what writes it")


class reading:  # noqa: N801 - used like a function, and a class is quicker than a generator
    """Tell a system error inside the ``with`` as ours, with the entry that was read.

    Raises:
        PermissionDenied: this user may not read it.
        CommitError: the disk said no, or the entry is another one by now.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        shown = escape(self._path) or "the directory"
        if isinstance(error, PermissionError):
            raise PermissionDenied(f"cannot pack {shown}: permission denied; run as root") from None
        raise CommitError(f"cannot pack {shown}: {os.strerror(error.errno or 0)}") from None
