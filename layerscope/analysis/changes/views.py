"""What differs between two merged views, path by path.

Whatever the rule (:mod:`~layerscope.analysis.changes.rules`), the walk is the same: only directories that one of the
views has in a level which the other hasn't are read, and names are looked up in the levels that both share, one by one
or by listing small directories. So the cost is that of the change, not of the trees. What an added directory holds is
read when its turn in the order of paths comes: it is never kept.

Source: moby pkg/archive/changes.go ``ChangesDirs``; equal to the daemon's answers on every sample root.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterable, Iterator, Set
from heapq import heappop, heappush

from layerscope.analysis.changes.rules import DOCKER, EXACT, STORAGE, Copy, Rule, content_differs
from layerscope.model.change import Change, ChangeKind, Reason
from layerscope.model.problem import Severity
from layerscope.overlay.compared import unchanged
from layerscope.overlay.merged import Found, MergedDirectory
from layerscope.overlay.pairs import child_where_allowed, looked_up, stats_of_parts, unshared
from layerscope.overlay.snapshot import LevelFinder, SnapshotView
from layerscope.overlay.view import MergedView

# Members of an enumeration cost a search each time they are named, and there are as many of these as changes.
_ADDED, _CHANGED, _DELETED = ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.DELETED
_NEW, _SOMEHOW, _WHITEOUT = Reason.ADDED, Reason.CONTENT, Reason.WHITEOUT


def docker_changes(old: MergedView, new: MergedView, detail: bool = True) -> list[Change]:
    """The lines of ``docker diff`` (every engine since 18.06), sorted by the bytes of the path.

    Args:
        old: The container without its writable layer (its init layer on top).
        new: The container.
        detail: Also sizes and the exact reason of each change; without it only kind and path are sure.
    """
    return list(_Comparison(old, new, DOCKER, detail).run())


def tree_changes(old: MergedView, new: MergedView, detail: bool = True) -> list[Change]:
    """The lines that containers/storage makes by comparing two trees, sorted by the bytes of the path.

    Unlike docker's, they tell of a directory's own time, of a symlink's target and of ``user.*`` attributes.
    """
    return list(_Comparison(old, new, STORAGE, detail).run())


def exact_changes(old: MergedView, new: MergedView) -> list[Change]:
    """Every difference from ``old`` to ``new``: content byte by byte, metadata with times and all extended attributes.

    A directory's own times and size don't count. A removed directory is one line; its members have none.
    """
    return list(stream_exact_changes(old, new))


def stream_exact_changes(
    old: MergedView, new: MergedView, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Change]:
    """As :func:`exact_changes`: what both views have is compared at once, what an added directory holds when asked for.

    ``cancelled`` is asked for every directory; when it says so the comparison ends, and its result means nothing.
    """
    return _Comparison(old, new, EXACT, detail=True).run(cancelled)


def docker_change_bytes(old: MergedView, new: MergedView, cancelled: Callable[[], bool] = lambda: False) -> int | None:
    """The size of what :func:`docker_changes` lists as added or changed: files in full, each inode once.

    None if a directory could not be read. When ``cancelled`` says so the comparison ends, and its result means nothing.
    """
    return _ChangedBytes(old, new).sum(cancelled)


class _Comparison:
    """One comparison of two views; ``rule`` decides for what both have."""

    def __init__(self, old: MergedView, new: MergedView, rule: Rule, detail: bool) -> None:
        self._views = old, new
        self._pairs = [(old.tree.root, new.tree.root)]
        self._trusts_times = old.trusts_times(new) or new.trusts_times(old)
        self._added: dict[str, MergedDirectory] = {}
        self._rule = rule
        self._detail = detail
        self._changes: dict[str, Change] = {}
        self._opaque: set[str] = set()

    def run(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Change]:
        self._compare_all(cancelled)
        self._add_ancestors()
        found = self._with_members(cancelled)
        return self._with_levels(found) if self._detail else found

    def _compare_all(self, cancelled: Callable[[], bool]) -> None:
        while self._pairs and not cancelled():
            self._compare(*self._pairs.pop())
        for path in self._added.keys() - self._changes.keys():
            # Nothing is told of the directory itself, so whether it is listed depends on its members.
            for change in self._members(self._added.pop(path)):
                self._note(change)

    def _note(self, change: Change) -> None:
        self._changes[change.path] = change

    def _compare(self, old: MergedDirectory, new: MergedDirectory) -> None:
        own_old, own_new, new = unshared(old, new)
        names: set[str] = set()
        for part in own_old:
            names.update(old.view.listing_of(part))
        for part in own_new:
            names.update(new.view.listing_of(part))
        if not names:
            return
        (befores, unsure), (afters, unknown) = looked_up(old, names), looked_up(new, names)
        if unsure or unknown:
            befores, afters = _without(befores, unsure | unknown), _without(afters, unsure | unknown)
        both: list[tuple[str, Found, Found]] = []
        for name, after in afters.items():
            before = befores.get(name)
            if before is None or before.kind == "w":
                if after.kind != "w":
                    self._note_added(new, name, after)
            elif after.kind == "w":
                self._removed(new, name, before, _WHITEOUT, after.part.level)
            elif before.part is not after.part:
                both.append((name, before, after))
        lowest = new.parts[-1] if new.parts else None
        reason = Reason.OPAQUE if lowest is None or lowest.dialect.marked else Reason.WHITEOUT
        for name in befores.keys() - afters.keys():
            if befores[name].kind != "w":
                self._removed(new, name, befores[name], reason, lowest.level if lowest else None)
        if both:
            self._compare_pairs(old, new, both)

    def _compare_pairs(self, old: MergedDirectory, new: MergedDirectory, both: list[tuple[str, Found, Found]]) -> None:
        old_stats = stats_of_parts([(name, before.part) for name, before, _ in both], old.view.note_unread)
        new_stats = stats_of_parts([(name, after.part) for name, _, after in both], new.view.note_unread)
        for (name, before, after), old_stat, new_stat in zip(both, old_stats, new_stats, strict=True):
            if old_stat is None or new_stat is None:
                continue
            if self._trusts_times and unchanged(before.part, old_stat, after.part, new_stat, name):
                pass
            elif self._rule.stats_differ(old_stat, new_stat) or self._rule.rest_differs(
                Copy(old, name, before.part, old_stat), Copy(new, name, after.part, new_stat)
            ):
                if self._detail:
                    self._changed(Copy(old, name, before.part, old_stat), Copy(new, name, after.part, new_stat))
                else:
                    levels = after.part.level, before.part.level
                    self._note(Change(new.path_of(name), _CHANGED, _SOMEHOW, None, None, *levels))
            if after.kind == "d":
                self._go_on(old, new, name, before)

    def _changed(self, old: Copy, new: Copy) -> None:
        path = new.directory.path_of(new.name)
        sizes = _bytes_of(new.stat), _bytes_of(old.stat)
        self._note(Change(path, _CHANGED, _reason(old, new), *sizes, new.part.level, old.part.level))

    def _go_on(self, old: MergedDirectory, new: MergedDirectory, name: str, before: Found) -> None:
        """Into a directory that the new view has: its pairs, or all it holds if the old view has none there."""
        child = child_where_allowed(new, name)
        if child is None:
            return
        below = child_where_allowed(old, name) if before.kind == "d" else None
        if below is None:
            self._added[child.path] = child
        else:
            self._pairs.append((below, child))
            self._note_opaque(child)

    def _note_opaque(self, child: MergedDirectory) -> None:
        """An opaque directory that is listed for its members is listed for its own mark."""
        if self._detail and child.path not in self._changes and child.parts[0].is_opaque:
            self._opaque.add(child.path)

    def _removed(
        self, directory: MergedDirectory, name: str, before: Found, reason: Reason, hidden_by: int | None
    ) -> None:
        size = None
        if self._detail:
            stat = before.part.directory.stats((name,))[0]
            size = _bytes_of(stat) if stat else None
        path = directory.path_of(name)
        self._note(Change(path, _DELETED, reason, None, size, hidden_by, before.part.level))

    # ------------------------------------------------------------------ what is only in the new view
    def _note_added(self, directory: MergedDirectory, name: str, found: Found) -> None:
        change = self._added_entry(directory, name, found)
        if change is not None:
            self._note(change)

    def _added_entry(self, directory: MergedDirectory, name: str, found: Found) -> Change | None:
        """The line of an entry that only the new view has; the members of a directory wait for their turn."""
        size = None
        if self._detail and found.kind != "d":
            stat = found.part.directory.stats((name,))[0]
            if stat is None:
                return None
            size = stat.st_size
        path = directory.path_of(name)
        if found.kind == "d":
            child = child_where_allowed(directory, name)
            if child is not None:
                self._added[path] = child
        return Change(path, _ADDED, _NEW, size, None, found.part.level, None)

    def _members(self, directory: MergedDirectory) -> Iterator[Change]:
        """What an added directory holds, itself alone, in order."""
        for name, part, kind in sorted(directory.visible(), key=_by_name):
            change = self._added_entry(directory, name, Found(part, kind))
            if change is not None:
                yield change

    def _with_members(self, cancelled: Callable[[], bool]) -> Iterator[Change]:
        """All changes in order, each added directory followed by what it holds: several lists, merged."""
        heads: list[tuple[bytes, int, Change, Iterator[Change]]] = []

        def advance(changes: Iterator[Change]) -> None:
            change = next(changes, None)
            if change is not None:
                heappush(heads, (os.fsencode(change.path), id(change), change, changes))

        advance(self._changes[path] for path in sort_paths(self._changes))
        while heads:
            _, _, change, changes = heappop(heads)
            yield change
            directory = self._added.pop(change.path, None)
            if directory is not None and not cancelled():
                advance(self._members(directory))
            advance(changes)

    # ------------------------------------------------------------------ who did it, where whole trees are compared
    def _with_levels(self, changes: Iterator[Change]) -> Iterator[Change]:
        """The levels that made the changes in the place of those whose trees were compared."""
        old, new = (LevelFinder(view) if isinstance(view, SnapshotView) else None for view in self._views)
        for change in changes:
            if new is not None:
                change.level = new.level_at(change.path)
            if old is not None and change.level_below is not None:
                change.level_below = old.level_at(change.path)
            yield change

    # ------------------------------------------------------------------ what is listed for what is in it
    def _add_ancestors(self) -> None:
        for parent in {path.rpartition("/")[0] for path in self._changes}:
            while parent and parent not in self._changes:
                reason = Reason.OPAQUE if parent in self._opaque else Reason.ANCESTOR
                below, level = (served(view, parent)[0] if self._detail else None for view in self._views)
                self._note(Change(parent, ChangeKind.CHANGED, reason, None, None, level, below))
                parent = parent.rpartition("/")[0]


def _reason(old: Copy, new: Copy) -> Reason:
    if modes.S_IFMT(old.stat.st_mode) != modes.S_IFMT(new.stat.st_mode):
        return Reason.TYPE
    if modes.S_ISDIR(new.stat.st_mode):
        return Reason.METADATA
    return Reason.CONTENT if content_differs(old, new) else Reason.METADATA


def _bytes_of(stat: os.stat_result) -> int | None:
    return None if modes.S_ISDIR(stat.st_mode) else stat.st_size


def served(view: MergedView, path: str) -> tuple[int | None, int | None]:
    """The level that serves a path, and its apparent bytes (None for a directory); both None where it isn't there."""
    try:
        place = view.place(path)
        if not place.name:
            return place.directory.level, None
        found = place.directory.lookup(place.name)
        if found is None:
            return None, None
        return found.part.level, None if found.kind == "d" else found.part.directory.stat(place.name).st_size
    except OSError:
        return None, None


