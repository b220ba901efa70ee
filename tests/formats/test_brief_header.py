"""Headers in brief say what Python's own tar reader says."""

from __future__ import annotations

import base64
import gzip
import io
import json
import posixpath
import tarfile
from pathlib import Path

import pytest

from layerscope.formats.brief_header import BriefHeader, brief_headers
from layerscope.formats.tarsplit import read_entries
from layerscope.formats.tarsplit_writer import TarSplitWriter
from layerscope.formats.tarstream import TarStream

VECTORS = sorted((Path(__file__).parents[1] / "data/layer-tar").glob("*.tar.gz"))


def in_brief(tar: bytes) -> tuple[list[BriefHeader], list[tuple[str, str]]]:
    """The headers by way of a tar-split record, and what was said to be damaged."""
    record = io.BytesIO()
    for _ in TarStream(io.BytesIO(tar), TarSplitWriter(record, empty_last_segment=True)):
        pass
    record.seek(0)
    damaged: list[tuple[str, str]] = []
    return list(brief_headers(read_entries(record), lambda name, why: damaged.append((name, why)))), damaged


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_a_brief_header_is_what_tarfile_reads(vector: Path) -> None:
    tar = gzip.decompress(vector.read_bytes())
    found, damaged = in_brief(tar)
    assert damaged == []
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as witness:
        members = witness.getmembers()
    assert len(found) == len(members)
    for header, member in zip(found, members, strict=True):
        assert header.path == posixpath.normpath("/" + member.name)[1:]
        assert header.type == (member.type.decode() if member.type != b"\0" else "0")
        assert (header.mode, header.uid, header.gid) == (member.mode & 0o7777, member.uid, member.gid)
        assert abs(header.mtime_ns - member.mtime * 1e9) < 1e4  # the witness keeps a float
        assert header.linkname == member.linkname
        assert header.size == (member.size if member.isreg() else 0)
        if member.isdev() and not member.isfifo():
            assert (header.devmajor, header.devminor) == (member.devmajor, member.devminor)
        attributes = {key for key in member.pax_headers if key.startswith("SCHILY.xattr.")}
        assert {f"SCHILY.xattr.{key}" for key in header.xattrs} == attributes


def test_a_damaged_header_costs_its_own_entry() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("one", "two", "three"):
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"12345"))
    record = io.BytesIO()
    for _ in TarStream(io.BytesIO(out.getvalue()), TarSplitWriter(record, empty_last_segment=True)):
        pass
    lines = gzip.decompress(record.getvalue()).splitlines(keepends=True)
    entry = json.loads(lines[2])
    raw = bytearray(base64.b64decode(entry["payload"]))
    place = raw.find(b"two\0")
    raw[place + 124 : place + 136] = b"not a number"
    entry["payload"] = base64.b64encode(raw).decode()
    lines[2] = json.dumps(entry).encode() + b"\n"
    damaged: list[str] = []
    stream = io.BytesIO(gzip.compress(b"".join(lines)))
    found = list(brief_headers(read_entries(stream), lambda name, why: damaged.append(name)))
    assert [header.path for header in found] == ["one", "three"]
    assert damaged == ["two"]
