"""Files of the same content: first those of the same size, then by the hash of their beginnings, then of all bytes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, takewhile
from operator import itemgetter
from typing import BinaryIO, NamedTuple

from layerscope.analysis.scan.spill import SortedSpill
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import ContentsAbsent, KnowsContent, LayerDirectory

_CHUNK = 1 << 18
_ZEROS = bytes(_CHUNK)
_HEAD = 1 << 14
_LONG = 1 << 16
_MOST_TOLD = 1000

Stored = tuple[int, bytes]
"""A file by its level and its path in that."""


class Same(NamedTuple):
    """A file whose content an earlier one has too; paths are those in their layers, as bytes."""

    size: int
    level: int
    path: bytes
    first_level: int
    first_path: bytes


def find_same(
    files: Iterable[tuple[int, int, bytes]],
    tops: Mapping[int, LayerDirectory],
    problems: list[Problem],
    cancelled: Callable[[], bool] = lambda: False,
    counted: Callable[[int], bool] = lambda level: True,
) -> Iterator[Same]:
    """Each file whose content one before it has: of N copies N-1, the lowest level's first path is the one kept.

    Files are read directory by directory, whatever their sizes; what was read of them is sorted on disk.

    Args:
        files: Size, level and path in that level, sorted.
        tops: The top directory of each level.
        problems: Gains what can't be read; such files are the same as nothing.
        cancelled: Asked before each file is read.
        counted: Whether a level's copies are told; all others are there to be compared with.

    Raises:
        OSError: a temporary file can't be written.
    """
    reading = _Reading(tops, problems)
    with SortedSpill() as places, SortedSpill() as keys:
        for size, rows in groupby(files, key=itemgetter(0)):
            for _, level, path in _of_use(rows, counted):
                folder, slash, name = path.rpartition(b"/")
                places.add((level, folder + slash, name, size))
        for level, folder, name, size in places:
            if cancelled():
                return
            key = reading.key(level, folder + name, _HEAD if size > _LONG else None)
            if key is not None:
                keys.add((size, key, level, folder + name))
        for (size, _), read in groupby(keys, key=itemgetter(0, 1)):
            alike = ((level, path) for _, _, level, path in read)
            for group in reading.grouped(list(alike), cancelled) if size > _LONG else [alike]:
                yield from _told(size, iter(group), counted)


def _of_use(rows: Iterable[tuple[int, int, bytes]], counted: Callable[[int], bool]) -> Iterator[tuple[int, int, bytes]]:
    """Files of one size, if there are several of them and any of their levels counts."""
    waiting: list[tuple[int, int, bytes]] = []
    useful = enough = False
    for row in rows:
        if enough:
            yield row
            continue
        waiting.append(row)
        useful = useful or counted(row[1])
        if useful and len(waiting) > 1:
            enough = True
            yield from waiting


def _told(size: int, alike: Iterator[Stored], counted: Callable[[int], bool]) -> Iterator[Same]:
    first_level, first_path = next(alike)
    for level, path in alike:
        if counted(level):
            yield Same(size, level, path, first_level, first_path)


class _Reading:
    """Reads files by level and path; quickest if those of one directory follow each other."""

    def __init__(self, tops: Mapping[int, LayerDirectory], problems: list[Problem]) -> None:
        self._tops = tops
        self._problems = problems
        self._level: int | None = None
        self._names: list[str] = []
        self._trail: list[LayerDirectory] = []

    def grouped(self, files: list[Stored], cancelled: Callable[[], bool]) -> list[list[Stored]]:
        """The files by the hash of all their bytes, each group in the order given."""
        groups: dict[bytes, list[Stored]] = {}
        for level, path in files if len(files) > 1 else ():
            if cancelled():
                return []
            key = self.key(level, path, None)
            if key is not None:
                groups.setdefault(key, []).append((level, path))
        return list(groups.values())

    def key(self, level: int, path: bytes, limit: int | None) -> bytes | None:
        """What files of the same first ``limit`` bytes (None: of all) share; None if it can't be told."""
        folder, _, name = os.fsdecode(path).rpartition("/")
        try:
            directory = self._folder(level, folder)
            try:
                return content_digest(directory, name, limit)
            except ContentsAbsent:
                recorded = directory.content_key(name) if isinstance(directory, KnowsContent) else None
                return None if recorded is None else b"recorded %d %d" % recorded
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and len(self._problems) < _MOST_TOLD:
                what = f"level {level}: cannot read it: {os.strerror(error.errno or 0)}"
                effect = "whether its content is stored elsewhere too isn't known"
                self._problems.append(Problem(os.fsdecode(path), what, effect, severity=Severity.WARNING))
            return None

    def _folder(self, level: int, folder: str) -> LayerDirectory:
        """A directory; those on the way to the last one are kept."""
        if level != self._level:
            self._level, self._names, self._trail = level, [], [self._tops[level]]
        names = folder.split("/") if folder else []
        if names != self._names:
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(names, self._names, strict=False)))
            del self._names[shared:], self._trail[shared + 1 :]
            for name in names[shared:]:
                self._trail.append(self._trail[-1].enter(name))
                self._names.append(name)
        return self._trail[-1]


def content_digest(directory: LayerDirectory, name: str, limit: int | None = None) -> bytes:
    """A hash of a file's first ``limit`` bytes (None: all), from its blocks that aren't all zero, and where they lie.

    So holes cost nothing: a sparse file of a terabyte takes no longer than the blocks that it has. Only files of one
    size may be compared by it.

    Raises:
        OSError: as ``LayerDirectory.open``.
    """
    digest = hashlib.sha256()
    with directory.open(name) as file:
        if limit is not None:
            digest.update(file.read(limit))
            return digest.digest()
        offset = _next_data(file, 0)
        while offset is not None and (block := file.read(_CHUNK)):
            if block != _ZEROS[: len(block)]:
                digest.update(offset.to_bytes(8, "little") + block)
            offset += len(block)
            if block == _ZEROS:
                offset = _next_data(file, offset)
    return digest.digest()


def _next_data(file: BinaryIO, offset: int) -> int | None:
    """The start of the block in which the next data at or behind ``offset`` lies, where the file is then read on.

    None: only a hole follows. Where holes can't be told, ``offset`` itself, at which the file already is.
    """
    try:
        found = os.lseek(file.fileno(), offset, os.SEEK_DATA)
    except (OSError, ValueError, AttributeError) as error:
        return None if isinstance(error, OSError) and error.errno == errno.ENXIO else offset
    start = found - found % _CHUNK
    file.seek(start)
    return start
