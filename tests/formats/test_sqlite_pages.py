"""SQLite files with a write-ahead log, as SQLite itself wrote and reads them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from layerscope.errors import CorruptError
from layerscope.formats.sqlite_pages import current_state


def logged(path: Path, page_size: int = 4096, commits: int = 5) -> tuple[bytes, bytes, list[tuple[int, str]]]:
    """A database with a log that was not taken over into it, and what SQLite reads from both."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE things (number INTEGER, text TEXT)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(commits):
            database.execute("INSERT INTO things VALUES (?, ?)", (number, "x" * 3000 + str(number)))
        rows = database.execute("SELECT number, text FROM things").fetchall()
        log = path.with_name(path.name + "-wal").read_bytes()
        return path.read_bytes(), log, rows


def rows_of(state: bytes) -> list[tuple[int, str]]:
    """What SQLite reads from a state in memory."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(state)
        return database.execute("SELECT number, text FROM things").fetchall()


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_committed_pages_of_the_log_count(tmp_path: Path, page_size: int) -> None:
    database, log, rows = logged(tmp_path / "db", page_size)
    assert len(rows) == 5
    assert rows_of(current_state(database)) == []
    assert rows_of(current_state(database, log)) == rows


def test_a_log_counts_up_to_its_last_whole_commit(tmp_path: Path) -> None:
    database, log, rows = logged(tmp_path / "db")
    found = {len(rows_of(current_state(database, log[:length]))) for length in range(0, len(log), 500)}
    assert found == set(range(len(rows)))  # the last needs every byte
    for length in (32, len(log) // 2, len(log) - 1):
        assert (
            rows_of(current_state(database, log[:length]))
            == rows[: len(rows_of(current_state(database, log[:length])))]
        )


def test_a_frame_with_a_wrong_checksum_ends_the_log(tmp_path: Path) -> None:
    database, log, rows = logged(tmp_path / "db")
    for place in (40, 60, len(log) // 2, len(log) - 10):
        spoiled = bytearray(log)
        spoiled[place] ^= 0xFF
        kept = rows_of(current_state(database, bytes(spoiled)))
        assert kept == rows[: len(kept)]
        assert len(kept) < len(rows)


def test_frames_of_an_older_log_do_not_count(tmp_path: Path) -> None:
    """After a checkpoint the log begins anew, over its old frames."""
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE things (number INTEGER, text TEXT)")
        for number in range(10):
            database.execute("INSERT INTO things VALUES (?, 'old')", (number,))
        database.execute("PRAGMA wal_checkpoint(RESTART)")
        database.execute("INSERT INTO things VALUES (99, 'new')")
        rows = database.execute("SELECT number, text FROM things").fetchall()
        log = path.with_name("db-wal").read_bytes()
        assert rows_of(current_state(path.read_bytes(), log)) == rows
        assert len(rows) == 11


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0", bytes(100), b"SQLite format 3\0" + b"\0\7" + bytes(90)])
def test_what_is_no_database_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptError, match="SQLite database"):
        current_state(data)


def test_hostile_logs_cost_nothing(tmp_path: Path) -> None:
    database, log, _rows = logged(tmp_path / "db")
    choose = random.Random(7)
    for _ in range(200):
        spoiled = bytearray(log)
        for _ in range(choose.randrange(1, 20)):
            spoiled[choose.randrange(len(spoiled))] = choose.randrange(256)
        assert len(current_state(database, bytes(spoiled))) <= len(database) + len(log)
