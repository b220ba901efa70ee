"""Each header of a layer's tar compared with its inode: type, mode, owner, time, link, device number, attributes.

What may differ without anybody's doing:

| fact | rule |
| --- | --- |
| time | a header of whole seconds fits every fraction of that second: BuildKit's layers keep what the tar cut off |
| time before 1970 or beyond 63 bits of nanoseconds | 0 on the disk, except of symlinks (not containerd's) |
| time of a directory or symlink in a layer pulled in parts | that of the pull, which fills a directory last |
| mode of a symlink | never set |
| whiteout | a device 0:0 whose owner is the header's; mode and time mean nothing |
| whiteout of a name that the layer has, too; a name that comes twice | what :mod:`.deletions` says |
| ``.wh..wh.*`` of aufs's own | a device 0:0, or nothing |
| device 0:0 | the mode means nothing to an overlay, whose whiteout it is |
| attributes of the overlay itself | the kernel's notes |
| the layer's top in a whole tree, or named ``/`` | mode and owner are what the tar says, if it names it |
| the top of a layer of changes, named ``.`` | as the engine made it: root's, mode 0755 |
| time of the layer's top | that of a mount |
| directories that no header names | no recorded metadata |
| a file of several names | has what the last of its headers says |

Source: moby pkg/archive/archive.go, archive_linux.go; seen with 20.10.24.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat as modes
from collections.abc import Iterable

from msgspec import Struct

from layerscope.analysis.verify.deletions import Deletions, VoidableFindings
from layerscope.analysis.verify.findings import Findings, said
from layerscope.analysis.verify.names import RecordedNames
from layerscope.analysis.verify.places import Place, Places
from layerscope.analysis.verify.words import found_kind, hexadecimal, recorded_kind, seconds
from layerscope.formats.tar.brief_header import BriefHeader
from layerscope.formats.tar.types import MODE_OF_TYPE
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, Dialect, is_whiteout_device
from layerscope.hostfs import Directory
from layerscope.hostfs.folder import Folder
from layerscope.model.level import LayerKind
from layerscope.model.tree import LayerDirectory
from layerscope.model.verdict import Finding

_SECOND = 1_000_000_000
_LATEST = (1 << 63) - 1
_MOST_DEFERRED = 100_000
_TOP_AS_MADE = (0o755, 0, 0)
"""Mode and owner of the directory that an engine makes for a layer of changes."""
_OF_THE_HOST = frozenset({"security.selinux", "security.ima", "security.evm"})
"""Labels that the host's own security modules set."""


class Rules(Struct, frozen=True):
    """How a layer's directory is to be read.

    ``kind`` and ``dialect`` are the driver's. ``owners`` can be compared; ``whiteout_owners``: those of whiteouts, too,
    which in a remapped root are the host's. ``modes``: permission bits can be compared. ``exact``: the directory was
    unpacked from the tar; else the tar was made of the directory, which may have attributes and sockets that no tar
    keeps. ``sees_marks``: this user would see a mark that is there. ``top``: what the layer's top has is known.
    ``times``: directories and symlinks have the tar's times. ``at_once``: marks took effect while the tar was unpacked,
    and leave no trace, as in a whole tree. ``by_containerd``: its rules hold, where they differ.
    """

    kind: LayerKind
    dialect: Dialect
    owners: bool = True
    whiteout_owners: bool = True
    modes: bool = True
    exact: bool = True
    sees_marks: bool = True
    top: bool = True
    times: bool = True
    at_once: bool = False
    by_containerd: bool = False

    @property
    def device_marks(self) -> bool:
        """Whether ``.wh.`` names of the tar are marks here; else they are files, or were carried out."""
        return self.kind is LayerKind.DIFF and not self.dialect.names and not self.at_once

    @property
    def carries_out(self) -> bool:
        """Whether a ``.wh.`` name of the tar deletes what it names, and leaves nothing."""
        return self.kind is LayerKind.SNAPSHOT or self.at_once

    def voidable(self) -> VoidableFindings | None:
        """Where findings wait for what comes later in the tar, if that matters here."""
        return VoidableFindings(marks=self.carries_out) if self.carries_out or self.by_containerd else None


