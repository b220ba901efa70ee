"""The sums of committed layers, kept in the user's cache directory: only ever a cache.

| place | what |
| --- | --- |
| ``layers-1.sqlite`` in the cache folder | the file; the number is that of the tables below |
| ``layer`` | one row for each layer of each root: identity, sums, marks of its directories, a checksum of these |
| ``outside`` | for each root the inodes that have names elsewhere, as text, with a checksum |

What can't be used is no error: a file that is damaged or somebody else's is made anew, where nothing can be written
everything is measured each time. Rows of layers that are gone go with the next run that writes, those of roots that
nobody asks about after some months, the oldest when the file grows too large. Several processes may use it at once.
"""

from __future__ import annotations

import os
import sqlite3
import stat as modes
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zlib import crc32

from layerscope.analysis.ledger.kept import MOST_OUTSIDE, KeptSums, LayerIdentity, Outside
from layerscope.services.cache_folder import UnusableFolder, cache_folders, open_own_folder

_VERSION = 1
_NAME = f"layers-{_VERSION}.sqlite"
_APPLICATION = 0x6C617965
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WAIT_SECONDS = 0.5
_KEPT_SECONDS = 90 * 86_400
_DAY_SECONDS = 86_400
MOST_BYTES = 256 * 1024 * 1024
"""What all marks may have in all."""
_TABLES = (
    "create table layer (root blob, path blob, device text, inode text, changed text, used integer, sums text, "
    "folders blob, stamps blob, checksum integer, primary key (root, path))",
    "create table outside (root blob primary key, inodes text, checksum integer, used integer)",
)
_KEYS = ("device", "inode", "changed")


class LayerCache:
    """The kept layers of one root; a context manager, which writes what is new at its end.

    Args:
        paths: the directories that are read: nothing is kept below any of them.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._root = b"\0".join(os.fsencode(os.path.realpath(path)) for path in paths)
        self._path = ""
        self._connection: sqlite3.Connection | None = None
        opened = _opened([os.path.realpath(path) for path in paths])
        if opened is not None:
            self._path, self._connection = opened
        self._known: Outside | None = None
        self._asked: set[str] = set()
        self._stale = False
        self._new: list[tuple[LayerIdentity, KeptSums]] = []
        self._outside: Outside | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is None:
            return
        if kind is None and (self._new or self._outside is not None or self._stale):
            with self._mishaps():
                self._write(self._connection)
        if self._connection is not None:
            self._connection.close()

    # ------------------------------------------------------------------ reading
    def find(self, layer: LayerIdentity) -> KeptSums | None:
        """The sums of a layer, if it is the same directory as when they were kept."""
        self._asked.add(layer.path)
        row = self._row(
            "select device, inode, changed, sums, folders, stamps, checksum, used from layer where root=? and path=?",
            (self._root, os.fsencode(layer.path)),
        )
        if row is None:
            return None
        *facts, checksum, used = row
        if facts[:3] != _identity(layer) or checksum != _checksum(facts):
            return None
        told, folders, stamps = facts[3:]
        self._stale |= used < time.time() - _DAY_SECONDS
        disk, apparent, count, file_bytes, symlink_bytes = map(int, told.split())
        return KeptSums(disk, apparent, count, file_bytes, symlink_bytes, (os.fsdecode(folders), stamps))

    def outside(self) -> Outside:
        """The inodes with names elsewhere that a run knew of, in which every layer was measured."""
        if self._known is None:
            row = self._row("select inodes, checksum from outside where root=?", (self._root,))
            words = row[0].split() if row is not None and row[1] == _checksum([row[0]]) else []
            numbers = iter(map(int, words))
            self._known = frozenset(zip(numbers, numbers, numbers, strict=False))
        return self._known

    def _row(self, question: str, values: tuple[bytes, ...]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = None
        with self._mishaps():
            if self._connection is not None:
                row = self._connection.execute(question, values).fetchone()
        return row

    # ------------------------------------------------------------------ writing
    def keep(self, layer: LayerIdentity, sums: KeptSums) -> None:
        """Keep the sums of a layer."""
        self._new.append((layer, sums))

    def keep_outside(self, inodes: Outside) -> None:
        """Keep what :meth:`outside` gives; if they are too many, none: then kept sums are never used."""
        self._outside = inodes

    def _write(self, file: sqlite3.Connection) -> None:
        now = int(time.time())
        file.execute("begin immediate")
        for layer, sums in self._new:
            told = f"{sums.disk} {sums.apparent} {sums.count} {sums.file_bytes} {sums.symlink_bytes}"
            facts = [*_identity(layer), told, os.fsencode(sums.marks[0]), sums.marks[1]]
            row = (self._root, os.fsencode(layer.path), *facts[:3], now, *facts[3:], _checksum(facts))
            file.execute("insert or replace into layer values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for (path,) in file.execute("select path from layer where root=?", (self._root,)).fetchall():
            if os.fsdecode(path) not in self._asked:
                file.execute("delete from layer where root=? and path=?", (self._root, path))
        file.execute("update layer set used=? where root=?", (now, self._root))
        if self._outside is not None:
            few = self._outside if len(self._outside) <= MOST_OUTSIDE else ()
            text = " ".join(f"{number}" for inode in few for number in inode)
            row_ = (self._root, text, _checksum([text]), now)
            file.execute("insert or replace into outside values (?, ?, ?, ?)", row_)
        file.execute("update outside set used=? where root=?", (now, self._root))
        for table in ("layer", "outside"):
            file.execute(f"delete from {table} where used < ?", (now - _KEPT_SECONDS,))
        _shrink(file, self._root)
        file.execute("commit")

    @contextmanager
    def _mishaps(self) -> Iterator[None]:
        """Go on without the file after an error; one that is damaged is removed, so that the next run makes it anew."""
        try:
            yield
        except (sqlite3.Error, ValueError, OverflowError) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if _is_damage(error):
                _remove(self._path)


def _identity(layer: LayerIdentity) -> list[object]:
    # As text: they may be larger than SQLite's integers.
    return [str(getattr(layer, name)) for name in _KEYS]


def _checksum(facts: list[object]) -> int:
    value = 0
    for fact in facts:
        value = crc32(fact if isinstance(fact, bytes) else str(fact).encode() + b"\0", value)
    return value


def _shrink(file: sqlite3.Connection, root: bytes) -> None:
    """Give up the layers that weren't asked about for longest, those of this root last."""
    question = "select root, path, length(folders) + length(stamps) from layer order by root = ?, used, path"
    rows = file.execute(question, (root,)).fetchall()
    total = sum(row[2] for row in rows)
    for other, path, length in rows:
        if total <= MOST_BYTES:
            return
        total -= length
        file.execute("delete from layer where root=? and path=?", (other, path))


