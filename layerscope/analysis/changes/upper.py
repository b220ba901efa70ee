"""``docker diff`` as engines make it that look at the upper directory alone: aufs always, overlay2 up to 18.05.

Every entry of the topmost layer is a line, unless it is a directory that the layer below has with equal size, mode and
time:

| the entry | line |
| --- | --- |
| a whiteout; with overlay2 also an opaque directory | ``D`` |
| a path that is in any layer below, whatever the layers between say | ``C`` |
| else | ``A`` |

The directory of an ``A`` or ``D`` is a ``C``, if it isn't listed itself. "Is in a layer below" follows symlinks, and
the engine does so on its host: absolute links are looked up here in the container's own files.

One thing is told better than by the engine, which prints the opaque mark of an aufs directory as the deletion of a file
``.wh..opq``: the directory is listed, because it is opaque.

Source: moby pkg/archive/changes.go ``changes``, changes_linux.go ``overlayDeletedFile``, as of 18.05; a real aufs under
20.10.24.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator, Sequence
from contextlib import suppress

from layerscope.analysis.changes.views import served, sort_paths
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, is_whiteout_device
from layerscope.model.change import Change, ChangeKind, Reason
from layerscope.model.entry import EntryState
from layerscope.model.tree import LayerDirectory
from layerscope.overlay import MergedView, describe
from layerscope.overlay.view import ViewLevel

_BOOKKEEPING = NAME_PREFIX * 2
_SECOND = 1_000_000_000
_MAX_LINKS = 40
_REASONS = {EntryState.MODIFIED: Reason.CONTENT, EntryState.OPAQUE: Reason.OPAQUE}


def upper_changes(view: MergedView, detail: bool = True, walk_as: type[UpperWalk] | None = None) -> list[Change]:
    """The lines of ``docker diff`` for the container whose view this is, sorted by the bytes of the path.

    Args:
        view: All levels, the writable one on top; they hold changes, not whole trees.
        detail: Also sizes, levels and the exact reason of each change; without it only kind and path are sure.
        walk_as: Another engine's way of walking.
    """
    walk = (walk_as or UpperWalk)(view)
    walk.run()
    changes = {path: Change(path, kind, reason) for path, (kind, reason) in walk.found.items()}
    if detail:
        _describe(view, changes)
    return [changes[path] for path in sort_paths(changes)]


class _Unknown(Exception):
    """This user may not look whether a layer below has a path."""


class UpperWalk:
    """One walk through the topmost layer, as the engine does it: a directory's names in the order of their bytes."""

    def __init__(self, view: MergedView) -> None:
        upper = view.levels[-1]
        self.found: dict[str, tuple[ChangeKind, Reason]] = {}
        self._view = view
        self._upper = upper
        self._lowers: Sequence[ViewLevel] = view.levels[-2::-1]
        self._below = view.cut(upper.number - 1)
        self._listed: set[str] = set()

    def run(self) -> None:
        """Fill ``found``: path to kind and reason. What can't be told for lack of privilege is the view's problem."""
        pending = [self._steps(self._upper.top, "")]
        while pending:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
                continue
            directory, name, path, stat = step
            with suppress(_Unknown):
                self._entry(directory, name, path, stat)
            if modes.S_ISDIR(stat.st_mode):
                pending.append(self._steps(directory.enter(name), path))

    def _steps(self, directory: LayerDirectory, path: str) -> Iterator[tuple[LayerDirectory, str, str, os.stat_result]]:
        try:
            names = sorted((name for name, _ in directory.scan()), key=os.fsencode)
            stats = directory.stats(names)
        except OSError as error:
            self._view.note_unread_at(self._upper.number, path, error)
            return
        bookkeeping = self._upper.dialect.names
        for name, stat in zip(names, stats, strict=True):
            if bookkeeping and name.startswith(_BOOKKEEPING) and not (path and name == NAME_OPAQUE):
                continue
            if stat is not None:
                yield directory, name, f"{path}/{name}" if path else name, stat

    def _entry(self, directory: LayerDirectory, name: str, path: str, stat: os.stat_result) -> None:
        dialect = self._upper.dialect
        folder = path.rpartition("/")[0]
        if dialect.names and name == NAME_OPAQUE:
            self._ancestor(folder)
            self.found[folder] = (ChangeKind.CHANGED, Reason.OPAQUE)
            return
        removed = self._removed(directory, name, path, stat)
        is_directory = modes.S_ISDIR(stat.st_mode)
        if removed is not None:
            path = f"{folder}/{removed}" if folder else removed
            kind, reason = ChangeKind.DELETED, Reason.OPAQUE if is_directory else Reason.WHITEOUT
        else:
            before = self._before(path)
            if before is not None and is_directory and _same_directory(before, stat):
                return
            kind = ChangeKind.ADDED if before is None else ChangeKind.CHANGED
            reason = Reason.ADDED if before is None else Reason.METADATA
        if is_directory:
            self._listed.add(path)
        if kind is not ChangeKind.CHANGED:
            self._ancestor(folder)
        self.found[path] = (kind, reason)

    def _removed(self, directory: LayerDirectory, name: str, path: str, stat: os.stat_result) -> str | None:
        """The name that an entry of the upper directory says is gone."""
        dialect = self._upper.dialect
        if dialect.names:
            return name.removeprefix(NAME_PREFIX) if name.startswith(NAME_PREFIX) else None
        if is_whiteout_device(stat):
            return name
        if modes.S_ISDIR(stat.st_mode) and directory.enter(name).xattr(dialect.opaque_key) == b"y":
            return name
        return None

    def _ancestor(self, folder: str) -> None:
        if folder and folder not in self._listed:
            self._listed.add(folder)
            self.found.setdefault(folder, (ChangeKind.CHANGED, Reason.ANCESTOR))

    def _before(self, path: str) -> os.stat_result | None:
        """What the nearest layer below that has the path holds there, links followed."""
        for lower in self._lowers:
            stat = self._stat_in(lower.top, path)
            if stat is not None:
                return stat
        return None

    def _stat_in(self, top: LayerDirectory, path: str) -> os.stat_result | None:
        """``stat`` of a path of one layer; a link that leads out of it is looked up in the view below."""
        pending = [name for name in reversed(path.split("/")) if name not in ("", ".")]
        trail = [top]
        stat: os.stat_result | None = None
        links = 0
        try:
            while pending:
                name = pending.pop()
                if name == "..":
                    if len(trail) == 1:
                        return None
                    trail.pop()
                    stat = trail[-1].stat_self()
                    continue
                stat = trail[-1].stats((name,))[0]
                if stat is None:
                    return None
                if modes.S_ISLNK(stat.st_mode):
                    links += 1
                    target = trail[-1].readlink(name)
                    if target.startswith("/"):
                        target = "/".join([target, *reversed(pending)])
                        return self._stat_in_view(target.lstrip("/"))
                    if links > _MAX_LINKS:
                        return None
                    pending.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
                elif modes.S_ISDIR(stat.st_mode):
                    trail.append(trail[-1].enter(name))
                elif pending:
                    return None
        except PermissionError as error:
            raise self._unknown(top, path, error) from None
        except OSError:
            return None
        return stat

    def _unknown(self, top: LayerDirectory, path: str, error: PermissionError) -> _Unknown:
        """Tell that a lower layer's directory of a path may not be searched."""
        level = next(lower.number for lower in self._lowers if lower.top is top)
        self._view.note_unread_at(level, path.rpartition("/")[0], error)
        return _Unknown()

    def _stat_in_view(self, path: str) -> os.stat_result | None:
        try:
            place = self._below.place(path, follow=True)
            if not place.name:
                return place.directory.stat()
            found = place.directory.lookup(place.name)
            return None if found is None else found.part.directory.stat(place.name)
        except PermissionError as error:
            raise self._unknown(self._lowers[0].top, path, error) from None
        except OSError:
            return None


