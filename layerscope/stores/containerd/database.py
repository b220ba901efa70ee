"""Reading one of containerd's bolt files while its owner may be writing it, as much of it as holds.

No lock is taken: the owner keeps an exclusive one for life. A commit never writes over pages that the newest state on
disk needs; so what was read is whole if, after the read, that state is still the one that was read. Else it is read
again, and after some tries taken as it is: a tree that can be walked from end to end is good, only older.

Source: go.etcd.io/bbolt db.go, tx.go; seen with containerd 2.1 under constant creation of containers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Bucket, Database
from layerscope.formats.gotime import format_rfc3339, parse_binary
from layerscope.formats.varint import parse_signed, parse_unsigned
from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import fault_of

LIMIT = 1 << 28
"""Bytes of the largest database that is read; that of a busy node has some tens of MiB."""
_TRIES = 4
_METAS_SIZE = 2 << 17
"""Two pages of the largest size: the newest state can be told from them."""
_LARGEST = 1 << 63


class OpenedDatabase(Struct, frozen=True):
    """A database file: ``path`` is its place, ``root`` its top bucket, None if nothing of it can be read.

    ``sound``: every page of it is what it should be; else what can't be reached is missing from the answers.
    """

    path: str
    root: Bucket | None
    sound: bool
    problems: tuple[Problem, ...] = ()


def open_database(directory: Directory, name: str, effect: str) -> OpenedDatabase:
    """The database ``name`` in ``directory``; ``effect`` says what isn't known without it.

    Never raises: what is wrong is among the problems.
    """
    path = place_of(directory, name)
    try:
        with directory.open(name) as file:
            data = _read(file) if os.fstat(file.fileno()).st_size <= LIMIT else None
    except OSError as error:
        return OpenedDatabase(path, None, False, (fault_of(error).problem(path, effect),))
    if data is None:
        what = f"is longer than {LIMIT} bytes, which no such database is"
        return OpenedDatabase(path, None, False, (Problem(path, what, effect),))
    return _parsed(data, path, effect)


def place_of(directory: Directory, name: str) -> str:
    """The path of the entry ``name`` in ``directory``, as problems tell it."""
    return f"{directory.path}/{name}" if directory.path else name


def _read(file: BinaryIO) -> bytes:
    """The whole file, read anew while it changes."""
    data = b""
    for _ in range(_TRIES):
        file.seek(0)
        data = file.read(LIMIT)
        file.seek(0)
        if _newest(file.read(_METAS_SIZE)) == _newest(data):
            break
    return data


def _newest(data: bytes) -> int | None:
    try:
        return Database.parse(data).txid
    except CorruptError:
        return None


def _parsed(data: bytes, path: str, effect: str) -> OpenedDatabase:
    try:
        database = Database.checked(data)
    except CorruptError as torn:
        try:
            # What lies before the damage can still be had; iterating ends where it begins.
            root = Database.parse(data).root
        except CorruptError as error:
            return OpenedDatabase(path, None, False, (Problem(path, f"is damaged: {error}", effect),))
        what = f"is damaged: {torn}; what can be reached is shown"
        return OpenedDatabase(path, root, False, (Problem(path, what, effect),))
    if not database.is_older:
        return OpenedDatabase(path, database.root, True)
    what = f"the newest state is torn, read as of transaction {database.txid}"
    told = Problem(path, what, "the last change isn't seen", severity=Severity.WARNING)
    return OpenedDatabase(path, database.root, True, (told,))


# ---------------------------------------------------------------------- buckets of a database that may be damaged
def bucket_at(top: Bucket | None, *keys: bytes) -> Bucket | None:
    """The bucket reached by one key after the other; None if one is missing or damaged."""
    try:
        return None if top is None else top.walk(*keys)
    except CorruptError:
        return None


def buckets_in(top: Bucket | None) -> Iterator[tuple[str, Bucket]]:
    """The buckets in ``top`` by name, up to the first damage."""
    try:
        for key, bucket in () if top is None else top.buckets():
            yield text_of(key), bucket
    except CorruptError:
        return


def texts_in(top: Bucket | None) -> dict[str, str]:
    """The plain values in ``top`` as text, up to the first damage."""
    found: dict[str, str] = {}
    try:
        for key, value in () if top is None else top.items():
            if isinstance(value, bytes):
                found[text_of(key)] = text_of(value)
    except CorruptError:
        pass
    return found


def value_in(top: Bucket, key: bytes) -> bytes:
    """A plain value, empty if it is missing or damaged."""
    try:
        return top.get(key) or b""
    except CorruptError:
        return b""


# ---------------------------------------------------------------------- values
def text_of(data: bytes) -> str:
    """UTF-8; what isn't is kept by surrogates."""
    return data.decode("utf-8", "surrogateescape")


def time_of(data: bytes) -> str | None:
    """RFC 3339 in UTC, None if it isn't a time."""
    moment = parse_binary(data)
    return None if moment is None else format_rfc3339(moment)


def size_of(data: bytes) -> int | None:
    """A number of bytes or inodes (signed varint), None if it isn't one."""
    try:
        value = parse_signed(data)
    except CorruptError:
        return None
    return value if value >= 0 else None


def number_of(data: bytes) -> int | None:
    """A folder's number (unsigned varint), None if it isn't one."""
    try:
        value = parse_unsigned(data)
    except CorruptError:
        return None
    return value if 0 < value < _LARGEST else None
