"""Scans read back, and what find(1) says of the same trees."""

from __future__ import annotations

import io
import os
import stat as modes
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from layerscope import open_root
from layerscope.formats.scan.reader import ScanReader
from layerscope.formats.scan.writer import ScanWriter
from layerscope.model.scan import ScanEnd, ScanEntry, ScanHeader, ScanRow, ScanSubject, ScanSummary, ScanTree
from layerscope.services.scan.root import scan

HEADER = ScanHeader(
    "web-1", "/var/lib/d\udcffcker", 1_704_164_645_000_000_001, "docker", "overlay2", ("overlay2",), "", 99, "1"
)
_FIND = ("%P", "%y", "%m", "%U", "%G", "%s", "%b", "%T@", "%n", "%l")
_BLOCK = 512
_LETTERS = {
    modes.S_IFREG: "f",
    modes.S_IFDIR: "d",
    modes.S_IFLNK: "l",
    modes.S_IFCHR: "c",
    modes.S_IFBLK: "b",
    modes.S_IFIFO: "p",
    modes.S_IFSOCK: "s",
}


@dataclass(frozen=True)
class Scanned:
    """A whole scan, in memory."""

    header: ScanHeader
    entries: list[ScanEntry]
    trees: dict[str, tuple[ScanTree, list[ScanRow]]]
    end: ScanEnd

    def rows(self) -> list[tuple[ScanTree, ScanRow]]:
        return [(tree, row) for tree, rows in self.trees.values() for row in rows]

    def facts(self) -> dict[bytes, tuple[object, ...]]:
        """By path below the root: what :func:`found` tells."""
        told = {}
        for tree, row in self.rows():
            path = b"/".join(part for part in (os.fsencode(tree.path), row.path) if part)
            assert path not in told, f"{path!r} is there twice"
            told[path] = (
                _LETTERS[modes.S_IFMT(row.mode)],
                modes.S_IMODE(row.mode),
                row.uid,
                row.gid,
                row.size,
                row.disk if row.links == 1 or modes.S_ISDIR(row.mode) else None,
                row.mtime_ns,
                row.links,
                row.target,
            )
        return told


def many_rows(count: int) -> Iterator[ScanRow]:
    """Rows of a tree with long names, a hundred in each directory."""
    subject = ScanSubject("volume", "data")
    for folder in range(count // 100):
        for name in range(100):
            names = (b"%06d" % folder, b"%03d" % name + b"n" * 200)
            yield ScanRow(*names, subject, 0o100644, 0, 0, 10, 4096, 123, 1, 0, 0, b"t" * 300)


def read(data: bytes) -> Scanned:
    """A scan file, read through."""
    reader = ScanReader(io.BytesIO(data), "test")
    entries = list(reader.entries())
    trees = {tree.kind + ":" + tree.id: (tree, list(rows)) for tree, rows in reader.trees()}
    assert reader.end is not None
    return Scanned(reader.header, entries, trees, reader.end)


def scan_of(root: Path | str) -> tuple[bytes, ScanSummary]:
    """The scan file of a root."""
    out = io.BytesIO()
    with open_root(root) as session:
        summary = scan(session, ScanWriter(out.write), host="here")
    return out.getvalue(), summary


def scanned(root: Path | str) -> Scanned:
    return read(scan_of(root)[0])


def found(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What find(1) says of everything below a directory and in its file system, by path; no blocks of linked files."""
    form = "".join(f"{one}\\0" for one in _FIND)
    told = subprocess.run(["find", str(root), "-xdev", "-printf", form], capture_output=True, check=True).stdout
    fields = told.split(b"\0")[:-1]
    facts = {}
    for start in range(0, len(fields), len(_FIND)):
        path, kind, mode, uid, gid, size, blocks, moment, links, target = fields[start : start + len(_FIND)]
        seconds, _, digits = moment.partition(b".")
        nanoseconds = int(seconds) * 10**9 + int(digits[:9].ljust(9, b"0"))
        once = links == b"1" or kind == b"d"
        facts[path] = (
            kind.decode(),
            int(mode, 8),
            int(uid),
            int(gid),
            int(size),
            int(blocks) * _BLOCK if once else None,
            nanoseconds,
            int(links),
            target,
        )
    return facts
