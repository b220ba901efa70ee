"""What the level that serves an entry did to it, and what is hidden beside it.

The entries of a merged directory become :class:`~layerscope.model.entry.Entry` values here: with the level they come
from, the copy that they replace, and whether content or only metadata differs from it.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from layerscope.model.entry import Entry, EntryState
from layerscope.model.tree import ContentsAbsent, KnowsContent, LayerDirectory
from layerscope.overlay.merged import Covered, MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView, stats_of

_CHUNK = 1 << 18


def entries(
    directory: MergedDirectory, hidden: bool = False, compare_bytes: int | None = None, xattrs: bool = False
) -> list[Entry]:
    """The entries of a merged directory, sorted by the bytes of their names, hidden copies after what hides them.

    Args:
        directory: The merged directory; one scan of each of its parts.
        hidden: Also what is not in the view: whiteouts, and the copies that whiteouts and opaque directories cover.
        compare_bytes: Files above this size aren't read to tell whether a copy differs from the one below: their
            state is None (unknown) unless size or times already tell. None: always read.
        xattrs: Also all extended attributes of each entry.
    """
    return sorted(stream_entries(directory, hidden, compare_bytes, xattrs), key=_by_name)


def stream_entries(
    directory: MergedDirectory, hidden: bool = False, compare_bytes: int | None = None, xattrs: bool = False
) -> Iterator[Entry]:
    """As :func:`entries`, one by one, in no order but that hidden ones come last, each after what hides it.

    A directory costs its names in memory, not its entries.
    """
    groups: dict[int, tuple[Part, list[str]]] = {}
    for name, part, _ in directory.attributed():
        groups.setdefault(id(part), (part, []))[1].append(name)
    for part, names in groups.values():
        yield from _served(directory, part, names, compare_bytes, xattrs)
    if hidden:
        yield from _hidden(directory, xattrs)


def _by_name(entry: Entry) -> tuple[bytes, int]:
    return os.fsencode(entry.name), -entry.level


def own_entries(directory: MergedDirectory, compare_bytes: int | None = None) -> list[Entry]:
    """What the topmost level of a merged directory itself holds there, whiteouts included, sorted as :func:`entries`.

    Reads that level's directory only; names are looked up one by one in the levels below.
    """
    return sorted(stream_own_entries(directory, compare_bytes), key=_by_name)


def stream_own_entries(directory: MergedDirectory, compare_bytes: int | None = None) -> Iterator[Entry]:
    """As :func:`own_entries`, one by one, in no order but that whiteouts come last."""
    if not directory.parts:
        return
    top = directory.parts[0]
    listing = directory.view.listing_of(top)
    names = [name for name, kind in listing.items() if kind != "w"]
    for lower in directory.parts[1:]:
        lower.learn(names)
    yield from _served(directory, top, names, compare_bytes)
    for name, kind in listing.items():
        if kind == "w":
            yield from _covered_entry(directory, top, name, top.level, False, EntryState.WHITEOUT)


def entry_at(view: MergedView, path: str, follow: bool = False) -> Entry:
    """The entry at ``path`` of a view, with its state. Raises as ``MergedView.place``."""
    place = view.place(path, follow)
    return describe(place.directory, place.name) if place.name else describe_directory(place.directory)


def _served(
    directory: MergedDirectory, part: Part, names: Sequence[str], compare_bytes: int | None, xattrs: bool = False
) -> Iterator[Entry]:
    """The entries ``names``, which are what ``part`` made them."""
    lower, server = _parts_below(directory, part), directory.server(part)
    plain = EntryState.PLAIN if part.level == directory.view.base else EntryState.ADDED
    prefix = directory.path + "/" if directory.path else ""
    for name, stat in stats_of(server.directory, names):
        if stat is None or server.is_ghost(name, stat):
            continue
        target = _target(server, name) if modes.S_ISLNK(stat.st_mode) else None
        state: EntryState | None = plain
        level_below = None
        if lower or (not part.bottom and modes.S_ISDIR(stat.st_mode)):
            state, level_below = _state(directory, part, name, stat, lower, plain, compare_bytes)
        attributes = _xattrs(server, name) if xattrs else None
        yield Entry(
            prefix + name, name, stat, part.level, state, level_below=level_below, target=target, xattrs=attributes
        )


def describe(directory: MergedDirectory, name: str, compare_bytes: int | None = None, xattrs: bool = False) -> Entry:
    """One visible entry of a directory, with its state; reads no whole directory.

    Raises:
        FileNotFoundError: the view has no such name.
    """
    found = directory.origin(name)
    if found is None:
        raise FileNotFoundError(2, "no such entry in the view", directory.path_of(name))
    part, server = found.part, directory.server(found.part)
    stat = server.directory.stat(name)
    plain = EntryState.PLAIN if part.level == directory.view.base else EntryState.ADDED
    state, below = _state(directory, part, name, stat, _parts_below(directory, part), plain, compare_bytes)
    target = _target(server, name) if modes.S_ISLNK(stat.st_mode) else None
    attributes = _xattrs(server, name) if xattrs else None
    return Entry(
        directory.path_of(name), name, stat, part.level, state, level_below=below, target=target, xattrs=attributes
    )


def describe_directory(directory: MergedDirectory) -> Entry:
    """A merged directory as an entry, the root included."""
    parts = directory.copies or tuple(covered.part for covered in directory.covered)
    if not parts:
        nothing = os.stat_result((modes.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        return Entry("", "", nothing, 0, EntryState.PLAIN)
    top = parts[0]
    stat = directory.stat()
    plain = EntryState.PLAIN if top.level == directory.view.base else EntryState.ADDED
    state, below = _directory_state(parts, stat, plain)
    name = directory.path.rpartition("/")[2]
    hidden_by = directory.covered[0].hidden_by if not directory.parts else None
    return Entry(
        directory.path, name, stat, top.level, state, hidden=not directory.parts, hidden_by=hidden_by, level_below=below
    )


# ---------------------------------------------------------------------- states
def _parts_below(directory: MergedDirectory, part: Part) -> Sequence[Part]:
    return directory.parts[directory.parts.index(part) + 1 :]


def _target(part: Part, name: str) -> str | None:
    try:
        return part.directory.readlink(name)
    except OSError:
        return None


def _state(
    directory: MergedDirectory,
    part: Part,
    name: str,
    stat: os.stat_result,
    lower: Sequence[Part],
    plain: EntryState,
    compare_bytes: int | None,
) -> tuple[EntryState | None, int | None]:
    """The state of an entry, and the level of the copy that it replaces."""
    if modes.S_ISDIR(stat.st_mode) and not part.bottom:
        try:
            child = directory.child(name)
        except OSError:  # a redirect that the kernel refuses: the entry is still told
            return plain, None
        copies = child.copies
        if copies[0].level < part.level:  # only what is in it has changed
            return EntryState.UNCHANGED, copies[0].level
        if len(copies) > 1 or copies[0].is_opaque:
            return _directory_state(copies, stat, plain)
    if not part.may_replace(name):
        return plain, None
    for below in lower:
        kind = below.touches(name)
        if kind is None:
            continue
        if kind == "w":
            return plain, None
        if kind == "d" and modes.S_ISDIR(stat.st_mode):
            return _directory_state([part.enter(name), below.enter(name)], stat, plain)
        below_stat = below.directory.stat(name)
        if modes.S_IFMT(below_stat.st_mode) != modes.S_IFMT(stat.st_mode):
            return EntryState.MODIFIED, below.level
        return _file_state(directory, (part, name, stat), (below, name, below_stat), compare_bytes), below.level
    return plain, None


def _directory_state(parts: Sequence[Part], stat: os.stat_result, plain: EntryState) -> tuple[EntryState, int | None]:
    if parts[0].is_opaque:
        return EntryState.OPAQUE, None
    if len(parts) < 2:
        return plain, None
    below = parts[1]
    same = not different_owner_or_mode(stat, below.directory.stat_self()) and own_xattrs(parts[0]) == own_xattrs(below)
    return (EntryState.UNCHANGED if same else EntryState.METADATA), below.level


def _file_state(
    directory: MergedDirectory,
    above: tuple[Part, str, os.stat_result],
    below: tuple[Part, str, os.stat_result],
    compare_bytes: int | None,
) -> EntryState | None:
    """What a copy of the same type did to the one below it."""
    (part, name, stat), (below_part, below_name, below_stat) = above, below
    if (stat.st_dev, stat.st_ino) == (below_stat.st_dev, below_stat.st_ino):
        return EntryState.UNCHANGED
    if content_differs_by_stat(stat, below_stat):
        return EntryState.MODIFIED
    if modes.S_ISLNK(stat.st_mode):
        if _target(part, name) != _target(below_part, below_name):
            return EntryState.MODIFIED
    elif modes.S_ISREG(stat.st_mode) and stat.st_size:
        if compare_bytes is not None and stat.st_size > compare_bytes:
            if stat.st_mtime_ns != below_stat.st_mtime_ns:
                return None
        else:
            same = same_bytes(directory, part, name, below_part, below_name)
            if not same:
                return None if same is None else EntryState.MODIFIED
    if different_owner_or_mode(stat, below_stat) or stat.st_mtime_ns != below_stat.st_mtime_ns:
        return EntryState.METADATA
    if own_xattrs(part, name) != own_xattrs(below_part, below_name):
        return EntryState.METADATA
    return EntryState.UNCHANGED


def different_owner_or_mode(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether mode (with the type), owner or group differ."""
    return (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid)