class MetadataCheck:
    """Takes the headers of one layer in order; :meth:`finish` after the last. ``names`` then has what they name.

    ``at_root`` is set when the next header that names the layer's top does so by an absolute name.
    """

    def __init__(
        self, places: Places, rules: Rules, findings: Findings, voidable: VoidableFindings | None = None
    ) -> None:
        """``voidable`` is :meth:`Rules.voidable`; the caller tells it each header before, and settles it."""
        self._places = places
        self._rules = rules
        self._voidable = voidable
        self._findings: Findings = findings if voidable is None else voidable
        self.names = RecordedNames()
        self.at_root = False
        self._deletions = Deletions(self.names, findings, whole_tree=rules.carries_out)
        # A later directory of the name begins empty.
        self._takes_the_place = rules.kind is LayerKind.SNAPSHOT and rules.by_containerd
        self._place: Place | None = None
        self._look: Folder | LayerDirectory = places.top.directory
        self._trail: frozenset[str] = frozenset()
        self._deferred: dict[tuple[int, int], tuple[int, BriefHeader]] = {}

    def take_all(self, headers: Iterable[BriefHeader]) -> None:
        """Every header, and the end."""
        voidable = self._voidable
        try:
            for header in headers:
                if voidable is not None:
                    voidable.take(header)
                self.take(header)
        finally:
            self.finish()

    def finish(self) -> None:
        """All headers were taken."""
        self._leave()
        self._place = None
        for _, header in self._deferred.values():
            try:
                place, name = self._places.split(header.path)
                self._compare(header, place.directory.stat(name))
            except OSError:
                continue
        self._deferred.clear()
        self.names.seal()
        self._deletions.settle()

    # ------------------------------------------------------------------ one header
    def take(self, header: BriefHeader) -> None:
        """One header."""
        path = header.path
        if not path:
            if header.type == "5" and self._rules.top:
                self._compare_top(header, self._places.top.directory.stat_self())
            self.at_root = False
            return
        if NAME_PREFIX in path and self._is_mark(header):
            return
        try:
            name = self._enter(path)
            stat = self._look.stat(name)
        except OSError as error:
            self.names.entries.add(path)
            # Files with bytes are missed by those who read them.
            if header.type != "0" or not header.size or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._findings.fail(path, "entry", recorded_kind(header), error)
            return
        assert self._place is not None
        real = self._place.path_of(name)
        self.names.entries.add(real)
        if self._takes_the_place and header.type != "5":
            self.names.removed.add(real)
        self._deletions.bring(real)
        if header.type == "1":
            if not self._is_linked(header, stat):
                return
        elif MODE_OF_TYPE.get(header.type) != modes.S_IFMT(stat.st_mode):
            self._findings.add(path, "type", recorded_kind(header), found_kind(stat))
            return
        if stat.st_nlink > 1 and not modes.S_ISDIR(stat.st_mode) and len(self._deferred) < _MOST_DEFERRED:
            self._defer(header, stat)
        else:
            self._compare(header, stat)
        self._compare_kind(header, stat, name)
        self._compare_xattrs(header, name)

    def take_damaged(self, name: str, why: str) -> None:
        """An entry whose headers can't be understood."""
        path = name.removeprefix("./").strip("/")
        self._findings.add(path, "header", "one that makes sense", why)
        try:
            last = self._enter(path)
        except OSError:
            return
        if self._place is not None:
            self.names.entries.add(self._place.path_of(last))

    def _enter(self, path: str) -> str:
        """Stand in the directory of an entry; its last name."""
        place, name = self._places.split(path)
        if place is not self._place:
            self._leave()
            directory = place.directory
            self._look = Folder(directory) if isinstance(directory, Directory) else directory
            self._place = place
            trail = []
            node: Place | None = place
            while node is not None and node.above is not None:
                trail.append(node.path)
                if node.path not in self._trail:
                    self.names.folders.add(node.path)
                    self._deletions.bring(node.path)
                node = node.above
            self._trail = frozenset(trail)
        return name

    def _leave(self) -> None:
        if isinstance(self._look, Folder):
            self._look.close()

    def _defer(self, header: BriefHeader, stat: os.stat_result) -> None:
        """A file of several names: what its last header says counts. When all names were seen it is compared."""
        inode = (stat.st_dev, stat.st_ino)
        seen = self._deferred.pop(inode, (0, header))[0] + 1
        if seen == stat.st_nlink:
            self._compare(header, stat)
        else:
            self._deferred[inode] = (seen, header)

    # ------------------------------------------------------------------ marks
    def _is_mark(self, header: BriefHeader) -> bool:
        """Deal with a whiteout or opaque mark, if it is one here."""
        folder, _, name = header.path.rpartition("/")
        if not name.startswith(NAME_PREFIX) or (self._rules.kind is LayerKind.DIFF and self._rules.dialect.names):
            return False
        if name == NAME_OPAQUE:
            self._mark_opaque(folder)
            return True
        own_of_aufs = name.startswith(NAME_PREFIX * 2)
        if own_of_aufs and self._rules.carries_out:
            return True  # docker passes over it
        removed = name.removeprefix(NAME_PREFIX)
        if removed not in ("", ".", ".."):
            self._compare_mark(header, f"{folder}/{removed}" if folder else removed, optional=own_of_aufs)
        return True

    def _compare_mark(self, header: BriefHeader, path: str, *, optional: bool) -> None:
        """What lies where a whiteout of ``path`` should; the layer's other headers may explain something else."""
        carried_out = self._rules.carries_out
        real = path
        try:
            last = self._enter(path)
            assert self._place is not None
            real = self._place.path_of(last)
            self.names.removed.add(real)
            stat = self._look.stat(last)
        except PermissionError:
            if not carried_out:
                self._findings.denied += 1
            return
        except OSError as error:
            if not carried_out and not optional:
                outside = error.errno == errno.ENOTDIR
                self._deletions.differ(real, "entry", "a whiteout", said(error), outside=outside)
            return
        owner, found = f"{header.uid}:{header.gid}", f"{stat.st_uid}:{stat.st_gid}"
        if carried_out:
            self._deletions.differ(real, "added", "none", found_kind(stat))
        elif not is_whiteout_device(stat):
            self._deletions.differ(real, "type", "a whiteout", found_kind(stat))
        elif self._rules.owners and self._rules.whiteout_owners and owner != found:
            self._deletions.differ(real, "owner", owner, found)
        else:
            self.names.entries.add(real)

    def _mark_opaque(self, folder: str) -> None:
        """Its directory is known as opaque; whether it is will be seen when all directories are walked."""
        try:
            self._enter(f"{folder}/x" if folder else "x")
        except OSError:
            return
        assert self._place is not None
        self.names.opaque.add(self._place.path)

    # ------------------------------------------------------------------ comparing
    def _is_linked(self, header: BriefHeader, stat: os.stat_result) -> bool:
        """Whether a hard link's name has the inode of the name it is linked to."""
        target = header.linkname
        recorded = f"a hard link to /{target.removeprefix('./').strip('/')}"
        try:
            place, name = self._places.split(target)
            other = place.directory.stat(name) if name else place.directory.stat_self()
        except OSError as error:
            self._tell_link(header, "link", recorded, f"{said(error)} at that name")
            return False
        if (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino):
            return True
        if modes.S_IFMT(other.st_mode) != modes.S_IFMT(stat.st_mode):
            self._tell_link(header, "type", f"{recorded}, {found_kind(other)}", found_kind(stat))
        else:
            self._tell_link(header, "link", recorded, f"{found_kind(stat)} of its own")
        return False

    def _tell_link(self, header: BriefHeader, subject: str, recorded: str, found: str) -> None:
        finding = Finding(f"/{header.path}", subject, recorded, found)
        if self._voidable is None:
            self._findings.put(finding)
        else:
            target = posixpath.normpath("/" + header.linkname.lstrip("/"))[1:]
            self._voidable.put_link(finding, target)

    def _compare(self, header: BriefHeader, stat: os.stat_result) -> None:
        """Mode, owner and time."""
        is_symlink = modes.S_ISLNK(stat.st_mode)
        is_mark = self._rules.kind is LayerKind.DIFF and self._rules.dialect.devices and is_whiteout_device(stat)
        if self._rules.modes and not (is_symlink or is_mark) and (stat.st_mode & 0o7777) != header.mode:
            self._findings.add(header.path, "mode", f"{header.mode:04o}", f"{stat.st_mode & 0o7777:04o}")
        self._compare_owner(header, stat, header.path)
        if header.type == "1" and is_symlink:
            return  # docker gives a link's time to its symlink no more
        if not self._rules.times and (is_symlink or modes.S_ISDIR(stat.st_mode)):
            return
        recorded, found = header.mtime_ns, stat.st_mtime_ns
        if not 0 <= recorded <= _LATEST and (not is_symlink or (self._rules.by_containerd and not found)):
            recorded = 0
        if found != recorded and (recorded % _SECOND or found // _SECOND != recorded // _SECOND):
            self._findings.add(header.path, "time", seconds(recorded), seconds(found))

    def _compare_top(self, header: BriefHeader, stat: os.stat_result) -> None:
        """The layer's top: docker gives it what the tar says of ``/``; ``.`` it passes over in a layer of changes."""
        if self._rules.kind is LayerKind.DIFF and not self.at_root:
            mode, uid, gid = _TOP_AS_MADE
            header = header._replace(mode=mode, uid=uid, gid=gid)
        if self._rules.modes and (stat.st_mode & 0o7777) != header.mode:
            self._findings.add("", "mode", f"{header.mode:04o}", f"{stat.st_mode & 0o7777:04o}")
        self._compare_owner(header, stat, "")

    def _compare_owner(self, header: BriefHeader, stat: os.stat_result, path: str) -> None:
        if self._rules.owners and (header.uid, header.gid) != (stat.st_uid, stat.st_gid):
            self._findings.add(path, "owner", f"{header.uid}:{header.gid}", f"{stat.st_uid}:{stat.st_gid}")

    def _compare_kind(self, header: BriefHeader, stat: os.stat_result, name: str) -> None:
        """What only one kind of entry has."""
        if header.type in "34":
            found = (os.major(stat.st_rdev), os.minor(stat.st_rdev))
            if found != (header.devmajor, header.devminor):
                recorded = f"{header.devmajor}:{header.devminor}"
                self._findings.add(header.path, "device number", recorded, f"{found[0]}:{found[1]}")
        elif header.type == "2":
            assert self._place is not None
            target = self._place.directory.readlink(name)
            if target != header.linkname:
                self._findings.add(header.path, "symlink target", header.linkname, target)
        elif header.type == "0" and not header.size and stat.st_size:
            self._findings.add(header.path, "length", "0 bytes", f"{stat.st_size} bytes")

    def _compare_xattrs(self, header: BriefHeader, name: str) -> None:
        present = self._look.xattr_names(name)
        if not present and not header.xattrs:
            return
        rules, dialect = self._rules, self._rules.dialect
        assert self._place is not None
        wanted = {key: value for key, value in header.xattrs.items() if not dialect.is_own(key)}
        for key in sorted(set(present) | wanted.keys()):
            if key in _OF_THE_HOST or (dialect.is_own(key) and not self._counts(key)):
                continue
            recorded = wanted.get(key)
            if recorded is None and not rules.exact and not key.startswith("security."):
                continue
            found = self._place.directory.xattr(key, name) if key in present else None
            if found != recorded:
                self._findings.add(header.path, f"attribute {key}", hexadecimal(recorded), hexadecimal(found))

    def _counts(self, key: str) -> bool:
        """Whether a mark changes what is seen although no layer of docker's own making has it."""
        dialect = self._rules.dialect
        return self._rules.exact and key in (dialect.redirect_key, dialect.metacopy_key, dialect.whiteout_key)
