"""Making what the members of a layer's tar say, in a directory of its own, as docker's overlay2 driver leaves it.

| member | in the directory |
| --- | --- |
| file, directory, symlink, FIFO, device | itself |
| hard link | a further name of the entry it names, which gets the link's own owner, mode and time |
| ``.wh.NAME`` | a whiteout at NAME; where the same layer brings NAME, too, that stays, opaque if a directory |
| ``.wh..wh..opq`` | its directory is opaque, whatever the order; at the top it hides everything below |
| other ``.wh..wh.*`` | left out: aufs's own |
| the top itself | nothing: it stays as it was made |

Directories that no member names are made, owned by root, mode 0755.

Refused, with the member and the rule: a name that is absolute or holds ``..``, a second member of the same path, one
that lies behind a link out of the layer, a link to what isn't in the layer, ``.wh.``, ``.wh..`` and ``.wh...``, a mark
with content, a kind that layers don't have, a device where no device can be made.

Sources: moby pkg/archive/archive.go, archive_linux.go; OCI image spec, layer.md, "Whiteouts": marks act on lower layers
only, whatever the order in the tar.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from layerscope.formats.escape import escape
from layerscope.formats.override_stat import OVERRIDE_STAT, OVERRIDE_XATTR, OverrideStat, SideEntry
from layerscope.formats.tar.header import TarHeader
from layerscope.formats.tar.types import MODE_OF_TYPE
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX
from layerscope.lab.layer.attributes import Attributes, Keeper
from layerscope.lab.layer.below import Below, Names, Place, Refused
from layerscope.lab.layer.marks import Marks
from layerscope.lab.layer.member_rules import Paths, names_of, unpacking
from layerscope.lab.root.abilities import Abilities, DeviceForm
from layerscope.model.problem import Problem, Severity

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = NAME_PREFIX.encode()
_OPAQUE = NAME_OPAQUE.encode()
_LARGE = 1 << 20
_MAX_ID = (1 << 32) - 2
"""The largest id; one more means "as it is" to chown(2)."""
_IMPLIED = Attributes(OverrideStat(0, 0, 0o755, modes.S_IFDIR))
_stat_of = lru_cache(256)(OverrideStat)
"""Most entries of a layer have one of a few owners and modes."""


class Laid(Struct, frozen=True):
    """What was made of all members.

    ``size`` is docker's size of the layer: bytes of all that is no directory, each inode once, symlinks by their
    target's length. ``hides_everything_below``: there is an opaque mark at the top, which the kernel's overlay ignores.
    ``side_record``: owners, modes and attributes that could be kept nowhere else, by path; the caller's to store.
    """

    size: int
    hides_everything_below: bool
    side_record: Mapping[str, SideEntry]
    problems: tuple[Problem, ...]


class LayerWriter:
    """Builds one layer below ``top``, the descriptor of an empty directory, which stays the caller's.

    Nothing is undone on failure: the caller builds aside and throws away.
    """

    def __init__(self, top: int, abilities: Abilities, *, link_whiteouts: bool = False) -> None:
        self._abilities = abilities
        self._link_whiteouts = link_whiteouts
        self._below = Below(top, self._make_implied)
        self._paths = Paths()
        self._keeper = Keeper(abilities)
        self._marks = Marks(abilities, self._keeper)
        self._directory_times: list[tuple[Names, int]] = []
        self._hides_everything_below = False
        self._size = 0
        self._problems: list[Problem] = []

    def close(self) -> None:
        """Give the descriptors back."""
        self._below.close()

    def add(self, header: TarHeader, content: Iterable[bytes]) -> None:
        """Make one member.

        Raises:
            CommitError: with the member and the rule that it breaks, or what the system refused.
        """
        with unpacking(header.name):
            names = names_of(header.name)
            self._paths.demand_new(names)
            if header.type == "g":
                return
            if header.type != "1" and header.type not in MODE_OF_TYPE:
                raise Refused(f"tar type {header.type!a} is none that a layer can hold")
            marked = NAME_PREFIX in header.name
            if marked and any(_is_meta(name) for name in names):
                self._leave_out(header)
            elif marked and any(name.startswith(_PREFIX) for name in names[:-1]):
                raise Refused(f"{NAME_PREFIX}* is the name of a whiteout, which no directory can have")
            elif not names:
                if header.type != "5":
                    raise Refused("it would take the place of the layer's top directory")
            elif names[-1].startswith(_PREFIX):
                self._mark(names, header)
            else:
                self._entry(names, header, content)

    def finish(self) -> Laid:
        """Set the directories' times, which everything made in them has changed; what came of it all.

        Raises:
            CommitError: the system refused.
        """
        for names, mtime_ns in self._directory_times:
            with unpacking(os.fsdecode(b"/".join(names))):
                place = self._below.enter(names[:-1], make=False)
                os.utime(names[-1], ns=(mtime_ns, mtime_ns), dir_fd=place.fd, follow_symlinks=False)
        for key in sorted(self._keeper.refused):
            what = f"the file system doesn't take the extended attribute {escape(key)[:80]}"
            self._problems.append(Problem("", what, "it is not set", severity=Severity.WARNING))
        return Laid(self._size, self._hides_everything_below, self._keeper.side_record, tuple(self._problems))

    # ------------------------------------------------------------------ marks
    def _leave_out(self, header: TarHeader) -> None:
        if header.size:
            raise Refused(f"{NAME_PREFIX * 2}* belongs to aufs, and its content would be lost")
        what, effect = "a file of aufs's own", "it is not in the layer"
        self._problems.append(Problem(header.name, what, effect, severity=Severity.NOTE))

    def _mark(self, names: Names, header: TarHeader) -> None:
        if header.size:
            raise Refused("a whiteout with content, which could not be given back")
        removed = names[-1].removeprefix(_PREFIX)
        if removed in (b"", b".", b".."):
            raise Refused("a whiteout of no name")
        place = self._below.enter(names[:-1], make=True)
        if names[-1] == _OPAQUE:
            self._marks.make_opaque(place)
            self._hides_everything_below |= not place.real
            return
        found = place.lstat(removed)
        if found is None:
            attributes = self._attributes(header)
            if not (
                self._link_whiteouts and self._marks.link(self._below, header.linkname, place, removed, attributes)
            ):
                self._marks.make_whiteout(place, removed, attributes)
        elif modes.S_ISDIR(found.st_mode):
            with place.inner(removed) as inner:
                self._marks.make_opaque(inner)

    # ------------------------------------------------------------------ entries
    def _entry(self, names: Names, header: TarHeader, content: Iterable[bytes]) -> None:
        place, name = self._below.enter(names[:-1], make=True), names[-1]
        hidden = self._marks.give_way(place, name)
        if header.type == "1":
            self._hard_link(place, name, header)
            return
        attributes = self._attributes(header)
        if header.type == "0":
            self._file(place, name, attributes, header.size, content)
        elif header.type == "5":
            self._directory(place, name, attributes, hidden)
            self._directory_times.append((names, attributes.kept_mtime_ns))
        elif header.type == "2":
            target = header.linkname.encode("utf-8", "surrogateescape")
            os.symlink(target, name, dir_fd=place.fd)
            self._keeper.on_name(place, name, attributes)
            self._size += len(target)
        elif header.type == "6":
            os.mkfifo(name, 0o600, dir_fd=place.fd)
            self._keeper.on_name(place, name, attributes)
        else:
            self._device(place, name, attributes)

    def _file(self, place: Place, name: bytes, attributes: Attributes, size: int, content: Iterable[bytes]) -> None:
        if size > _LARGE:
            disk = os.fstatvfs(place.fd)
            free = disk.f_bavail * disk.f_frsize
            if size > free:
                raise Refused(f"it has {size} bytes, but only {free} are free on the disk")
        fd = os.open(name, _CREATE, 0o600, dir_fd=place.fd)
        try:
            for chunk in content:
                _write(fd, chunk)
            self._keeper.on_open(fd, place, name, attributes)
            mtime_ns = attributes.kept_mtime_ns
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)
        self._size += size

    def _directory(self, place: Place, name: bytes, attributes: Attributes, hidden: bool) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=place.fd)
        except FileExistsError:
            found = place.lstat(name)
            if found is None or not modes.S_ISDIR(found.st_mode):
                raise
        with place.inner(name) as inner:
            if hidden:
                self._marks.make_opaque(inner)
            self._keeper.on_open(inner.fd, place, name, attributes)

    def _make_implied(self, place: Place, name: bytes) -> None:
        """A directory that no member has named yet."""
        hidden = self._marks.give_way(place, name)
        if not hidden and place.lstat(name) is not None:
            raise Refused(f"{escape(place.path_of(name))[:200]}, above it, is no directory in this layer")
        self._directory(place, name, _IMPLIED, hidden)

    def _device(self, place: Place, name: bytes, attributes: Attributes) -> None:
        stat = attributes.stat
        if not (0 <= stat.major <= 0xFFF and 0 <= stat.minor <= 0xFFFFF):
            raise Refused(f"device number {stat.major}:{stat.minor}, expected 12 and 20 bits")
        if stat.type_bits == modes.S_IFCHR and stat.major == stat.minor == 0:
            self._marks.make_whiteout(place, name, attributes)
        elif self._abilities.devices is DeviceForm.NODE:
            os.mknod(name, stat.type_bits | 0o600, os.makedev(stat.major, stat.minor), dir_fd=place.fd)
            self._keeper.on_name(place, name, attributes)
        elif self._abilities.devices is DeviceForm.OVERRIDE and not self._abilities.owners:
            self._file(place, name, attributes, 0, ())
        else:
            raise Refused("a device node, which this user may not make here; run as root")

    def _hard_link(self, place: Place, name: bytes, header: TarHeader) -> None:
        shown = escape(header.linkname)[:200]
        try:
            target = names_of(header.linkname)
            source = self._below.enter(target[:-1], make=False)
        except Refused as error:
            raise Refused(f"a hard link to {shown}: {error}") from None
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(f"a hard link to {shown}, which is not in this layer") from None
        found = source.lstat(target[-1]) if target else None
        if found is None or self._marks.is_whiteout(source, target[-1], found):
            raise Refused(f"a hard link to {shown}, which is not in this layer")
        if modes.S_ISDIR(found.st_mode):
            raise Refused(f"a hard link to {shown}, which is a directory")
        os.link(target[-1], name, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)
        self._label_link(place, name, source.path_of(target[-1]), found, self._attributes(header))

    def _label_link(
        self, place: Place, name: bytes, target: str, found: os.stat_result, attributes: Attributes
    ) -> None:
        """What the hard link's own header says, set on the file that it shares; a symlink keeps its time."""
        kind = modes.S_IFMT(found.st_mode)
        device = replace(attributes.stat, type_bits=kind, major=os.major(found.st_rdev), minor=os.minor(found.st_rdev))
        attributes = attributes._replace(stat=device)
        if kind == modes.S_IFREG:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
            try:
                self._keeper.on_open(fd, place, name, self._keeper.kept_type(fd, target, attributes))
                os.utime(fd, ns=(attributes.kept_mtime_ns, attributes.kept_mtime_ns))
            finally:
                os.close(fd)
        else:
            if kind == modes.S_IFLNK:
                attributes = attributes._replace(mtime_ns=found.st_mtime_ns)
            self._keeper.on_name(place, name, attributes)
        self._keeper.same_as(place.path_of(name), target)

    # ------------------------------------------------------------------ headers
    def _attributes(self, header: TarHeader) -> Attributes:
        if not (0 <= header.uid <= _MAX_ID and 0 <= header.gid <= _MAX_ID):
            raise Refused(f"owner {header.uid}:{header.gid}, expected numbers up to {_MAX_ID}")
        kind = MODE_OF_TYPE.get(header.type, 0)
        stat = _stat_of(header.uid, header.gid, header.permissions, kind, header.devmajor, header.devminor)
        return Attributes(stat, header.mtime_ns, self._xattrs(header) if header.pax else None)

    def _xattrs(self, header: TarHeader) -> dict[str, bytes]:
        """The attributes to be set: no marks, which only the tar's own names can make."""
        xattrs: dict[str, bytes] = {}
        for key, value in header.xattrs.items():
            override = key == OVERRIDE_STAT or key.startswith(OVERRIDE_XATTR)
            if self._abilities.dialect.is_own(key) or (override and not self._abilities.owners):
                what, effect = f"carries {escape(key)[:80]}, a mark of the layer's keeper", "it is not set"
                self._problems.append(Problem(header.name, what, effect, severity=Severity.WARNING))
            elif "\0" in key:
                raise Refused(f"an extended attribute of the name {escape(key)[:80]}")
            else:
                xattrs[key] = value
        return xattrs


def _is_meta(name: bytes) -> bool:
    """Whether aufs keeps its own things under such a name."""
    return name.startswith(_PREFIX * 2) and name != _OPAQUE


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
