"""Rows of trees that no kernel would show: damaged, hostile, and marks that are attributes."""

from __future__ import annotations

import io
import os
import stat as modes
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pytest
import scan_facts

from layerscope.analysis import sorted_names
from layerscope.analysis.scan.rows import ScanTally, layer_rows
from layerscope.formats.scan.file import LONGEST_PATH
from layerscope.formats.scan.writer import ScanWriter
from layerscope.formats.whiteout import TRUSTED, UNMARKED
from layerscope.hostfs import Directory
from layerscope.model.scan import ROOT, Mark, ScanEnd, ScanRow, ScanSubject, ScanTree
from layerscope.model.stat import made_stat
from layerscope.model.tree import Kind, LayerDirectory

SUBJECT = ScanSubject("container-rw", "web")


class Strange:
    """A directory as a damaged file system may show it: the same at any depth."""

    def __init__(self, names: dict[str, os.stat_result]) -> None:
        self._names = names

    def scan(self) -> list[tuple[str, Kind]]:
        return [(name, "f") for name in self._names] * 2

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        return [self._names[name] for name in names]

    def stat(self, name: str) -> os.stat_result:
        return self._names[name]

    def stat_self(self) -> os.stat_result:
        return made_stat(0o40755)

    def enter(self, name: str) -> Strange:
        return self

    def open(self, name: str) -> BinaryIO:
        raise AssertionError("a scan reads no file")

    def readlink(self, name: str) -> str:
        return "x" * 100_000

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        return {}

    def xattr_names(self, name: str = "") -> frozenset[str]:
        return frozenset()

    def xattr(self, key: str, name: str = "") -> bytes | None:
        return None


def rows_of(top: LayerDirectory, tally: ScanTally) -> list[ScanRow]:
    return list(layer_rows(top, "place", UNMARKED, SUBJECT, tally))


def read_back(rows: list[ScanRow]) -> list[ScanRow]:
    out = io.BytesIO()
    writer = ScanWriter(out.write)
    writer.begin(scan_facts.HEADER, ())
    writer.tree(ScanTree(ROOT, ""), rows)
    writer.finish(ScanEnd(1, len(rows), 0, 0))
    return next(iter(scan_facts.read(out.getvalue()).trees.values()))[1]


def test_numbers_and_names_that_cant_be_are_kept_out() -> None:
    """What is written can be read again, whatever a damaged file system says."""
    strange = Strange(
        {
            "b": made_stat(0o100644, uid=-5, gid=1 << 70, size=-1, mtime_ns=1 << 64, links=1 << 65),
            "a": made_stat(0o100644, size=1 << 63, mtime_ns=-(1 << 80)),
            "link": made_stat(modes.S_IFLNK | 0o777),
            "": made_stat(0o100644),
            "a/b": made_stat(0o100644),
            "..": made_stat(0o40755),
            "nul\0": made_stat(0o100644),
        }
    )
    rows = rows_of(strange, ScanTally())
    assert read_back(rows) == rows
    assert [row.name for row in rows] == [b"", b"a", b"b", b"link"]
    assert rows[1].size == (1 << 63) - 1
    assert (rows[2].uid, rows[2].gid, rows[2].size) == (0, (1 << 63) - 1, 0)
    assert len(rows[3].target) == LONGEST_PATH


def test_a_tree_without_end_is_left() -> None:
    strange = Strange({"d" * 255: made_stat(0o40755)})
    tally = ScanTally()
    rows = rows_of(strange, tally)
    assert len(rows) < 300
    assert max(len(row.path) for row in rows) <= LONGEST_PATH
    assert read_back(rows) == rows
    assert tally.unreadable == 1
    assert [problem.what for problem in tally.problems()] == ["can't be listed: File name too long"]


def test_many_unreadable_directories_are_counted() -> None:
    tally = ScanTally()
    for number in range(50):
        tally.closed(str(number), PermissionError(13, "Permission denied"))
    told = tally.problems()
    assert len(told) == 21
    assert told[0].hint == "run as root"
    assert told[-1].what == "30 more directories can't be listed"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="trusted.* attributes need root")
def test_whiteouts_that_are_attributes(tmp_path: Path) -> None:
    """As the kernel has them: only in a directory that announces them by the value x of its opaque mark."""
    for folder, value in (("announced", b"x"), ("opaque", b"y"), ("plain", b"")):
        (tmp_path / folder).mkdir()
        if value:
            os.setxattr(tmp_path / folder, "trusted.overlay.opaque", value)
        for name in ("empty", "full", "other"):
            (tmp_path / folder / name).write_text("x" if name == "full" else "")
            if name != "other":
                os.setxattr(tmp_path / folder / name, "trusted.overlay.whiteout", b"y")
    os.mknod(tmp_path / "plain/device", modes.S_IFCHR, os.makedev(0, 0))
    top = Directory.open_root(tmp_path)
    rows = list(layer_rows(top, "", TRUSTED, SUBJECT, ScanTally()))
    top.close()
    marked = {row.path: row.mark for row in rows if row.mark != Mark.PLAIN}
    assert marked == {
        b"announced/empty": Mark.WHITEOUT,
        b"opaque": Mark.OPAQUE,
        b"plain/device": Mark.WHITEOUT,
    }
    assert {row.path for row in rows} == set(scan_facts.found(tmp_path))


def test_more_names_than_are_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come sorted by their bytes, each once."""
    monkeypatch.setattr(sorted_names, "_IN_MEMORY", 700)
    names = [f"{number * 2_654_435_761 % (1 << 32):08x}".encode() + b"\xff" for number in range(3000)]
    fd = os.open(tmp_path, os.O_RDONLY)
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    top = Directory.open_root(tmp_path)
    rows = list(layer_rows(top, "", UNMARKED, SUBJECT, ScanTally()))
    top.close()
    assert [row.name for row in rows] == [b"", *sorted(names)]
    strange = Strange({name.decode("latin-1"): made_stat(0o100644) for name in names})
    assert len(rows_of(strange, ScanTally())) == 3001
