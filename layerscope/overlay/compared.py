"""What a level did, where its layer keeps whole trees: found by comparing its tree with that of the level below.

An entry is unchanged if it is the same inode, or if ``lstat`` and the extended attributes are equal: contents are never
read. Times count to the nanosecond; a directory's too, which tell that a name in it came or went. An attribute that the
storage driver itself has lost, when it copied the tree below, is no change that anybody made.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterable, Mapping, Set

from layerscope.formats.whiteout import UNMARKED
from layerscope.model.stat import made_stat
from layerscope.overlay.merged import Found, MergedDirectory
from layerscope.overlay.merged_layer import layer_of
from layerscope.overlay.pairs import stats_of_parts, unshared
from layerscope.overlay.part import MarkedKind, Part

Pair = tuple[str, Found, Found]
"""A name that two trees have, and where each has it: before, after."""

_HOST_LABEL = "security.selinux"
"""Set by the host on all files of a container, whatever is done to them."""
_CAPABILITY = "security.capability"
_WITH_ATTRIBUTES = (modes.S_IFREG, modes.S_IFDIR)
_AT_ONCE = 2048


class ComparedPart(Part):
    """A directory of a level's tree, seen as a layer of changes would hold it.

    ``own`` is the directory in the level's tree, ``below`` in the tree of the next lower level (None: there it is no
    directory, or there is no lower level). Names that are gone are whiteouts, though nothing on disk marks them.
    """

    __slots__ = ("_common", "_find_below", "_touched", "_unchanged", "below", "own")

    below: MergedDirectory | None

    def __init__(
        self,
        level: int,
        own: MergedDirectory,
        find_below: Callable[[], MergedDirectory | None],
        unchanged: set[str],
    ) -> None:
        """``unchanged`` gathers the paths of directories of this level in which nothing differs, however deep."""
        super().__init__(level, layer_of(own), own.path, UNMARKED, bottom=False)
        del self.bottom
        self.own = own
        self._find_below = find_below
        self._unchanged = unchanged
        self._touched: dict[str, MarkedKind] | None = None
        self._common: list[str] = []

    def __getattr__(self, name: str) -> object:
        """``below`` and ``bottom`` are found when first asked for: who only reads the tree doesn't need them."""
        if name == "below":
            self.below = self._find_below()
            return self.below
        if name == "bottom":
            self.bottom = self.below is None
            return self.bottom
        raise AttributeError(name)

    # ------------------------------------------------------------------ as a layer of changes
    def enter(self, name: str) -> ComparedPart:
        """The part of the directory ``name``."""
        below = self.below
        return ComparedPart(self.level, self.own.child(name), lambda: child_or_none(below, name), self._unchanged)

    def listing(self) -> dict[str, MarkedKind]:
        """What a layer of changes would list here: with the directories that have a change further down."""
        if self._listing is None:
            found = dict(self.touched())
            for name in self._common:
                if self._changes_within(name):
                    found[name] = "d"
            self._listing = found
        return self._listing

    def kind(self, name: str) -> MarkedKind | None:
        """The kind of one name, None if a layer of changes wouldn't have it."""
        if self._listing is not None:
            return self._listing.get(name)
        kind = self.touches(name)
        if kind is None and is_directory(self.own, name) and self._changes_within(name):
            kind = "d"
        return kind

    def kinds(self, names: Set[str]) -> Mapping[str, MarkedKind]:
        """Those of ``names`` that a layer of changes would have, with their kinds."""
        return {name: kind for name in names if (kind := self.kind(name)) is not None}

    def learn(self, names: Iterable[str]) -> None:
        """Nothing is looked up ahead: to compare a name costs more than to look it up."""

    # ------------------------------------------------------------------ the comparison
    def touched(self) -> dict[str, MarkedKind]:
        """The entries in which the two trees differ here, and names that are gone; directories aren't entered.

        Raises:
            OSError: one of the two directories can't be read.
        """
        if self._touched is None:
            if self.below is None:
                self._touched = {name: found.kind for name, found in _entries(self.own).items()}
            else:
                self._touched, self._common = compare_directories(self.below, self.own)
        return self._touched

    def touches(self, name: str) -> MarkedKind | None:
        """The kind of one name if the two trees differ in it, ``w`` if it is gone."""
        if self._touched is not None:
            return self._touched.get(name)
        if name not in self._known:
            self._known[name] = self._compare_one(name)
        return self._known[name]

    def _compare_one(self, name: str) -> MarkedKind | None:
        after = self.own.lookup(name)
        before = self.below.lookup(name) if self.below is not None else None
        if after is None:
            return None if before is None else "w"
        if before is None or before.kind != after.kind:
            return after.kind
        changed = next(iter(changed_pairs([(name, before, after)], _drops_attributes(self.own))), None)
        return None if changed is None else after.kind

    @property
    def touched_itself(self) -> bool:
        """Whether the directory itself is new, or its mode, owner, times or attributes are not those of before."""
        if self.below is None:
            return True
        one, other = self.below.parts[0], self.own.parts[0]
        return not unchanged(one, self.below.stat(), other, self.own.stat(), "", _drops_attributes(self.own))

    def holds(self, name: str) -> MarkedKind | None:
        """The kind of ``name`` in the level's tree, ``w`` if the level took it away."""
        found = self.own.lookup(name)
        return self.touches(name) if found is None else found.kind

    def may_replace(self, name: str) -> bool:
        """Whether the tree below has something of that name here."""
        return self.below is not None and self.below.lookup(name) is not None

    def whiteout_stat(self, name: str) -> os.stat_result | None:
        """A whiteout as a mount would make one; its time is that of the directory in which the name is missing."""
        stat = self.own.stat()
        return made_stat(modes.S_IFCHR, device=stat.st_dev, mtime_ns=stat.st_mtime_ns)

    # ------------------------------------------------------------------ what is further down
    def _changes_within(self, name: str) -> bool:
        """Whether anything differs in or below a directory that is the same itself; ends at the first difference."""
        top = self.enter(name)
        if top.path in self._unchanged:
            return False
        if top._differs_here():
            return True
        stack = [(top, list(top._common))]
        while stack:
            part, left = stack[-1]
            if not left:
                stack.pop()
                self._unchanged.add(part.path)
                continue
            child = part.enter(left.pop())
            if child.path in self._unchanged:
                continue
            if child._differs_here():
                return True
            stack.append((child, list(child._common)))
        return False

    def _differs_here(self) -> bool:
        try:
            return bool(self.touched())
        except OSError:  # told when it is looked at itself
            return False


