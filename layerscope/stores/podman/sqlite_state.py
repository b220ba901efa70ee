"""podman's state since 4.8: ``db.sql``, an SQLite database.

| table | columns that are read |
| --- | --- |
| `ContainerConfig`, `ContainerState` | `ID`, `JSON` |
| `PodConfig` | `ID`, `JSON` |
| `VolumeConfig`, `VolumeState` | `Name`, `JSON` |
| `DBConfig` | `GraphRoot`, `RunRoot`, `GraphDriver`, `VolumeDir` |

The other columns aren't kept up: ``State`` and ``ExitCode`` stay at their first values while ``JSON`` tells the truth.
The file is read as bytes and opened in memory; with a rollback journal (podman's way) nothing else belongs to it but a
journal of a transaction that was cut. Source: podman libpod/sqlite_state.go; seen with 5.8.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

from layerscope.errors import CorruptError
from layerscope.formats.sqlite_pages import current_state
from layerscope.stores.records.files import shown

_SECONDS = 10.0
_STEPS = 10_000
_VALUE_LIMIT = 16 << 20
_ALL_VALUES = 96 << 20
_MOST_ROWS = 100_000
_TABLES = {
    "container": ("ContainerConfig", "ID"),
    "state": ("ContainerState", "ID"),
    "pod": ("PodConfig", "ID"),
    "volume": ("VolumeConfig", "Name"),
    "volume state": ("VolumeState", "Name"),
}
_SETTINGS = ("GraphRoot", "RunRoot", "GraphDriver", "VolumeDir")


def read_sqlite(data: bytes, log: bytes | None) -> tuple[dict[str, dict[str, bytes]], dict[str, str], list[str]]:
    """The JSON records by kind (those of ``_TABLES``) and key, the settings, and what is wrong.

    ``log`` is the write-ahead log beside it, if there is one.

    Raises:
        CorruptError: it isn't a database at all.
    """
    records: dict[str, dict[str, bytes]] = {kind: {} for kind in _TABLES}
    settings: dict[str, str] = {}
    wrong: list[str] = []
    with closing(_opened(current_state(data, log))) as database:
        for kind, (table, key) in _TABLES.items():
            try:
                for name, value in _rows(database, table, key):
                    if isinstance(name, str) and isinstance(value, str | bytes):
                        records[kind][name] = value.encode("utf-8", "replace") if isinstance(value, str) else value
                    else:
                        wrong.append(f"has a record in {table} that isn't text: {shown(name)}")
            except (sqlite3.Error, UnicodeError, MemoryError) as error:
                wrong.append(f"can't be read in {table}: {shown(error)}")
        for name, text in _settings(database, wrong):
            settings[name] = text
    return records, settings, wrong


def _rows(database: sqlite3.Connection, table: str, key: str) -> Iterator[tuple[object, object]]:
    """The rows of a table, as many as there may be: a view in its place could have more than fit into memory.

    Raises:
        sqlite3.Error: it can't be read, or has too many.
    """
    room = _ALL_VALUES
    for number, (name, value) in enumerate(database.execute(f'SELECT "{key}", "JSON" FROM "{table}"')):
        room -= len(value) if isinstance(value, str | bytes) else 0
        if number >= _MOST_ROWS or room < 0:
            raise sqlite3.DataError(f"more than {number} records")
        yield name, value


def _settings(database: sqlite3.Connection, wrong: list[str]) -> Iterator[tuple[str, str]]:
    columns = ", ".join(f'"{name}"' for name in _SETTINGS)
    try:
        row = database.execute(f'SELECT {columns} FROM "DBConfig"').fetchone()
    except (sqlite3.Error, UnicodeError, MemoryError) as error:
        wrong.append(f"can't be read in DBConfig: {shown(error)}")
        return
    for name, value in zip(_SETTINGS, row or (), strict=False):
        if isinstance(value, str) and value:
            yield name, value


def _opened(state: bytes | bytearray) -> sqlite3.Connection:
    """The database in memory; whatever was put into its schema, a statement ends within a bound."""
    database = sqlite3.connect(":memory:")
    end = time.monotonic() + _SECONDS
    try:
        database.deserialize(state)
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_LIMIT)
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
        database.execute("PRAGMA query_only = ON")
        database.set_authorizer(_authorize)
        database.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    except (sqlite3.Error, OverflowError, MemoryError) as error:
        database.close()
        raise CorruptError(f"SQLite database: {shown(error)}") from None
    return database


def _authorize(action: int, *_names: str | None) -> int:
    """Plain reading only: no functions, no recursion, nothing that a hostile schema could hide behind a name."""
    return sqlite3.SQLITE_OK if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) else sqlite3.SQLITE_DENY
