"""The merged view of a stack of levels: one file system, with the level of every entry known.

Nothing is read before it is looked at: a directory costs one scan per level that has it, a path one lookup per level
and component. The view never leaves the levels: symlinks resolve inside it, against its own root.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from layerscope.formats.whiteout import TRUSTED, USER, Dialect
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import MarkedKind, Part

Listed = tuple[str, Part, MarkedKind, os.stat_result]
"""A visible entry: its name, the part that serves it, its kind, its ``lstat``."""

_MAX_LINKS = 40
_MOST_TOLD = 10_000
"""How many problems a view keeps: whoever may write a layer may make one of every directory in it."""
_STATS_AT_ONCE = 2048
_GONE = (FileNotFoundError, NotADirectoryError)


class ViewLevel(Struct, frozen=True):
    """One level as the view needs it: its number (from 1, the base), the top of its tree, what that tree is.

    ``key`` names the layer's directory: levels of two views with the same key hold the same files. A diff is laid over
    the tree of level ``over``, if that isn't the next lower one (None). ``drops_attributes``: a whole tree that began
    as a copy without the extended attributes but file capabilities. ``data_only``: its names aren't in the view, only
    metadata-only copies above may mean their data.
    """

    number: int
    top: LayerDirectory
    key: str = ""
    kind: LayerKind = LayerKind.DIFF
    dialect: Dialect = TRUSTED
    over: int | None = None
    drops_attributes: bool = False
    data_only: bool = False


class Place(Struct, frozen=True):
    """A resolved path: an entry ``name`` of ``directory``; name "" is the directory itself."""

    directory: MergedDirectory
    name: str

    @property
    def path(self) -> str:
        """The path in the view after all links, without leading slash."""
        return self.directory.path_of(self.name) if self.name else self.directory.path


class MergedView:
    """The file system that ``levels`` (base first) make together; of whole trees the topmost is all there is.

    ``problems`` collects directories that could not be read while looking.
    """

    def __init__(self, levels: Sequence[ViewLevel]) -> None:
        self.levels = tuple(levels)
        self.problems: list[Problem] = []
        self._kept: set[Problem] = set()
        self._keys = {level.number: level.key for level in self.levels}
        shown = [level for level in self.levels if not level.data_only]
        bottom = shown[0].number if shown else 0
        parts: list[Part] = []
        for level in reversed(shown):
            whole = level.kind is LayerKind.SNAPSHOT
            parts.append(Part(level.number, level.top, "", level.dialect, whole or level.number == bottom))
            if whole:
                break
        self.root_parts = tuple(parts)
        self.data_parts = tuple(
            Part(level.number, level.top, "", level.dialect, bottom=True)
            for level in reversed(self.levels)
            if level.data_only
        )

    @property
    def base(self) -> int:
        """The number of the lowest level (0 for an empty view)."""
        return self.levels[0].number if self.levels else 0

    def cut(self, number: int) -> MergedView:
        """The file system as it was after level ``number``; 0 is empty."""
        return MergedView([level for level in self.levels if level.number <= number])

    def step(self, number: int) -> MergedView:
        """As :meth:`cut`, to ask what level ``number`` itself did: which lower level did what may not be known."""
        return self.cut(number)

    def only(self, number: int) -> MergedView:
        """What level ``number`` itself holds: the changes that it made, or all of the lowest level."""
        return MergedView([replace(level, data_only=False) for level in self.levels if level.number == number])

    @property
    def tree(self) -> MergedView:
        """The same file system, its parts as they are stored, whoever made which entry."""
        return self

    @property
    def root(self) -> MergedDirectory:
        """The top directory."""
        return MergedDirectory(self, "", self.root_parts)

    def trusts_times(self, other: MergedView) -> bool:
        """Whether a file of equal size and times in another view is the same: not where copies are changed in place."""
        return False

    def file_key(self, level: int, stat: os.stat_result) -> tuple[int, int, int]:
        """What two names of the view have in common if and only if they are links of one file."""
        return level, stat.st_dev, stat.st_ino

    def same_part(self, part: Part, other_view: MergedView, other: Part) -> bool:
        """Whether a part of this view and one of another are the same directory of the same layer."""
        if part is other:
            return True
        key = self._keys.get(part.level)
        return part.path == other.path and bool(key) and key == other_view._keys.get(other.level)

    # ------------------------------------------------------------------ reading
    def listing_of(self, part: Part) -> dict[str, MarkedKind]:
        """A part's listing; one that can't be read is empty and told in :attr:`problems`."""
        return self._told(part, part.listing)

    def touched_of(self, part: Part) -> dict[str, MarkedKind]:
        """As :meth:`listing_of`, only of what the part's level itself changed (``Part.touched``)."""
        return self._told(part, part.touched)

    def _told(self, part: Part, read: Callable[[], dict[str, MarkedKind]]) -> dict[str, MarkedKind]:
        try:
            return read()
        except OSError as error:
            self.note_unread(part, error)
            return {}

    def note_unread(self, part: Part, error: OSError) -> None:
        """Tell that what a part holds can't be read; one that went while we looked is not told of."""
        self.note_unread_at(part.level, part.path, error)

    def note_unread_at(self, level: int, path: str, error: OSError) -> None:
        """As :meth:`note_unread`, of the directory at a path of a level's own tree."""
        if not isinstance(error, FileNotFoundError):
            what = f"level {level}: cannot read this directory: {os.strerror(error.errno or 0)}"
            self._tell(Problem(path, what, "its entries of that level are not shown", severity=Severity.WARNING))

    def note_foreign_mark(self, part: Part) -> None:
        """Tell of an opaque mark of the prefix that doesn't count here: any process in a container may have set it."""
        foreign = USER if part.dialect.prefix == TRUSTED.prefix else TRUSTED
        if not part.dialect.prefix or foreign.prefix in part.dialect.more_prefixes:
            return
        if part.mark(foreign.opaque_key) == b"y":
            what = f"level {part.level}: carries {foreign.opaque_key}, which has no meaning in this root"
            self._tell(Problem(part.path, what, "it is not obeyed", severity=Severity.NOTE))

    def report_to(self, other: MergedView) -> None:
        """Collect problems where another view does, each once for both."""
        self.problems, self._kept = other.problems, other._kept

    def _tell(self, problem: Problem) -> None:
        if problem not in self._kept and len(self._kept) < _MOST_TOLD:
            self._kept.add(problem)
            self.problems.append(problem)

    def absolute_parts(self, path: str, above: int) -> list[Part]:
        """The directories that an absolute redirect of level ``above`` means in the levels below it, top first."""
        found: list[Part] = []
        for top in self.root_parts:
            if top.level >= above:
                continue
            names = [name for name in path.split("/") if name]
            part: Part | None = top
            last, rewritten = False, path
            for position, name in enumerate(names):
                kind = part.kind(name) if part else None
                if part is None or kind is None:
                    part = None
                    break
                if kind != "d":
                    return found
                part = part.enter(name)
                if part.bottom:
                    continue
                if part.is_opaque:
                    last = True
                elif (redirect := part.redirect) is not None:
                    head = redirect if redirect.startswith("/") else "/".join(["", *names[:position], redirect])
                    rewritten = "/".join([head, *names[position + 1 :]])
            if part is not None:
                found.append(part)
            if last:
                break
            path = rewritten
        return found

    def parts_with_data(self, path: str) -> list[Part]:
        """The directories of an absolute path in the levels that only hold data, top first."""
        found: list[Part] = []
        for part in self.data_parts:
            for name in path.split("/"):
                if name and part.kind(name) != "d":
                    break
                part = part.enter(name) if name else part
            else:
                found.append(part)
        return found

    # ------------------------------------------------------------------ paths
    def place(self, path: str, follow: bool = False, hidden: bool = False) -> Place:
        """Resolve a path; symlinks on the way are followed inside the view, the last one if ``follow``.

        Behind a final slash only a directory will do, or a symlink to one.

        With ``hidden``, directories that are only below a mark may be walked through too.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP as the kernel would; EINVAL, EACCES for a redirect that it refuses.
        """
        pending = [name for name in reversed(path.split("/")) if name not in ("", ".")]
        wants_directory = path.endswith(("/", "/."))
        trail = [self.root]
        links = 0
        while pending:
            name = pending.pop()
            here = trail[-1]
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            found = here.lookup(name)
            if found is None:
                if hidden:
                    child = self._hidden_child(here, name)
                    if child is not None:
                        trail.append(child)
                        continue
                    if not pending and self._covers(here, name):
                        return Place(here, name)
                raise FileNotFoundError(errno.ENOENT, "no such entry in the view", here.path_of(name))
            if found.kind == "d":
                trail.append(here.child(name))
            elif found.kind == "l" and (pending or follow or wants_directory):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, "too many symlinks", path)
                target = found.part.directory.readlink(name)
                if target.startswith("/"):
                    del trail[1:]
                pending.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
            elif pending or wants_directory:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", here.path_of(name))
            else:
                return Place(here, name)
        return Place(trail[-1], "")

    @staticmethod
    def _hidden_child(here: MergedDirectory, name: str) -> MergedDirectory | None:
        try:
            return here.child(name)
        except _GONE:
            return None

    @staticmethod
    def _covers(here: MergedDirectory, name: str) -> bool:
        """Whether a hidden copy or a whiteout of ``name`` lies here."""
        parts = [*here.parts, *(covered.part for covered in here.covered)]
        return any(part.kind(name) is not None for part in parts)

    def directory(self, path: str = "", hidden: bool = False) -> MergedDirectory:
        """The merged directory at ``path`` (links followed).

        Raises:
            OSError: as :meth:`place`; ENOTDIR if it isn't a directory.
        """
        place = self.place(path, follow=True, hidden=hidden)
        if place.name:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", place.path)
        return place.directory

    def open(self, path: str) -> BinaryIO:
        """The bytes of the regular file at ``path`` (links followed inside the view). Raises as :meth:`place`."""
        place = self.place(path, follow=True)
        if not place.name:
            raise IsADirectoryError(errno.EISDIR, "is a directory", place.path)
        return place.directory.open(place.name)

    def walk(self, path: str = "") -> Iterator[tuple[MergedDirectory, list[Listed]]]:
        """Every directory from ``path`` down, parents first, each with its visible entries sorted by name's bytes.

        Entries that vanish meanwhile are left out. No recursion: depth costs no stack.
        """
        pending = [self.directory(path)]
        while pending:
            directory = pending.pop()
            entries = sorted(stat_all(directory), key=lambda entry: os.fsencode(entry[0]))
            yield directory, entries
            for name, _, _, stat in reversed(entries):
                if modes.S_ISDIR(stat.st_mode):
                    try:
                        pending.append(directory.child(name))
                    except OSError:
                        continue


def stat_all(directory: MergedDirectory) -> Iterator[Listed]:
    """The visible entries of a directory with their ``lstat``, in no order; vanished ones are left out."""
    by_part: dict[int, tuple[Part, list[str], list[MarkedKind]]] = {}
    for name, part, kind in directory.visible():
        group = by_part.get(id(part))
        if group is None:
            group = by_part[id(part)] = (part, [], [])
        group[1].append(name)
        group[2].append(kind)
    for part, names, kinds in by_part.values():
        for kind, (name, stat) in zip(kinds, stats_of(part.directory, names), strict=True):
            if stat is not None and not part.is_ghost(name, stat):
                yield name, part, kind, stat


def stats_of(directory: LayerDirectory, names: Sequence[str]) -> Iterator[tuple[str, os.stat_result | None]]:
    """Each name with its ``lstat`` (None if it is gone), in order; few of them are held in memory at a time."""
    for start in range(0, len(names), _STATS_AT_ONCE):
        some = names[start : start + _STATS_AT_ONCE]
        yield from zip(some, directory.stats(some), strict=True)
