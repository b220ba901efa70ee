"""COPY and ADD: files into a stage's layer, with docker's rules of what goes where.

| source | destination | result |
| --- | --- | --- |
| directory | any | what is in it goes there; directories that are there get its modes and times |
| archive, by ADD | any | unpacked there, owners as it says |
| else | ends in ``/``, or is a directory | a file of the source's name in it |
| else | else | that file, in the place of what is there |

Missing directories are made, mode 0755. Times have whole seconds. A further chown follows what was unpacked, which
takes set-id bits and capabilities from files, as with docker.

Sources: moby builder/dockerfile/copy.go ``performCopyForInfo``, copy_unix.go, pkg/containerfs/archiver.go,
pkg/archive/archive.go; 20.10.24.
"""

from __future__ import annotations

import os
import posixpath
import stat as modes
from collections.abc import Sequence

from msgspec import Struct

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.formats.file_pattern import FilePattern
from layerscope.lab.build.files import Entry, Files, content, hashed_texts, inside, resolved, sum_of, walk
from layerscope.lab.build.overlay import dress, make_directories, remove_all, set_time
from layerscope.lab.build.unpack import is_archive, unpack_archive
from layerscope.overlay.engine import Overlay

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_PATTERN_CHARACTERS = "*?["


class Source(Struct, frozen=True):
    """One thing to copy: its path as it was found, and what the history says of it."""

    path: str
    sum: str


class Copy(Struct, frozen=True):
    """A COPY or ADD that is ready to be carried out.

    ``target`` as written, values replaced. ``owner``: whom everything shall belong to, None to leave it to the source.
    """

    files: Files
    sources: tuple[Source, ...]
    target: str
    unpack: bool

    @property
    def sum(self) -> str:
        """What the history says of the sources."""
        if len(self.sources) == 1:
            return self.sources[0].sum
        return hashed_texts("multi", (source.sum for source in self.sources))


def find_sources(files: Files, paths: Sequence[str], target: str, *, unpack: bool, where: str) -> Copy:
    """What the words of an instruction name; ``where`` says in messages where was looked.

    Raises:
        CommitError: a path names nothing, leads out, or can't be read.
        UsageError: a pattern isn't right.
    """
    found: list[Source] = []
    for path in paths:
        name = path.removeprefix("/").removeprefix("./")
        if _is_pattern(name):
            pattern = FilePattern(name)
            matches = [inner for inner, _ in walk(files, "") if inner and pattern.fits(inner)]
        else:
            matches = [inside(path)]
        try:
            found += [Source(match, sum_of(files, match)) for match in matches]
        except FileNotFoundError:
            raise CommitError(f"{escape(path)[:200]}: there is no such file in {where}") from None
    if not found:
        raise CommitError(f"no file in {where} fits {escape(' '.join(paths))[:200]}")
    if len(found) > 1 and not target.endswith("/"):
        raise CommitError(f"more than one source: the destination {escape(target)[:200]} must end with a slash")
    return Copy(files, tuple(found), target, unpack)


def _is_pattern(name: str) -> bool:
    escaped = False
    for char in name:
        if not escaped and char in _PATTERN_CHARACTERS:
            return True
        escaped = char == "\\" and not escaped
    return False