class _ChangedBytes(_Comparison):
    """A comparison that only adds up. Source: moby pkg/archive/changes.go ``ChangesSize``."""

    def __init__(self, old: MergedView, new: MergedView) -> None:
        super().__init__(old, new, DOCKER, detail=True)
        self._total = 0
        self._seen: set[int] = set()

    def sum(self, cancelled: Callable[[], bool]) -> int | None:
        self._compare_all(cancelled)
        while self._added and not cancelled():
            _, directory = self._added.popitem()
            for _ in self._members(directory):
                pass
        unread = any(one.severity is Severity.WARNING for view in self._views for one in view.problems)
        return None if unread else self._total

    def _changed(self, old: Copy, new: Copy) -> None:
        self._add(new.stat)

    def _removed(
        self, directory: MergedDirectory, name: str, before: Found, reason: Reason, hidden_by: int | None
    ) -> None:
        """What is gone has no size."""

    def _added_entry(self, directory: MergedDirectory, name: str, found: Found) -> Change | None:
        stat = found.part.directory.stats((name,))[0]
        if stat is not None:
            self._add(stat)
        child = child_where_allowed(directory, name) if found.kind == "d" else None
        if child is not None:
            self._added[child.path] = child
        return None

    def _add(self, stat: os.stat_result) -> None:
        if modes.S_ISDIR(stat.st_mode) or stat.st_ino in self._seen:
            return
        if stat.st_nlink > 1:
            self._seen.add(stat.st_ino)
        self._total += stat.st_size


def sort_paths(paths: Iterable[str]) -> list[str]:
    """Paths in the order of their bytes. That of the characters is the same as long as all are ASCII."""
    listed = list(paths)
    if all(map(str.isascii, listed)):
        listed.sort()
    else:
        listed.sort(key=os.fsencode)
    return listed


def _by_name(entry: tuple[str, object, object]) -> bytes:
    return os.fsencode(entry[0])


def _without(found: dict[str, Found], names: Set[str]) -> dict[str, Found]:
    return {name: one for name, one in found.items() if name not in names}