def _same_directory(before: os.stat_result, now: os.stat_result) -> bool:
    """Size, mode and time are equal; nanoseconds count only if both have some."""
    if not modes.S_ISDIR(before.st_mode) or (before.st_size, before.st_mode) != (now.st_size, now.st_mode):
        return False
    left, right = before.st_mtime_ns, now.st_mtime_ns
    if left // _SECOND != right // _SECOND:
        return False
    return left == right or left % _SECOND == 0 or right % _SECOND == 0


def _describe(view: MergedView, changes: dict[str, Change]) -> None:
    """Fill in what the merged views tell of each path."""
    top = view.levels[-1].number
    below = view.cut(top - 1)
    for path, change in changes.items():
        change.level = top
        change.level_below, change.size_below = served(below, path)
        if change.kind is ChangeKind.DELETED:
            continue
        change.size = served(view, path)[1]
        if change.kind is ChangeKind.CHANGED and change.reason not in (Reason.OPAQUE, Reason.ANCESTOR):
            change.reason = _reason(view, path)


def _reason(view: MergedView, path: str) -> Reason:
    try:
        place = view.place(path)
        if not place.name:
            return Reason.METADATA
        entry = describe(place.directory, place.name)
    except OSError:
        return Reason.CONTENT
    if entry.state is None or entry.state is EntryState.ADDED:
        return Reason.CONTENT
    return _REASONS.get(entry.state, Reason.METADATA)