class Copier:
    """Writes into an overlay what a :class:`Copy` says.

    Args:
        overlay: the stage's files.
        target_files: the same, to be looked at.
        directory: from where a target that isn't absolute is meant.
        owner: user and group of what is made, None: as the source has them.
    """

    def __init__(self, overlay: Overlay, target_files: Files, directory: str, owner: tuple[int, int] | None) -> None:
        self._overlay = overlay
        self._there = target_files
        self._directory = directory
        self._owner = owner

    def copy(self, copy: Copy) -> None:
        """Carry it out.

        Raises:
            CommitError: the kinds don't go together, or a file can't be read.
            OSError: as the overlay's calls.
        """
        target = copy.target
        if not target.startswith("/"):
            target = posixpath.normpath(f"/{self._directory}/{target}") + ("/" if target.endswith("/") else "")
        goal = resolved(self._there, inside(target))
        for source in copy.sources:
            self._copy_one(copy, source, target, goal)

    def _copy_one(self, copy: Copy, source: Source, target: str, goal: str) -> None:
        files = copy.files
        real = resolved(files, source.path)
        entry = files.entry(real)
        if entry is None:
            raise CommitError(f"{escape(source.path)} went away")
        there = self._there.entry(goal)
        is_directory = there is not None and there.is_directory
        if entry.is_directory:
            self._make_directories(goal, (0, 0))
            self._unpack_tree(files, real, goal)
            self._own_tree(files, real, goal, skip_top=is_directory)
            return
        if copy.unpack and modes.S_ISREG(entry.mode) and is_archive(files, real):
            self._make_directories(goal, (0, 0))
            with files.open(real) as file:
                unpack_archive(self._overlay, self._there, file, goal)
            return
        if not modes.S_ISREG(entry.mode):
            raise CommitError(f"{escape(source.path)} is no file, directory or link: it can't be copied by itself")
        if target.endswith("/") or is_directory:
            goal = f"{goal}/{posixpath.basename(source.path)}".lstrip("/")
        if not goal:
            raise CommitError("a file can't be copied over the root")
        self._make_directories(posixpath.dirname(goal), self._owner or (0, 0))
        plain = Entry(entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns)
        self._put(files, real, plain, goal)
        if self._owner is not None:
            self._overlay.lchown(f"/{goal}", *self._owner)

    # ------------------------------------------------------------------ trees
    def _unpack_tree(self, files: Files, top: str, goal: str) -> None:
        first: dict[tuple[int, int], str] = {}
        directories: list[tuple[str, Entry]] = []
        for path, entry in walk(files, top):
            if path == top or modes.S_ISSOCK(entry.mode):
                continue
            target = f"{goal}/{path[len(top) :].lstrip('/')}".lstrip("/")
            known = first.setdefault(entry.inode, target) if entry.inode is not None else target
            if known != target:
                remove_all(self._overlay, f"/{target}")
                self._overlay.link(f"/{known}", f"/{target}")
                dress(self._overlay, target, entry)
                continue
            self._put(files, path, entry, target)
            if entry.is_directory:
                directories.append((target, entry))
        for target, entry in directories:
            set_time(self._overlay, target, entry)

    def _own_tree(self, files: Files, top: str, goal: str, skip_top: bool) -> None:
        if self._owner is None:
            return
        for path, entry in walk(files, top):
            if (path == top and skip_top) or modes.S_ISSOCK(entry.mode):
                continue
            target = f"{goal}/{path[len(top) :].lstrip('/')}".strip("/")
            self._overlay.lchown(f"/{target}", *self._owner)

    def _put(self, files: Files, path: str, entry: Entry, target: str) -> None:
        """One entry, in the place of what is there; a directory that is there stays."""
        there = self._there.entry(target)
        if entry.is_directory and there is not None and there.is_directory:
            dress(self._overlay, target, entry)
            return
        if there is not None:
            remove_all(self._overlay, f"/{target}")
        kind = modes.S_IFMT(entry.mode)
        where = f"/{target}"
        if kind == modes.S_IFDIR:
            self._overlay.mkdir(where, modes.S_IMODE(entry.mode))
        elif kind == modes.S_IFLNK:
            self._overlay.symlink(entry.target, where)
        elif kind == modes.S_IFREG:
            self._write(files, path, entry, where)
        else:
            self._overlay.mknod(where, entry.mode, entry.device)
        dress(self._overlay, target, entry)

    def _write(self, files: Files, path: str, entry: Entry, where: str) -> None:
        with files.open(path) as file, os.fdopen(self._overlay.open(where, _CREATE, 0o600), "wb") as out:
            for chunk in content(file, entry.size, path):
                out.write(chunk)

    def _make_directories(self, path: str, owner: tuple[int, int]) -> None:
        make_directories(self._overlay, self._there, path, owner)
