"""What differs between two merged views, path by path.

Two rules of comparison: docker's own, defects included (:func:`docker_changes`), and an exact one
(:func:`exact_changes`). Both walk the same way: only directories that one of the views has in a level which the other
hasn't are read, and names are looked up one by one in the levels that both share. So the cost is that of the change,
not of the trees.

Source of docker's rule: moby pkg/archive/changes.go ``ChangesDirs``, changes_unix.go ``statDifferent``; equal to the
daemon's answers on every sample root.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterable
from typing import NamedTuple

from layerscope.model.change import Change, ChangeKind, Reason
from layerscope.overlay.merged import Found, MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.provenance import content_differs_by_stat, different_owner_or_mode, own_xattrs, same_bytes
from layerscope.overlay.view import MergedView

_CAPABILITY = "security.capability"
_SECOND = 1_000_000_000


class Copy(NamedTuple):
    """One side of a comparison: the directory of the view, the name in it, the part that serves it, its ``lstat``."""

    directory: MergedDirectory
    name: str
    part: Part
    stat: os.stat_result


Differs = Callable[[Copy, Copy], bool]


def docker_changes(old: MergedView, new: MergedView, detail: bool = True) -> list[Change]:
    """The lines of ``docker diff`` (every engine since 18.06), sorted by the bytes of the path.

    Args:
        old: The container without its writable layer (its init layer on top).
        new: The container.
        detail: Also sizes and the exact reason of each change; without it only kind and path are sure.
    """
    return _Comparison(old, new, _docker_differs, detail).run()


def exact_changes(old: MergedView, new: MergedView) -> list[Change]:
    """Every difference from ``old`` to ``new``: content byte by byte, metadata with times and all extended attributes.

    A directory's own times and size don't count. A removed directory is one line; its members have none.
    """
    return _Comparison(old, new, _exactly_differs, True).run()


# ---------------------------------------------------------------------- the two rules
def _docker_differs(old: Copy, new: Copy) -> bool:
    one, other = old.stat, new.stat
    if different_owner_or_mode(one, other) or one.st_rdev != other.st_rdev:
        return True
    # docker's "is a directory" is one bit of the mode, which block devices and sockets have too.
    if not one.st_mode & modes.S_IFDIR and (one.st_size != other.st_size or not _same_docker_time(one, other)):
        return True
    return old.part.directory.xattr(_CAPABILITY, old.name) != new.part.directory.xattr(_CAPABILITY, new.name)


def _same_docker_time(one: os.stat_result, other: os.stat_result) -> bool:
    """Equal seconds; nanoseconds count only if both sides have some."""
    left, right = one.st_mtime_ns, other.st_mtime_ns
    if left == right:
        return True
    return left // _SECOND == right // _SECOND and (left % _SECOND == 0 or right % _SECOND == 0)


def _exactly_differs(old: Copy, new: Copy) -> bool:
    return different_owner_or_mode(old.stat, new.stat) or _content_differs(old, new) or _metadata_differs(old, new)


def _metadata_differs(old: Copy, new: Copy) -> bool:
    times_count = not modes.S_ISDIR(new.stat.st_mode)
    if times_count and old.stat.st_mtime_ns != new.stat.st_mtime_ns:
        return True
    return own_xattrs(old.part, old.name) != own_xattrs(new.part, new.name)


def _content_differs(old: Copy, new: Copy) -> bool:
    if content_differs_by_stat(old.stat, new.stat):
        return True
    if modes.S_ISLNK(new.stat.st_mode):
        return old.part.directory.readlink(old.name) != new.part.directory.readlink(new.name)
    if not modes.S_ISREG(new.stat.st_mode) or not new.stat.st_size:
        return False
    if (old.stat.st_dev, old.stat.st_ino) == (new.stat.st_dev, new.stat.st_ino):
        return False
    return not same_bytes(new.directory, new.part, new.name, old.part, old.name)


def _reason(old: Copy, new: Copy) -> Reason:
    if modes.S_IFMT(old.stat.st_mode) != modes.S_IFMT(new.stat.st_mode):
        return Reason.TYPE
    if modes.S_ISDIR(new.stat.st_mode):
        return Reason.METADATA
    return Reason.CONTENT if _content_differs(old, new) else Reason.METADATA


def _bytes_of(stat: os.stat_result) -> int | None:
    return None if modes.S_ISDIR(stat.st_mode) else stat.st_size


# ---------------------------------------------------------------------- the walk
class _Comparison:
    """One comparison of two views; ``differs`` decides for what both have."""

    def __init__(self, old: MergedView, new: MergedView, differs: Differs, detail: bool) -> None:
        self._pairs = [(old.root, new.root)]
        self._added: list[MergedDirectory] = []
        self._differs = differs
        self._detail = detail
        self._changes: dict[str, Change] = {}
        self._opaque: dict[str, tuple[int, int]] = {}

    def run(self) -> list[Change]:
        while self._pairs:
            self._compare(*self._pairs.pop())
        while self._added:
            self._add_members(self._added.pop())
        self._add_ancestors()
        return sorted(self._changes.values(), key=lambda change: os.fsencode(change.path))

    def _note(self, change: Change) -> None:
        self._changes[change.path] = change

    def _compare(self, old: MergedDirectory, new: MergedDirectory) -> None:
        own_old, own_new, new = _unshared(old, new)
        names: set[str] = set()
        for part in own_old:
            names.update(old.view.listing_of(part))
        for part in own_new:
            names.update(new.view.listing_of(part))
        if not names:
            return
        old.learn(names)
        new.learn(names)
        both: list[tuple[str, Found, Found]] = []
        for name in names:
            before, after = old.lookup(name), new.lookup(name)
            if after is None:
                if before is not None:
                    self._removed(old, new, name, before)
            elif before is None:
                self._note_added(new, name, after)
            elif before.part is not after.part:
                both.append((name, before, after))
        self._compare_pairs(old, new, both)

    def _compare_pairs(self, old: MergedDirectory, new: MergedDirectory, both: list[tuple[str, Found, Found]]) -> None:
        old_stats = _stats([(name, before.part) for name, before, _ in both])
        new_stats = _stats([(name, after.part) for name, _, after in both])
        for (name, before, after), old_stat, new_stat in zip(both, old_stats, new_stats, strict=True):
            if old_stat is None or new_stat is None:
                continue
            one, other = Copy(old, name, before.part, old_stat), Copy(new, name, after.part, new_stat)
            if self._differs(one, other):
                reason = _reason(one, other) if self._detail else Reason.CONTENT
                self._note(
                    Change(
                        new.path_of(name),
                        ChangeKind.CHANGED,
                        reason,
                        _bytes_of(new_stat),
                        _bytes_of(old_stat),
                        after.part.level,
                        before.part.level,
                    )
                )
            if after.kind == "d":
                child = _child(new, name)
                if child is None:
                    continue
                below = _child(old, name) if before.kind == "d" else None
                if below is None:
                    self._added.append(child)
                else:
                    self._pairs.append((below, child))
                    self._note_opaque(child, after.part.level, before.part.level)

    def _note_opaque(self, child: MergedDirectory, level: int, below: int) -> None:
        """An opaque directory that is listed for its members is listed for its own mark."""
        if self._detail and child.path not in self._changes and child.parts[0].is_opaque:
            self._opaque[child.path] = (level, below)

    def _removed(self, old: MergedDirectory, new: MergedDirectory, name: str, before: Found) -> None:
        hider = next((part.level for part in new.parts if part.kind(name) == "w"), None)
        reason = Reason.WHITEOUT if hider is not None else Reason.OPAQUE
        size = None
        if self._detail:
            stat = before.part.directory.stats((name,))[0]
            size = _bytes_of(stat) if stat else None
        level = hider if hider is not None else (new.parts[-1].level if new.parts else None)
        self._note(Change(new.path_of(name), ChangeKind.DELETED, reason, None, size, level, before.part.level))

    # ------------------------------------------------------------------ what is only in the new view
    def _note_added(self, directory: MergedDirectory, name: str, found: Found) -> None:
        size = None
        if self._detail and found.kind != "d":
            stat = found.part.directory.stats((name,))[0]
            if stat is None:
                return
            size = stat.st_size
        self._note(Change(directory.path_of(name), ChangeKind.ADDED, Reason.ADDED, size, None, found.part.level, None))
        if found.kind == "d":
            child = _child(directory, name)
            if child is not None:
                self._added.append(child)

    def _add_members(self, directory: MergedDirectory) -> None:
        for name, part, kind in directory.visible():
            self._note_added(directory, name, Found(part, kind))

    # ------------------------------------------------------------------ what is listed for what is in it
    def _add_ancestors(self) -> None:
        for path in list(self._changes):
            parent = path.rpartition("/")[0]
            while parent and parent not in self._changes:
                reason = Reason.OPAQUE if parent in self._opaque else Reason.ANCESTOR
                level, below = self._opaque.get(parent, (None, None))
                self._note(Change(parent, ChangeKind.CHANGED, reason, None, None, level, below))
                parent = parent.rpartition("/")[0]


def _child(directory: MergedDirectory, name: str) -> MergedDirectory | None:
    """The child directory, None if it vanished or the kernel refuses its redirect."""
    try:
        return directory.child(name)
    except OSError:
        return None


def _stats(wanted: Iterable[tuple[str, Part]]) -> list[os.stat_result | None]:
    """``lstat`` of names in several parts, in order, with one call for each part."""
    wanted = list(wanted)
    found: list[os.stat_result | None] = [None] * len(wanted)
    groups: dict[int, tuple[Part, list[int]]] = {}
    for position, (_, part) in enumerate(wanted):
        groups.setdefault(id(part), (part, []))[1].append(position)
    for part, positions in groups.values():
        stats = part.directory.stats(wanted[position][0] for position in positions)
        for position, stat in zip(positions, stats, strict=True):
            found[position] = stat
    return found


def _unshared(old: MergedDirectory, new: MergedDirectory) -> tuple[list[Part], list[Part], MergedDirectory]:
    """The parts of each side that the other hasn't (top first), and ``new`` with the shared ones being ``old``'s.

    Shared parts are the common tail: the same directories of the same layers, down to the base.
    """
    shared = 0
    for one, other in zip(reversed(old.parts), reversed(new.parts), strict=False):
        if not old.view.same_part(one, new.view, other):
            break
        shared += 1
    own_old = list(old.parts[: len(old.parts) - shared])
    own_new = list(new.parts[: len(new.parts) - shared])
    tail = old.parts[len(old.parts) - shared :]
    return own_old, own_new, MergedDirectory(new.view, new.path, (*own_new, *tail), new.covered)