# ---------------------------------------------------------------------- comparing
def compare_directories(old: MergedDirectory, new: MergedDirectory) -> tuple[dict[str, MarkedKind], list[str]]:
    """What differs from one directory to another, gone names as ``w``; and the directories that both have alike.

    Raises:
        OSError: one of them can't be read.
    """
    own_old, own_new, new = unshared(old, new)
    names: set[str] = set()
    for part in (*own_old, *own_new):
        names.update(part.listing())
    if not names or _same_object(own_old, own_new):
        return {}, []
    befores, afters = old.lookup_all(names), new.lookup_all(names)
    touched: dict[str, MarkedKind] = {}
    both: list[Pair] = []
    for name, after in afters.items():
        before = befores.get(name)
        if before is None or before.kind == "w":
            if after.kind != "w":
                touched[name] = after.kind
        elif before.kind != after.kind:
            touched[name] = after.kind
        elif before.part is not after.part:
            both.append((name, before, after))
    for name in befores.keys() - afters.keys():
        if befores[name].kind != "w":
            touched[name] = "w"
    for name, _, after in changed_pairs(both, _drops_attributes(new)):
        touched[name] = after.kind
    return touched, [name for name, _, after in both if after.kind == "d" and name not in touched]


def changed_pairs(pairs: list[Pair], drops_attributes: bool = False) -> Iterable[Pair]:
    """Those pairs that differ; one that vanished meanwhile doesn't."""
    for start in range(0, len(pairs), _AT_ONCE):
        some = pairs[start : start + _AT_ONCE]
        stats_before = stats_of_parts([(name, before.part) for name, before, _ in some])
        stats_after = stats_of_parts([(name, after.part) for name, _, after in some])
        for pair, one, other in zip(some, stats_before, stats_after, strict=True):
            if one is not None and other is not None:
                name, before, after = pair
                if not unchanged(before.part, one, after.part, other, name, drops_attributes):
                    yield pair


def unchanged(
    before: Part,
    one: os.stat_result,
    after: Part,
    other: os.stat_result,
    name: str,
    drops_attributes: bool = False,
) -> bool:
    """Whether two entries of one name (in ``before`` and ``after``; "" is the directory itself) are the same thing.

    ``drops_attributes``: all attributes but file capabilities may be missing from the second one.
    """
    if (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) != (
        other.st_mode,
        other.st_uid,
        other.st_gid,
        other.st_mtime_ns,
    ):
        return False
    kind = modes.S_IFMT(one.st_mode)
    if kind == modes.S_IFDIR:
        same = True
    elif kind == modes.S_IFREG or kind == modes.S_IFLNK:
        same = one.st_size == other.st_size
    else:
        same = one.st_rdev == other.st_rdev
    if not same or (one.st_ino == other.st_ino and one.st_ctime_ns == other.st_ctime_ns):
        return same  # a hard link, or a snapshot by the file system: nothing was done to the inode since
    return kind not in _WITH_ATTRIBUTES or _same_attributes(before, after, name, drops_attributes)


def _drops_attributes(tree: MergedDirectory) -> bool:
    return tree.view.levels[-1].drops_attributes


def _same_attributes(before: Part, after: Part, name: str, drops_attributes: bool) -> bool:
    try:
        keys, now = _attribute_names(before, name), _attribute_names(after, name)
        if drops_attributes:
            keys &= {*now, _CAPABILITY}
        if keys != now:
            return False
        return all(before.directory.xattr(key, name) == after.directory.xattr(key, name) for key in keys)
    except FileNotFoundError:
        return True


def _attribute_names(part: Part, name: str) -> set[str]:
    is_own = part.dialect.is_own
    return {key for key in part.directory.xattr_names(name) if key != _HOST_LABEL and not is_own(key)}


def _same_object(old: list[Part], new: list[Part]) -> bool:
    """Whether both sides are one and the same directory."""
    if len(old) != 1 or len(new) != 1:
        return False
    one, other = old[0].directory.stat_self(), new[0].directory.stat_self()
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _entries(directory: MergedDirectory) -> dict[str, Found]:
    """All that a directory shows.

    Raises:
        OSError: it can't be read.
    """
    names: set[str] = set()
    for part in directory.parts:
        names.update(part.listing())
    return {name: found for name, found in directory.lookup_all(names).items() if found.kind != "w"}


def is_directory(tree: MergedDirectory, name: str) -> bool:
    """Whether ``name`` is a directory in ``tree``."""
    found = tree.lookup(name)
    return found is not None and found.kind == "d"


def child_or_none(tree: MergedDirectory | None, name: str) -> MergedDirectory | None:
    """The directory ``name`` of ``tree``, None if it is none there, or can't be reached."""
    if tree is None or not is_directory(tree, name):
        return None
    try:
        return tree.child(name)
    except OSError:
        return None
