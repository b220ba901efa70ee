"""The life of one path: what each level of a stack did to it."""

from __future__ import annotations

import hashlib
import os
import stat as modes
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from msgspec import Struct

from layerscope.model.blame import Blame, BlameEvent, BlameStep
from layerscope.model.level import Level
from layerscope.model.tree import ContentsAbsent
from layerscope.overlay.entry_state import own_xattrs, same_bytes, same_stream
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView, Place

_MISSING = (FileNotFoundError, NotADirectoryError)


class Sight(Struct, frozen=True):
    """What a view shows at a path: who serves it, and its facts. ``name`` is "" for a directory."""

    directory: MergedDirectory
    name: str
    part: Part
    stat: os.stat_result

    @property
    def is_opaque(self) -> bool:
        """Whether it is a directory whose copy hides those below."""
        return modes.S_ISDIR(self.stat.st_mode) and self.part.is_opaque


class Sighting(Struct, frozen=True):
    """What one level does to a path.

    ``sight`` is the level's own copy, None where the level takes the path away. ``event`` is None for a directory that
    was copied up only for what is in it. ``fields`` as in :class:`BlameStep`, and ``content?`` where it wasn't read.
    """

    level: int
    event: BlameEvent | None
    fields: tuple[str, ...]
    sight: Sight | None


class ContentReader:
    """How the contents of two copies are compared. This one reads them, however large they are."""

    def same(self, before: Sight, now: Sight) -> bool | None:
        """Whether two files of one size hold the same bytes; None: not found out."""
        if (before.stat.st_dev, before.stat.st_ino) == (now.stat.st_dev, now.stat.st_ino):
            return True
        try:
            with before.directory.open(before.name) as one, now.directory.open(now.name) as other:
                return same_stream(one, other)
        except ContentsAbsent:
            return same_bytes(now.directory, now.part, now.name, before.part, before.name)
        except OSError:
            return False


class _RememberedPart(Part):
    """A part that keeps those below it, so that the cuts of one stack share what was read for one of them."""

    __slots__ = ("_below",)

    def __init__(self, part: Part) -> None:
        super().__init__(part.level, part.directory, part.path, part.dialect, part.bottom)
        self._below: dict[str, _RememberedPart] = {}

    def enter(self, name: str) -> Part:
        """The part of the directory ``name`` in this level."""
        below = self._below.get(name)
        if below is None:
            below = self._below[name] = _RememberedPart(super().enter(name))
        return below


def _cuts(view: MergedView) -> Iterator[tuple[int, MergedView]]:
    """The view as of each level, base first, with the level's number; they share their parts."""
    kept: dict[int, Part] = {}
    for level in view.levels:
        cut = view.cut(level.number)
        if cut.tree is cut:  # parts of compared trees remember what they need themselves
            parts = [kept.setdefault(part.level, _RememberedPart(part)) for part in cut.root_parts]
            cut.root_parts = tuple(parts)
        yield level.number, cut


def look(view: MergedView, path: str) -> Sight | None:
    """What the view shows at ``path`` (the last link not followed), None if nothing."""
    try:
        place = view.place(path)
    except _MISSING:
        return None
    return _sight(place)


def _sight(place: Place) -> Sight | None:
    if place.name:
        found = place.directory.origin(place.name)
        if found is None:
            return None
        return Sight(place.directory, place.name, found.part, found.part.directory.stat(place.name))
    copies = place.directory.copies
    if not copies:
        return None
    return Sight(place.directory, "", copies[0], place.directory.stat())


def sightings(view: MergedView, path: str, reader: ContentReader | None = None) -> Iterator[Sighting]:
    """What each level that holds the path, or takes it away, does to it, base first.

    Found from cuts through the stack at every level, so it is what was seen after that level.
    """
    reader = reader or ContentReader()
    before: Sight | None = None
    ever = False
    for number, cut in _cuts(view):
        sight = look(cut, path)
        if sight is not None and sight.part.level == number:
            fields = _fields(before, sight, reader) if before else ()
            yield Sighting(number, _event(before, sight, ever, fields), fields, sight)
            ever = True
        elif sight is None and before is not None:
            event = BlameEvent.DELETED if _has_whiteout(view, number, path) else BlameEvent.HIDDEN
            yield Sighting(number, event, (), None)
        before = sight