def content_differs_by_stat(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether ``lstat`` alone shows other content: type, device number, or the size of a file or symlink."""
    if modes.S_IFMT(one.st_mode) != modes.S_IFMT(other.st_mode):
        return True
    if modes.S_ISREG(one.st_mode) or modes.S_ISLNK(one.st_mode):
        return one.st_size != other.st_size
    if modes.S_ISCHR(one.st_mode) or modes.S_ISBLK(one.st_mode):
        return one.st_rdev != other.st_rdev
    return False


def own_xattrs(part: Part, name: str = "") -> dict[str, bytes]:
    """The extended attributes that belong to the file, not to the overlay. No entry's absence is told from no right."""
    dialect = part.dialect
    return {key: value for key, value in part.directory.xattrs(name).items() if not dialect.is_own(key)}


def same_bytes(directory: MergedDirectory, part: Part, name: str, below: Part, below_name: str) -> bool | None:
    """Whether the view's file and the copy below hold the same bytes.

    A copy that can't be read counts as different; None: there are no bytes to be read, nor checksums of both.
    """
    try:
        data, source = directory.data_of(part, name)
        if data is below and source == below_name:
            return True
        with data.directory.open(source) as one, below.directory.open(below_name) as other:
            return same_stream(one, other)
    except ContentsAbsent:
        return _same_keys(part.directory, name, below.directory, below_name)
    except OSError:
        return False


def _same_keys(one: LayerDirectory, name: str, other: LayerDirectory, other_name: str) -> bool | None:
    if not isinstance(one, KnowsContent) or not isinstance(other, KnowsContent):
        return None
    left, right = one.content_key(name), other.content_key(other_name)
    return None if left is None or right is None else left == right


def same_stream(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two files hold the same bytes to their ends."""
    while True:
        left, right = one.read(_CHUNK), other.read(_CHUNK)
        if left != right:
            return False
        if not left:
            return True


# ---------------------------------------------------------------------- what is hidden
def _hidden(directory: MergedDirectory, xattrs: bool) -> Iterator[Entry]:
    """Whiteouts of this directory, and the copies that they or an opaque directory cover."""
    hiders: dict[str, int] = {}
    shown: set[str] = set()
    for part in directory.parts:
        for name, kind in directory.view.touched_of(part).items():
            if name in shown:
                continue
            if name in hiders:
                if kind != "w":
                    yield from _covered_entry(directory, part, name, hiders[name], xattrs)
            elif kind == "w":
                hiders[name] = part.level
                yield from _covered_entry(directory, part, name, part.level, xattrs, EntryState.WHITEOUT)
            else:
                shown.add(name)
    for covered in directory.covered:
        yield from _covered_listing(directory, covered, shown, hiders, xattrs)


def _covered_listing(
    directory: MergedDirectory, covered: Covered, shown: set[str], hiders: dict[str, int], xattrs: bool
) -> Iterator[Entry]:
    for name, kind in directory.view.touched_of(covered.part).items():
        if name not in shown:
            state = EntryState.WHITEOUT if kind == "w" else None
            hidden_by = hiders.get(name, covered.hidden_by)
            yield from _covered_entry(directory, covered.part, name, hidden_by, xattrs, state)


def _covered_entry(
    directory: MergedDirectory, part: Part, name: str, hidden_by: int, xattrs: bool, state: EntryState | None = None
) -> Iterator[Entry]:
    stat = part.whiteout_stat(name) if state is EntryState.WHITEOUT else part.directory.stats((name,))[0]
    if stat is None:
        return
    if state is None:
        state = EntryState.PLAIN if part.level == directory.view.base else EntryState.ADDED
    target = _target(part, name) if modes.S_ISLNK(stat.st_mode) else None
    yield Entry(
        directory.path_of(name),
        name,
        stat,
        part.level,
        state,
        hidden=True,
        hidden_by=hidden_by,
        target=target,
        xattrs=_xattrs(part, name) if xattrs else None,
    )


def _xattrs(part: Part, name: str) -> dict[str, bytes]:
    """The attributes of an entry as a mount shows them: without the overlay's own, escaped ones under their names.

    Empty if it vanished or can't be read.
    """
    prefix = part.dialect.prefix
    try:
        stored = own_xattrs(part, name)
    except OSError:
        return {}
    escaped = prefix + "overlay."
    return {
        prefix + key.removeprefix(escaped) if key.startswith(escaped) else key: value for key, value in stored.items()
    }
