"""The stored copies of one path: what each level of a stack holds there, and their bytes once they are asked for.

Made for a front end that moves from path to path: contents are read up to a limit, and the work stops when told to.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import stat as modes
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from layerscope.analysis.blame import ContentReader, Sight, sightings, stored_bytes
from layerscope.errors import LayerscopeError
from layerscope.model.blame import BlameEvent
from layerscope.model.file_type import file_type
from layerscope.model.level import Level, Role
from layerscope.model.subject import Subject
from layerscope.services.faults import told
from layerscope.services.session import Session

_CHUNK = 1 << 18
_XATTR_LIMIT = 64

Stopped = Callable[[], bool]
"""Asked between pieces of work: whether the answer is still wanted."""


class Cancelled(LayerscopeError):
    """The work was given up because nobody wants its result any more."""


def never() -> bool:
    """Work that is always wanted."""
    return False


class OwnEntry(NamedTuple):
    """A name that one level itself stores in a directory; ``whiteout``: it is there to remove the name."""

    name: str
    is_dir: bool
    whiteout: bool


class OwnEntries(Struct, frozen=True):
    """What one level itself stores in a directory: how many names, how many of them whiteouts, and the first ones."""

    count: int
    whiteouts: int
    first: tuple[OwnEntry, ...]


class Copy(Struct, frozen=True):
    """One stored copy of ``path`` (in the view, no leading slash).

    ``place`` is where it lies, relative to the root ("" if unknown); ``target`` that of a symlink; ``xattrs`` all that
    its level stores for it, the overlay's marks included; ``opaque``: a directory that hides those below.
    """

    path: str
    level: Level
    stat: os.stat_result
    place: str
    target: str | None
    xattrs: Mapping[str, bytes]
    opaque: bool
    sight: Sight

    @property
    def type(self) -> str:
        """``file dir symlink char block fifo socket``."""
        return file_type(self.stat.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, which has bytes to show."""
        return modes.S_ISREG(self.stat.st_mode)

    def entries(self, most: int) -> OwnEntries:
        """What the level itself stores in this directory; the first ``most`` names by their bytes.

        Raises:
            LayerscopeError: it can't be read.
        """
        with told(f"cannot list the copy of /{self.path} in level {self.level.number}"):
            listing = self.sight.part.listing()
        # Sorting all of a large directory would hold up the thread that draws.
        names = heapq.nsmallest(most, listing, key=os.fsencode)
        first = tuple(OwnEntry(name, listing[name] == "d", listing[name] == "w") for name in names)
        return OwnEntries(len(listing), sum(kind == "w" for kind in listing.values()), first)

    def open(self) -> BinaryIO:
        """The bytes that a view with this level on top serves. Raises UsageError, RootError, PermissionDenied."""
        with told(f"cannot read the copy of /{self.path} in level {self.level.number}"):
            return self.sight.directory.open(self.sight.name)


class Step(Struct, frozen=True):
    """What one level did to the path. ``copy`` is None where it took the path away.

    ``event`` is None for a directory that was copied up only for what is in it. ``fields`` says what differs from the
    copy before, ``content?`` where that was too large to be read. ``sha256`` is None where it was not read.
    """

    level: Level
    event: BlameEvent | None
    fields: tuple[str, ...]
    copy: Copy | None
    sha256: str | None = None


class Life(Struct, frozen=True):
    """What happened to a path in a stack of ``levels`` levels; ``steps`` are those that did something, top first."""

    path: str
    levels: int
    steps: tuple[Step, ...]

    @property
    def copies(self) -> tuple[Copy, ...]:
        """The stored copies, top first."""
        return tuple(step.copy for step in self.steps if step.copy is not None)

    def at(self, cut: int) -> Step | None:
        """The step that decides what the levels up to ``cut`` show: the copy they serve, or who took it away."""
        return next((step for step in self.steps if step.level.number <= cut), None)

    def copy_of(self, level: int) -> Copy | None:
        """The copy that one level stores."""
        return next((copy for copy in self.copies if copy.level.number == level), None)

    def below(self, copy: Copy) -> Copy | None:
        """The next copy further down: what ``copy`` was made from, or stands in place of."""
        return next((other for other in self.copies if other.level.number < copy.level.number), None)

    def paid_bytes(self, cut: int) -> int:
        """The apparent bytes of all copies in the levels up to ``cut``, seen or not; directories count nothing."""
        return sum(stored_bytes(copy.stat) for copy in self.copies if copy.level.number <= cut)