def blame(view: MergedView, path: str, levels: Mapping[int, Level]) -> Blame:
    """The path's life, base first, from cuts through the stack at every level that changes what is seen.

    Args:
        view: The stack; the path need not be visible in it.
        path: The path, symlinks on the way followed inside the view.
        levels: The levels by number, for role and command.

    Raises:
        FileNotFoundError: no level of the stack ever had it.
    """
    steps: list[BlameStep] = []
    last: Sight | None = None
    paid = 0
    for sighting in sightings(view, path):
        last = sighting.sight
        paid += stored_bytes(last.stat) if last else 0
        if sighting.event is not None:
            level = levels[sighting.level]
            size, digest = _content(last) if last else (None, None)
            steps.append(
                BlameStep(level.number, level.role, level.created_by, sighting.event, sighting.fields, size, digest)
            )
    if not steps:
        raise FileNotFoundError(2, "no level has it", path)
    return Blame(
        path="/" + path.strip("/"),
        visible=last is not None,
        served_by=last.part.level if last else None,
        paid_bytes=paid,
        steps=tuple(steps),
    )


def _event(before: Sight | None, now: Sight, ever: bool, fields: tuple[str, ...]) -> BlameEvent | None:
    if before is None:
        return BlameEvent.RECREATED if ever else BlameEvent.CREATED
    if "type" in fields or now.is_opaque:
        return BlameEvent.REPLACED
    if {"content", "target", "rdev"} & set(fields):
        return BlameEvent.MODIFIED
    if not fields and modes.S_ISDIR(now.stat.st_mode):
        return None  # copied up for something in it
    return BlameEvent.METADATA


def _fields(before: Sight, now: Sight, reader: ContentReader) -> tuple[str, ...]:
    """What differs between two copies, in a fixed order."""
    one, other = before.stat, now.stat
    found = []
    if modes.S_IFMT(one.st_mode) != modes.S_IFMT(other.st_mode):
        return ("type",)
    if modes.S_ISREG(other.st_mode):
        same = reader.same(before, now) if one.st_size == other.st_size else False
        if not same:
            found.append("content?" if same is None else "content")
    elif modes.S_ISLNK(other.st_mode):
        if before.part.directory.readlink(before.name) != now.part.directory.readlink(now.name):
            found.append("target")
    elif one.st_rdev != other.st_rdev:
        found.append("rdev")
    for field, left, right in (
        ("mode", modes.S_IMODE(one.st_mode), modes.S_IMODE(other.st_mode)),
        ("uid", one.st_uid, other.st_uid),
        ("gid", one.st_gid, other.st_gid),
    ):
        if left != right:
            found.append(field)
    if not modes.S_ISDIR(other.st_mode) and one.st_mtime_ns != other.st_mtime_ns:
        found.append("mtime")
    old_xattrs, new_xattrs = own_xattrs(before.part, before.name), own_xattrs(now.part, now.name)
    for key in sorted(old_xattrs.keys() | new_xattrs.keys()):
        if old_xattrs.get(key) != new_xattrs.get(key):
            found.append(f"xattr:{key}")
    return tuple(found)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 18):
        digest.update(chunk)
    return digest.hexdigest()


def _content(sight: Sight) -> tuple[int | None, str | None]:
    """Size and SHA-256 of a regular file; a symlink has only a size; others neither."""
    if modes.S_ISLNK(sight.stat.st_mode):
        return sight.stat.st_size, None
    if not modes.S_ISREG(sight.stat.st_mode):
        return None, None
    try:
        with sight.directory.open(sight.name) as file:
            return sight.stat.st_size, _digest(file)
    except OSError:
        return sight.stat.st_size, None


def stored_bytes(stat: os.stat_result) -> int:
    """What one copy adds to the bytes paid: its apparent size; directories add nothing."""
    return 0 if modes.S_ISDIR(stat.st_mode) else stat.st_size


def _has_whiteout(view: MergedView, number: int, path: str) -> bool:
    """Whether the level holds a whiteout of exactly this path."""
    top = next((part for part in view.root_parts if part.level == number), None)
    names = [name for name in path.split("/") if name]
    for name in names[:-1]:
        if top is None or top.holds(name) != "d":
            return False
        top = top.enter(name)
    return top is not None and bool(names) and top.touches(names[-1]) == "w"
