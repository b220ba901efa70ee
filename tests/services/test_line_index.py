"""Rows of a file of any size: the rule by which they begin, from the whole file at once; pages; search."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import UsageError
from layerscope.services.file import lines as line_index
from layerscope.services.file import pages as file_pages
from layerscope.services.file.copies import Cancelled
from layerscope.services.file.lines import LineIndex
from layerscope.services.file.pages import FilePages
from layerscope.services.file.search import find_bytes, parse_needle

WINDOW, CHUNK = 8, 32
CONTENTS = st.lists(st.sampled_from([b"\n", b"ab", b"0123456789", b"x" * 40, b"\n\n\n"]), max_size=30).map(b"".join)


@contextmanager
def pages_of(path: Path, content: bytes | None = None) -> Iterator[FilePages]:
    """The pages of a file; ``content`` is written first."""
    if content is not None:
        path.write_bytes(content)
    pages = FilePages(path.open("rb"), "a file")
    yield pages
    pages.close()


def rows_of(content: bytes, window: int) -> list[int]:
    """Where rows begin, by their definition."""
    starts = {0} | {place + 1 for place, byte in enumerate(content) if byte == 0x0A}
    for start in range(0, len(content) - window + 1, window):
        if b"\n" not in content[start : start + window]:
            starts.add(start + window)
    return sorted(start for start in starts if start < len(content)) or [0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "WINDOW_BYTES", WINDOW)
    monkeypatch.setattr(line_index, "CHUNK_BYTES", CHUNK)


@given(CONTENTS)
@settings(max_examples=200, deadline=None)
def check_rows(folder: Path, content: bytes) -> None:
    with pages_of(folder / "rows", content) as pages:
        index = LineIndex(pages)
        while index.scan():
            pass
        starts = rows_of(content, WINDOW)
        assert index.complete
        assert index.rows == len(starts)
        for number, start in enumerate(starts):
            row = index.row(number)
            assert row is not None
            end = starts[number + 1] if number + 1 < len(starts) else len(content)
            assert (row.start, row.end) == (start, end)
            assert row.end - row.start <= 2 * WINDOW
            assert row.line == 1 + content[:start].count(b"\n")
            assert row.goes_on == (start > 0 and content[start - 1 : start] != b"\n")
            assert index.kept_row(number) == row
            for offset in range(start, end):
                assert index.row_at(offset) == number
        for line in range(1, content.count(b"\n") + 1):
            number = index.row_of_line(line) or 0
            row = index.row(number)
            assert row is not None
            assert (row.line, row.goes_on) == (line, False)
        assert index.row(index.rows) is None
        assert index.row_of_line(content.count(b"\n") + 2) is None


def test_rows_are_those_of_the_rule(folder: Path, small_windows: None):
    check_rows(folder)


def test_rows_are_known_as_far_as_it_was_scanned(folder: Path, small_windows: None):
    with pages_of(folder / "growing", b"12345\n" * 20) as pages:
        index = LineIndex(pages)
        assert index.rows == 1
        assert index.row_of_line(2) is None
        assert index.scan()
        assert index.rows == 1 + 32 // 6
        assert index.row_of_line(6) == 5
        assert index.row_of_line(7) is None
        assert not index.scan(stopped=lambda: True)
        assert index.scanned == CHUNK


def test_a_file_that_grows_and_one_that_shrinks(folder: Path, small_windows: None):
    path = folder / "log"
    with pages_of(path, b"one\ntwo\n") as pages:
        index = LineIndex(pages)
        index.scan()
        assert (index.rows, index.complete) == (2, True)
        with path.open("ab") as file:
            file.write(b"three\nfour")
        pages.measure()
        assert not index.complete
        index.scan()
        assert index.rows == 4
        row = index.row(3)
        assert row is not None
        assert pages.stream(row.start, row.end - row.start) == b"four"
        os.truncate(path, 2)
        pages.measure()
        assert index.complete
        assert index.row(3) is None or pages.stream(8, 10) == b""


# ---------------------------------------------------------------------- pages
def test_pages_are_read_once_and_few_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(file_pages, "PAGE_BYTES", 16)
    monkeypatch.setattr(file_pages, "_KEPT_PAGES", 4)
    content = bytes(range(200))
    with pages_of(folder / "pages", content) as pages:
        assert pages.kept(0, 10) is None
        assert pages.read(10, 30) == content[10:40]
        assert pages.kept(12, 20) == content[12:32]
        assert pages.read(190, 100) == content[190:]
        assert pages.read(500, 10) == b""
        pages.read(48, 64)
        assert pages.kept(10, 30) is None
        pages.close()
        assert pages.stream(0, 10) == b""


def test_holes_are_zeros_that_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    path = folder / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"needle")
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("this file system stores holes")
    with pages_of(path) as pages:
        reads: list[int] = []
        pread = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, length, offset: reads.append(length) or pread(fd, length, offset))
        assert pages.stream(0, 1 << 20) == bytes(1 << 20)
        assert reads == []
        assert find_bytes(pages, parse_needle("needle"), (1 << 39) - (1 << 24)) == 1 << 39
        assert sum(reads) <= 3 << 20


# ---------------------------------------------------------------------- search
@given(CONTENTS, st.sampled_from(["ab", "aba", "x\\n", "\\n\\n", "0"]), st.integers(0, 500))
@settings(max_examples=200, deadline=None)
def check_search(folder: Path, content: bytes, text: str, start: int) -> None:
    with pages_of(folder / "search", content) as pages:
        needle = parse_needle(text)
        wanted = text.replace("\\n", "\n").encode()
        start = min(start, len(content))
        forwards = content.find(wanted, start)
        before = [place for place in range(start) if content.startswith(wanted, place)]
        assert find_bytes(pages, needle, start) == (None if forwards < 0 else forwards)
        assert find_bytes(pages, needle, start, backwards=True) == (before[-1] if before else None)


def test_search_finds_what_find_finds(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("layerscope.services.file.search._CHUNK", 16)
    check_search(folder)


def test_what_may_be_looked_for(folder: Path):
    with pages_of(folder / "needles", b"\x7fELF Caf\xc3\xa9 back\\slash") as pages:
        assert find_bytes(pages, parse_needle("\\x7fE"), 0) == 0
        assert find_bytes(pages, parse_needle("elf"), 0) == 1
        assert find_bytes(pages, parse_needle("Elf"), 0) is None
        assert find_bytes(pages, parse_needle("é"), 0) == 8
        assert find_bytes(pages, parse_needle("\\\\"), 0) == 15
        with pytest.raises(UsageError, match="0 bytes"):
            parse_needle("")
        with pytest.raises(UsageError, match="1 to 1024"):
            parse_needle("x" * 2000)
        with pytest.raises(Cancelled):
            find_bytes(pages, parse_needle("x"), 0, stopped=lambda: True)