def life(session: Session, subject: Subject, path: str, read_bytes: int = 1 << 25, stopped: Stopped = never) -> Life:
    """The life of ``path`` in the whole stack of ``subject``; its cut doesn't count.

    Args:
        session: The opened root.
        subject: Whose stack.
        path: The path in the view, with or without leading slash; it need not be visible anywhere.
        read_bytes: Files above this size are neither hashed nor compared.
        stopped: Asked between levels and chunks.

    Raises:
        Cancelled: ``stopped`` said so.
        LayerscopeError: no level ever had it, or it can't be read.
    """
    with told(f"cannot tell the life of /{path.strip('/')} in {subject.name}"):
        levels = {level.number: level for level in session.levels(subject)}
        view = session.view(replace(subject, cut=None))
        reader = _BoundedReader(read_bytes, stopped)
        steps = []
        for sighting in sightings(view, path, reader):
            level = levels.get(sighting.level) or Level(sighting.level, Role.IMAGE, None)
            found = _copy(path, level, sighting.sight) if sighting.sight else None
            digest = reader.digest(found) if found else None
            steps.append(Step(level, sighting.event, sighting.fields, found, digest))
        if not steps:
            raise FileNotFoundError(2, "no level has it", path)
    return Life(path.strip("/"), max(levels, default=0), tuple(reversed(steps)))


def _copy(path: str, level: Level, sight: Sight) -> Copy:
    part, name = sight.part, sight.name
    target = None
    if modes.S_ISLNK(sight.stat.st_mode):
        target = part.directory.readlink(name)
    xattrs = dict(sorted(part.directory.xattrs(name).items())[:_XATTR_LIMIT])
    place = "/".join(piece for piece in (level.path, part.path, name) if piece) if level.path else ""
    return Copy(path.strip("/"), level, sight.stat, place, target, xattrs, sight.is_opaque, sight)


class _BoundedReader(ContentReader):
    """Reads files up to ``limit`` bytes, each once for its digest, and stops when told to."""

    def __init__(self, limit: int, stopped: Stopped) -> None:
        self._limit = limit
        self._stopped = stopped

    def same(self, before: Sight, now: Sight) -> bool | None:
        """Whether two files hold the same bytes; None for what is above the limit."""
        self._check()
        if now.stat.st_size > self._limit and (before.stat.st_dev, before.stat.st_ino) != (
            now.stat.st_dev,
            now.stat.st_ino,
        ):
            return None
        return super().same(before, now)

    def digest(self, copy: Copy) -> str | None:
        """SHA-256 of a regular file's bytes; None for what is above the limit or can't be read."""
        self._check()
        if not copy.is_file or copy.stat.st_size > self._limit:
            return None
        try:
            with copy.open() as file:
                return _sha256_of(file, self._stopped)
        except Cancelled:
            raise
        except LayerscopeError:
            return None

    def _check(self) -> None:
        if self._stopped():
            raise Cancelled("given up")


def _sha256_of(file: BinaryIO, stopped: Stopped) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        if stopped():
            raise Cancelled("given up")
        digest.update(chunk)
    return digest.hexdigest()


class Difference(Struct, frozen=True):
    """One fact in which two copies differ, as texts; "" where one lacks it."""

    name: str
    old: str
    new: str


def metadata_differences(old: Copy, new: Copy) -> list[Difference]:
    """What ``lstat`` and extended attributes say differently of two copies; contents, sizes and the overlay's own marks
    aside."""
    one, other = old.stat, new.stat
    pairs = [
        ("type", old.type, new.type),
        ("mode", f"{modes.S_IMODE(one.st_mode):04o}", f"{modes.S_IMODE(other.st_mode):04o}"),
        ("owner", f"{one.st_uid}:{one.st_gid}", f"{other.st_uid}:{other.st_gid}"),
        ("target", old.target or "", new.target or ""),
    ]
    found = [Difference(name, left, right) for name, left, right in pairs if left != right]
    if one.st_mtime_ns != other.st_mtime_ns:
        found.append(Difference("mtime", str(one.st_mtime_ns), str(other.st_mtime_ns)))
    for key in sorted(old.xattrs.keys() | new.xattrs.keys()):
        left_value, right_value = old.xattrs.get(key), new.xattrs.get(key)
        if left_value != right_value and not new.sight.part.dialect.is_own(key):
            found.append(Difference(f"xattr {key}", _hex(left_value), _hex(right_value)))
    return found


def _hex(value: bytes | None) -> str:
    if value is None:
        return ""
    return value[:32].hex() + ("..." if len(value) > 32 else "") or "(empty)"
