"""Files of the same content: first those of the same size, then by the hash of their beginnings, then of all bytes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO, NamedTuple

from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import ContentsAbsent, KnowsContent, LayerDirectory

_CHUNK = 1 << 18
_ZEROS = bytes(_CHUNK)
_HEAD = 1 << 14
_LONG = 1 << 16
_MOST_TOLD = 1000


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

    Args:
        files: Size, level and path in that level, sorted.
        tops: The top directory of each level.
        problems: Gains what can't be read; such files are the same as nothing.
        cancelled: Asked before each file is read.
        counted: Whether a level's copies are told; all others are there to be compared with.
    """
    reading = _Reading(tops, problems)
    for size, rows in groupby(files, key=itemgetter(0)):
        alike: list[tuple[int, bytes]] = []
        for _, level, path in rows:
            alike.append((level, path))
        if len(alike) < 2 or not any(counted(level) for level, _ in alike):
            continue
        if size > _LONG:
            heads = reading.grouped(alike, _HEAD, cancelled)
            groups = [found for group in heads if len(group) > 1 for found in reading.grouped(group, None, cancelled)]
        else:
            groups = reading.grouped(alike, None, cancelled)
        for (first_level, first_path), *others in groups:
            for level, path in others:
                if counted(level):
                    yield Same(size, level, path, first_level, first_path)


class _Reading:
    """Reads files by level and path; quickest if those of one directory follow each other."""

    def __init__(self, tops: Mapping[int, LayerDirectory], problems: list[Problem]) -> None:
        self._tops = tops
        self._problems = problems
        self._place: tuple[int, str] | None = None
        self._directory: LayerDirectory | None = None

    def grouped(
        self, files: list[tuple[int, bytes]], limit: int | None, cancelled: Callable[[], bool]
    ) -> list[list[tuple[int, bytes]]]:
        """The files by the hash of their first ``limit`` bytes (None: all), each group in the order given."""
        groups: dict[object, list[tuple[int, bytes]]] = {}
        for level, path in files:
            if cancelled():
                return []
            key = self._key(level, os.fsdecode(path), limit)
            if key is not None:
                groups.setdefault(key, []).append((level, path))
        return list(groups.values())

    def _key(self, level: int, path: str, limit: int | None) -> object:
        folder, _, name = path.rpartition("/")
        try:
            directory = self._folder(level, folder)
            try:
                return content_digest(directory, name, limit)
            except ContentsAbsent:
                return directory.content_key(name) if isinstance(directory, KnowsContent) else None
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and len(self._problems) < _MOST_TOLD:
                what = f"level {level}: cannot read it: {os.strerror(error.errno or 0)}"
                effect = "whether its content is stored elsewhere too isn't known"
                self._problems.append(Problem(path, what, effect, severity=Severity.WARNING))
            return None

    def _folder(self, level: int, folder: str) -> LayerDirectory:
        if self._place != (level, folder) or self._directory is None:
            directory = self._tops[level]
            for name in folder.split("/") if folder else ():
                directory = directory.enter(name)
            self._place, self._directory = (level, folder), directory
        return self._directory


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
