"""Header blocks as Go writes them: against headers that docker wrote, and against a real tar reader."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layerscope.formats.tar.go_header import END, Member, header_blocks, pax_record, split_name
from layerscope.formats.tar.header import parse_headers
from layerscope.formats.tar.split import FileEntry, Segment, read_entries

DATA = Path(__file__).parents[1] / "data"


def headers_of_docker(sample: str) -> list[bytes]:
    """The header blocks of each entry that a commit of that sample's engine wrote, extension headers included."""
    found = []
    with tarfile.open(DATA / sample / "root.tar.gz") as root:
        for member in root:
            if not member.name.endswith("/tar-split.json.gz"):
                continue
            file = root.extractfile(member)
            assert file is not None
            padding = 0
            raw = b""
            for entry in read_entries(io.BytesIO(file.read())):
                if isinstance(entry, Segment):
                    raw = entry.payload
                elif isinstance(entry, FileEntry):
                    found.append(raw[padding:])
                    padding = -entry.size % 512
    return found


def test_headers_of_dockers_commits_come_out_of_their_values() -> None:
    """Of a layer that came by load or import the bytes are another program's; a commit's have type bits in the mode."""
    compared = 0
    for blocks in headers_of_docker("overlay2"):
        header = parse_headers(blocks)
        if not header.mode & 0o170000 or blocks[257:265] != b"ustar\00000":
            continue
        member = Member(
            name=header.name.encode("utf-8", "surrogateescape"),
            type=header.type.encode(),
            mode=header.mode,
            uid=header.uid,
            gid=header.gid,
            size=header.size,
            mtime=header.mtime_ns // 10**9,
            linkname=header.linkname.encode("utf-8", "surrogateescape"),
            uname=header.uname.encode(),
            gname=header.gname.encode(),
            devmajor=header.devmajor,
            devminor=header.devminor,
            xattrs={key.encode(): value for key, value in header.xattrs.items()},
        )
        assert header_blocks(member) == blocks, header.name
        compared += 1
    assert compared > 30


# No NUL and no empty part: such a path is no file's. Long ones at the borders of the fields.
COMPONENT = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"a" * n for n in (50, 54, 99, 100, 101, 154, 155, 156, 200, 255)]),
    st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
).map(lambda part: part.replace(b"\0", b"0").replace(b"/", b"1").replace(b".", b"2"))
PATH = st.lists(COMPONENT, min_size=1, max_size=8).map(b"/".join)
ID = st.one_of(st.integers(0, 2**32 - 2), st.sampled_from([2097151, 2097152]))


@settings(deadline=None, max_examples=300)
@given(
    name=PATH,
    directory=st.booleans(),
    linkname=st.one_of(st.just(b""), PATH),
    uid=ID,
    gid=ID,
    mtime=st.one_of(st.integers(-(2**40), 2**40), st.sampled_from([8589934591, 8589934592, -1])),
    size=st.one_of(st.integers(0, 2**40), st.sampled_from([8589934591, 8589934592])),
    owner=st.one_of(st.just(b""), COMPONENT),
    capability=st.one_of(st.none(), st.binary(min_size=1, max_size=24)),
)
@example(b"a" * 155 + b"/" + b"b" * 100, False, b"", 0, 0, 0, 0, b"", None)
@example(b"a" * 156 + b"/" + b"b" * 99, False, b"", 0, 0, 0, 0, b"", None)
@example(b"a" * 99, True, b"", 0, 0, 0, 0, b"", b"=\n\0")
@example("\u00fc".encode() * 60, True, b"", 2**21, 0, -1, 0, b"", None)
def test_a_real_reader_finds_every_value(
    name: bytes,
    directory: bool,
    linkname: bytes,
    uid: int,
    gid: int,
    mtime: int,
    size: int,
    owner: bytes,
    capability: bytes | None,
) -> None:
    kind = b"5" if directory else b"2" if linkname else b"0"
    stored = size if kind == b"0" else 0
    xattrs = {} if capability is None else {b"security.capability": capability}
    member = Member(
        name + b"/" * directory, kind, 0o4755, uid, gid, stored, mtime, linkname, owner, owner[::-1], 0, 0, xattrs
    )
    blocks = header_blocks(member)
    assert len(blocks) % 512 == 0
    # One at the end of what is there: its content isn't needed to read the header.
    with tarfile.open(fileobj=io.BytesIO(blocks + END), encoding="utf-8", errors="surrogateescape") as tar:
        read = tar.next()
    assert read is not None
    assert read.name.encode("utf-8", "surrogateescape") == name
    assert read.linkname.encode("utf-8", "surrogateescape") == linkname
    assert (read.type, read.mode, read.uid, read.gid, read.size) == (kind, 0o4755, uid, gid, stored)
    assert read.mtime == mtime
    assert read.uname.encode("utf-8", "surrogateescape") == owner
    found = read.pax_headers.get("SCHILY.xattr.security.capability")
    assert (None if found is None else found.encode("utf-8", "surrogateescape")) == capability
    plain = all(text.isascii() for text in (name, linkname, owner)) and max(uid, gid) < 2**21 and 0 <= mtime < 2**33
    fits = len(linkname) <= 100 and len(owner) <= 32 and stored < 2**33 and capability is None
    short = len(member.name) <= 100 or split_name(member.name) is not None
    assert (len(blocks) == 512) is (plain and fits and short)


@given(st.binary(min_size=1, max_size=30), st.binary(max_size=1200))
def test_the_length_of_a_record_counts_itself(key: bytes, value: bytes) -> None:
    record = pax_record(key, value)
    assert int(record.partition(b" ")[0]) == len(record)
    assert record.endswith(b" %s=%s\n" % (key, value))


@pytest.mark.parametrize("rest", range(1, 130))
def test_every_short_record_has_its_length(rest: int) -> None:
    record = pax_record(b"k", b"v" * rest)
    assert int(record.partition(b" ")[0]) == len(record)