# ---------------------------------------------------------------------- the file
def _opened(roots: list[str]) -> tuple[str, sqlite3.Connection] | None:
    """The file with its tables, and its path; None where there can't be one."""
    for folder in cache_folders():
        place = os.path.realpath(folder)
        if any(place == root or place.startswith(root.rstrip("/") + "/") for root in roots):
            continue
        try:
            os.close(open_own_folder(folder))
            path = os.fspath(folder / _NAME)
            return path, _connected(path)
        except (UnusableFolder, OSError, sqlite3.Error, ValueError):
            continue
    return None


def _connected(path: str) -> sqlite3.Connection:
    _make(path)
    try:
        return _with_tables(path)
    except sqlite3.Error as error:
        if not _is_damage(error):
            raise
    _remove(path)
    _make(path)
    return _with_tables(path)


def _make(path: str) -> None:
    fd = os.open(path, _OPEN, 0o600)
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if not modes.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise UnusableFolder("holds something that is no file of ours")


def _with_tables(path: str) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        # It can always be made anew, so nothing waits for the disk.
        file.execute("pragma synchronous = off")
        if _application(file) != _APPLICATION:
            file.execute("begin immediate")
            if _application(file) != _APPLICATION:
                if file.execute("select count(*) from sqlite_master").fetchone()[0]:
                    raise sqlite3.DatabaseError("is somebody else's")
                file.execute(f"pragma application_id = {_APPLICATION}")
                for table in _TABLES:
                    file.execute(table)
            file.execute("commit")
    except BaseException:
        file.close()
        raise
    return file


def _application(file: sqlite3.Connection) -> int:
    return int(file.execute("pragma application_id").fetchone()[0])


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault: not a lock, a full disk or a missing right."""
    return not isinstance(error, sqlite3.OperationalError) or "no such" in str(error) or "malformed" in str(error)


def _remove(path: str) -> None:
    for name in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        try:
            os.unlink(name)
        except OSError:
            pass
