"""Headers in brief say what Python's own tar reader says."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import posixpath
import subprocess
import tarfile
from pathlib import Path

import pytest

from layerscope.formats.tar.brief_header import BriefHeader, brief_headers
from layerscope.formats.tar.split import read_entries
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.formats.tar.stream import TarStream

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
    compare(gzip.decompress(vector.read_bytes()))


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_headers_of_gnu_tar(tmp_path: Path, form: str) -> None:
    top = tmp_path / "top"
    long_names = [] if form == "v7" else ["deep/er/" + "long" * 20, "deep/" + "n" * 95]
    for name in ("plain", "deep/er/file", "späße", *long_names):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (top / "link").symlink_to("deep/er")
    os.link(top / "plain", top / "second")
    words = ["tar", f"--format={form}", "-cf", "-", "-C", str(top), "."]
    assert compare(subprocess.run(words, check=True, capture_output=True).stdout) == 8 + len(long_names)


@pytest.mark.parametrize("place", [345, 357])
def test_times_of_gnu_tar_are_no_front_of_a_name(place: int) -> None:
    """Incremental archives keep the times of access and change where other forms have the front of a long name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("file"))
    block = bytearray(out.getvalue()[:512])
    block[place : place + 12] = b"14733325346\0"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    archive = bytes(block) + bytes(1024)
    named = subprocess.run(["tar", "-tf", "-"], input=archive, check=True, capture_output=True).stdout.decode()
    assert [header.path for header in in_brief(archive)[0]] == named.split() == ["file"]


def compare(tar: bytes) -> int:
    """The headers in brief against Python's reader; how many there are."""
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
    return len(found)


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
