"""tar-split against docker's own save, Python's tarfile, and damaged and hostile files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import CorruptError
from layerscope.formats.tar import split as tarsplit
from layerscope.formats.tar.split import FileEntry, Segment, TarHeader, headers, read_entries, reassemble

DATA = Path(__file__).parents[1] / "data"
TRUTHS = ["overlay2/truth", "overlay2/truth-26.1", "overlay2-buildkit/truth"]


@dataclass(frozen=True)
class StoredLayer:
    """A layer as a sample root keeps it."""

    diff_id: str
    tar_split: bytes
    files: dict[str, bytes]

    def open(self, name: str, size: int) -> BinaryIO:
        return io.BytesIO(self.files[name.removeprefix("./")])


@cache
def layers(sample: str) -> dict[str, StoredLayer]:
    """Every layer of a sample root by its diff ID, read from the archive."""
    found = {}
    with tarfile.open(DATA / sample / "root.tar.gz") as root:
        content = {}
        for member in root:
            file = root.extractfile(member) if member.isreg() or member.islnk() else None
            if file is not None:
                content[member.name.removeprefix("./")] = file.read()
    for name, tar_split in content.items():
        if name.endswith("/tar-split.json.gz"):
            record = name.removesuffix("/tar-split.json.gz")
            top = f"overlay2/{content[f'{record}/cache-id'].decode()}/diff/"
            files = {path.removeprefix(top): data for path, data in content.items() if path.startswith(top)}
            diff_id = content[f"{record}/diff"].decode()
            found[diff_id] = StoredLayer(diff_id, tar_split, files)
    return found


def saved_layers(truth: str) -> dict[str, dict[str, Any]]:
    images = json.loads((DATA / truth / "save-layers.json").read_text())
    return {layer["diff_id"]: layer for image in images.values() for layer in image["layers"]}


def pack(lines: list[dict[str, Any]]) -> bytes:
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return gzip.compress(text, 1)


def segment(payload: bytes) -> dict[str, Any]:
    return {"type": 2, "payload": base64.b64encode(payload).decode()}


def split(tar: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The tar-split of a tar, and its contents by name: cut where tarfile says that contents lie."""
    lines: list[dict[str, Any]] = []
    contents = {}
    end = 0
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
        for member in archive:
            lines.append(segment(tar[end : member.offset_data]))
            size = member.size if member.isreg() else 0
            end = member.offset_data + size
            raw = (member.name + "/" * member.isdir()).encode("utf-8", "surrogateescape")
            line: dict[str, Any] = {"type": 1, "size": size, "payload": None}
            try:
                line["name"] = raw.decode()
            except UnicodeDecodeError:
                line["name_raw"] = base64.b64encode(raw).decode()
            lines.append(line)
            contents[raw.decode("utf-8", "surrogateescape")] = tar[end - size : end]
    lines.append(segment(tar[end:]))
    return pack(lines), contents


def as_tarfile_shows(header: TarHeader, encoding: str) -> dict[str, Any]:
    """A header in the form of tarfile and of the truth files: no final slash, times cut to seconds, records as text."""
    return {
        "name": header.name.rstrip("/"),
        "type": header.type,
        "mode": oct(header.mode),
        "uid": header.uid,
        "gid": header.gid,
        "size": header.size,
        "mtime": header.mtime_ns // 1_000_000_000,
        "link": header.linkname,
        "pax": {key: value.decode(encoding, "surrogateescape") for key, value in header.pax.items()},
    }


@pytest.mark.parametrize("truth", TRUTHS)
def test_headers_are_the_entries_of_dockers_own_save(truth: str) -> None:
    stored = layers(truth.partition("/")[0])
    saved = saved_layers(truth)
    assert len(saved) >= 4
    for diff_id, layer in saved.items():
        # In these files each byte of a record is one character.
        found = [as_tarfile_shows(header, "latin-1") for header in headers(io.BytesIO(stored[diff_id].tar_split))]
        expected = [{key: value for key, value in entry.items() if key != "sha256"} for entry in layer["entries"]]
        assert found == expected


@pytest.mark.parametrize("truth", TRUTHS)
def test_contents_are_those_of_dockers_own_save(truth: str) -> None:
    stored = layers(truth.partition("/")[0])
    for diff_id, layer in saved_layers(truth).items():
        hashes = [
            hashlib.sha256(stored[diff_id].open(entry.name, entry.size).read()).hexdigest()
            for entry in read_entries(io.BytesIO(stored[diff_id].tar_split))
            if isinstance(entry, FileEntry) and entry.size
        ]
        assert hashes == [entry["sha256"] for entry in layer["entries"] if entry["type"] == "0" and entry["size"]]


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit"])
def test_each_layer_is_put_together_to_its_diff_id(sample: str) -> None:
    stored = layers(sample)
    assert len(stored) == {"overlay2": 5, "overlay2-buildkit": 8}[sample]
    for diff_id, layer in stored.items():
        tar = b"".join(reassemble(io.BytesIO(layer.tar_split), layer.open))
        assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id


@pytest.mark.parametrize("truth", TRUTHS)
def test_put_together_layers_have_the_length_of_dockers_own_save(truth: str) -> None:
    stored = layers(truth.partition("/")[0])
    for diff_id, layer in saved_layers(truth).items():
        pieces = reassemble(io.BytesIO(stored[diff_id].tar_split), stored[diff_id].open)
        assert sum(map(len, pieces)) == layer["bytes"]


def test_xattrs_are_taken_from_the_records() -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    base = next(layer for layer in layers("overlay2").values() if "bin/tlcap" in layer.files)
    found = {header.path: header.xattrs for header in headers(io.BytesIO(base.tar_split)) if header.xattrs}
    assert found == {"bin/tlcap": {"security.capability": capability}}


def odd_members() -> Iterator[tarfile.TarInfo]:
    def member(name: str, type_: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type = type_
        info.mtime = 1_700_000_000
        for key, value in fields.items():
            setattr(info, key, value)
        return info

    yield member("plain", size=5)
    yield member("./dotted", size=512)
    yield member("empty", mode=0o4755)
    yield member("dir", tarfile.DIRTYPE, mode=0o1777)
    yield member("a" * 90 + "/" + "b" * 90, size=513)
    yield member("c" * 120 + "/" + "d" * 140, size=1)
    yield member("long-dir/" + "e" * 200, tarfile.DIRTYPE)
    yield member("lang/\u00fcml\u00e4ut \u2713 \U0001f40b", size=7)
    yield member("raw/\udcff\udc80name", size=9)
    yield member("new\nline and \u2028", size=2)
    yield member("soft", tarfile.SYMTYPE, linkname="f" * 300)
    yield member("hard", tarfile.LNKTYPE, linkname="plain")
    yield member("char", tarfile.CHRTYPE, devmajor=5, devminor=1)
    yield member("block", tarfile.BLKTYPE, devmajor=4095, devminor=1_048_575)
    yield member("fifo", tarfile.FIFOTYPE, mode=0)
    yield member("ids", uid=3_000_000, gid=4_294_967_294, uname="somebody", gname="\u00fcsers")
    yield member("owners", uname="u" * 40, gname="root")
    yield member("year 2300", mtime=10_413_792_000)
    yield member("year 1950", mtime=-631_152_000)
    yield member("last", size=1000)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_headers_of_both_kinds_of_tar_are_what_tarfile_reads(form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as archive:
        for member in odd_members():
            if form == tarfile.PAX_FORMAT and member.name == "plain":
                member.pax_headers = {"SCHILY.xattr.user.note": "a=b\n\0c", "mtime": "1700000000.123456789"}
            archive.addfile(member, io.BytesIO(os.urandom(member.size)))
    tar = buffer.getvalue()
    tar_split, contents = split(tar)
    found = list(headers(io.BytesIO(tar_split)))
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
        expected = archive.getmembers()
    assert [header.name.rstrip("/") for header in found] == [member.name for member in expected]
    for header, member in zip(found, expected, strict=True):
        shown = as_tarfile_shows(header, "utf-8")
        assert shown == {
            "name": member.name,
            "type": member.type.decode(),
            "mode": oct(member.mode),
            "uid": member.uid,
            "gid": member.gid,
            "size": member.size,
            "mtime": int(member.mtime),
            "link": member.linkname,
            "pax": member.pax_headers,
        }
        assert (header.uname, header.gname) == (member.uname, member.gname)
        assert (header.devmajor, header.devminor) == (member.devmajor, member.devminor)
    if form == tarfile.PAX_FORMAT:
        assert found[0].xattrs == {"user.note": b"a=b\n\0c"}
        assert found[0].mtime_ns == 1_700_000_000_123_456_789
    rebuilt = reassemble(io.BytesIO(tar_split), lambda name, size: io.BytesIO(contents[name]))
    assert b"".join(rebuilt) == tar


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200),
            st.binary(max_size=1500),
            st.integers(min_value=0, max_value=1 << 33),
        ),
        max_size=6,
    ),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_any_tar_is_split_and_put_together_again(entries: list[tuple[str, bytes, int]], form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for number, (name, content, uid) in enumerate(entries):
            info = tarfile.TarInfo(f"{number}{name.rstrip('/')}.")
            info.size, info.uid = len(content), uid
            archive.addfile(info, io.BytesIO(content))
    tar_split, contents = split(buffer.getvalue())
    found = [(header.name, header.size, header.uid) for header in headers(io.BytesIO(tar_split))]
    assert found == [(f"{n}{name.rstrip('/')}.", len(data), uid) for n, (name, data, uid) in enumerate(entries)]
    rebuilt = reassemble(io.BytesIO(tar_split), lambda name, size: io.BytesIO(contents[name]))
    assert b"".join(rebuilt) == buffer.getvalue()


def block(name: str, type_: bytes = b"0", size: int = 0, **fields: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = type_, size
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.USTAR_FORMAT)


def resummed(header: bytes) -> bytes:
    total = sum(header[:148]) + sum(header[156:512]) + 256
    return header[:148] + b"%06o\0 " % total + header[156:]


def one_entry(header: bytes, name: str = "x", size: int = 0) -> bytes:
    return pack([segment(header), {"type": 1, "name": name, "size": size, "payload": None}, segment(bytes(1024))])


def only(tar_split: bytes) -> TarHeader:
    (header,) = headers(io.BytesIO(tar_split))
    return header


def test_a_global_header_is_an_entry_of_its_own_and_is_passed_over() -> None:
    records = b"20 comment=anything\n"
    packed = pack(
        [
            segment(block("pax_global_header", b"g", len(records)) + records),
            {"type": 1, "name": "pax_global_header", "payload": None},
            segment(bytes(512 - len(records)) + block("file", size=3)),
            {"type": 1, "name": "file", "size": 3, "payload": "AAAAAAAAAAA="},
            segment(bytes(509 + 1024)),
        ]
    )
    header = only(packed)
    assert (header.name, header.size, dict(header.pax)) == ("file", 3, {})


def test_type_bits_in_the_mode_are_no_permissions() -> None:
    header = only(one_entry(resummed(block("a")[:100] + b"0104755\0" + block("a")[108:]), "a"))
    assert (oct(header.mode), oct(header.permissions)) == ("0o104755", "0o4755")


def test_an_old_header_with_a_slash_is_a_directory() -> None:
    old = block("dir/")
    assert only(one_entry(resummed(old[:156] + b"\0" + old[157:257] + bytes(255)))).type == "5"
    assert only(one_entry(resummed(old[:156] + b"\0" + b"\0" * 355))).uname == ""


def test_times_in_a_gnu_header_are_no_prefix() -> None:
    gnu = block("name")[:257] + b"ustar  \0" + bytes(80) + b"14524770000\0" * 2 + bytes(143)
    assert only(one_entry(resummed(gnu))).name == "name"
    go_1_7 = block("name")[:257] + b"ustar  \0" + bytes(80) + b"some/long/prefix".ljust(155, b"\0") + bytes(12)
    assert only(one_entry(resummed(go_1_7))).name == "some/long/prefix/name"


def test_a_sparse_file_has_its_full_length_and_its_own_name() -> None:
    def record(key: str, value: str) -> bytes:
        body = f" {key}={value}\n".encode()
        length = next(n for n in range(len(body), len(body) + 6) if n == len(body) + len(str(n)))
        return str(length).encode() + body

    records = b"".join(
        record(f"GNU.sparse.{key}", value)
        for key, value in [("major", "1"), ("minor", "0"), ("name", "holes"), ("realsize", "100000")]
    )
    extension = block("x", b"x", len(records)) + records + bytes(-len(records) % 512)
    packed = pack(
        [
            segment(extension + block("GNUSparseFile.0/holes", size=700)),
            {"type": 1, "name": "holes", "size": 100_000, "payload": "AAAAAAAAAAA="},
            segment(bytes(-700 % 512) + block("next")),
            {"type": 1, "name": "next", "payload": None},
        ]
    )
    found = list(headers(io.BytesIO(packed)))
    assert [(header.name, header.size, header.stored_size) for header in found] == [
        ("holes", 100_000, 700),
        ("next", 0, 0),
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./", ""),
        ("./a/b/", "a/b"),
        ("/abs", "abs"),
        ("//abs", "abs"),
        ("../../etc/passwd", "etc/passwd"),
        ("a/../../../b", "b"),
        ("a/./b//c", "a/b/c"),
    ],
)
def test_a_path_never_leaves_the_layer(name: str, path: str) -> None:
    assert only(one_entry(block(name), name)).path == path


def test_bytes_behind_the_end_of_the_tar_may_be_anything() -> None:
    packed = pack(
        [segment(block("a")), {"type": 1, "name": "a", "payload": None}, segment(bytes(1024)), segment(b"junk" * 99)]
    )
    assert [header.name for header in headers(io.BytesIO(packed))] == ["a"]
    assert b"".join(reassemble(io.BytesIO(packed), never_opened)).endswith(b"junk")


def never_opened(name: str, size: int) -> BinaryIO:
    raise AssertionError(f"{name} has no content")


def test_gzip_may_come_in_members() -> None:
    text = gzip.decompress(one_entry(block("a"), "a"))
    packed = b"".join(gzip.compress(text[start : start + 100]) for start in range(0, len(text), 100))
    assert only(packed).name == "a"


def test_the_last_line_needs_no_newline() -> None:
    packed = gzip.compress(gzip.decompress(one_entry(block("a"), "a")).rstrip(b"\n"))
    assert list(read_entries(io.BytesIO(packed)))[-1] == Segment(bytes(1024))


LINES: dict[str, tuple[str, bytes]] = {
    "no JSON": ("line 2: JSON is malformed", b"nonsense"),
    "empty line": ("line 2: Input data was truncated", b""),
    "cut": ("line 2: Input data was truncated", b'{"type":1,"na'),
    "a list": ("line 2: Expected `object`, got `array`", b"[]"),
    "no type": ("line 2: Object missing required field `type`", b'{"name":"a"}'),
    "unknown type": ("line 2: type 3, expected 1 (file) or 2 (segment)", b'{"type":3}'),
    "negative size": ("line 2: Expected `int` >= 0", b'{"type":1,"name":"a","size":-1}'),
    "huge size": ("line 2: Expected `int` <= 9223372036854775807", b'{"type":1,"name":"a","size":9223372036854775808}'),
    "very long number": ("line 2: Integer value out of range", b'{"type":1,"size":' + b"9" * 5000 + b"}"),
    "no base64": ("line 2: Invalid base64 encoded string", b'{"type":2,"payload":"*"}'),
    "name not UTF-8": ("line 2: 'utf-8' codec can't decode", b'{"type":1,"name":"\xff"}'),
    "half a surrogate": ("line 2: JSON is malformed", b'{"type":1,"name":"\\udc80x"}'),
    "NUL in a name": ("line 2: the name has a NUL inside of it", b'{"type":1,"name":"a\\u0000b"}'),
    "NUL in a raw name": ("line 2: the name has a NUL inside of it", b'{"type":1,"name_raw":"AP8="}'),
    "endless name": ("line 2: the name has 65537 characters", b'{"type":1,"name":"' + b"a" * 65537 + b'"}'),
    "short CRC": ("line 2: a CRC of 3 bytes, expected 8", b'{"type":1,"name":"a","size":1,"payload":"AAAA"}'),
    "nested": ("line 2: nested too deep", b'{"type":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_damaged_line_is_named(case: str) -> None:
    message, line = LINES[case]
    packed = gzip.compress(b'{"type":2,"payload":""}\n' + line + b"\n")
    entries = read_entries(io.BytesIO(packed))
    assert next(entries) == Segment(b"")
    with pytest.raises(CorruptError) as caught:
        next(entries)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def extension(type_: bytes, body: bytes, size: int | None = None) -> bytes:
    return block("ext", type_, len(body) if size is None else size) + body + bytes(-len(body) % 512)


HEADERS: dict[str, tuple[str, bytes]] = {
    "missing": ("0 bytes, expected 512", b""),
    "cut": ("511 bytes, expected 512", block("a")[:511]),
    "zeros": ("checksum 0, expected 256", bytes(512)),
    "wrong checksum": ("checksum", b"b" + block("a")[1:]),
    "size is no number": (
        "size is b'0000000000z\\x00'",
        resummed(block("a")[:124] + b"0000000000z\0" + block("a")[136:]),
    ),
    "mode has a nine": ("mode is b'9999999\\x00'", resummed(block("a")[:100] + b"9999999\0" + block("a")[108:])),
    "size below zero": ("size -1 is below zero", resummed(block("a")[:124] + b"\xff" * 12 + block("a")[136:])),
    "size beyond 64 bits": (
        "size doesn't fit 64 bits",
        resummed(block("a")[:124] + b"\xbf" * 12 + block("a")[136:]),
    ),
    "size unlike the entry's": ("size 0, but the header says 5", block("a", size=5)),
    "something behind": ("512 bytes follow it", block("a") + bytes(512)),
    "records cut": ("20 bytes follow, expected 1000", block("p", b"x", 1000) + b"20 comment=anything\n"),
    "records without end": ("0 bytes, expected 512", extension(b"x", b"20 comment=anything\n")),
    "negative records": (
        "0 bytes follow, expected -1",
        resummed(block("p", b"x")[:124] + b"\xff" * 12 + block("p")[136:156] + b"x" + block("p")[157:]) + block("a"),
    ),
    "record without length": ("PAX record at 0", extension(b"x", b"comment=anything\n") + block("a")),
    "record too short": ("PAX record at 0", extension(b"x", b"3 comment=anything\n") + block("a")),
    "record too long": ("PAX record at 0", extension(b"x", b"99 comment=anything\n") + block("a")),
    "record of many digits": ("PAX record at 0", extension(b"x", b"9" * 5000 + b" a=b\n") + block("a")),
    "record without key": ("PAX record at 0", extension(b"x", b"14 =anything1\n") + block("a")),
    "record without equals": ("PAX record at 0", extension(b"x", b"14 anything12\n") + block("a")),
    "uid is no number": ("PAX record uid: b'1x'", extension(b"x", b"9 uid=1x\n") + block("a")),
    "uid of many digits": ("PAX record uid", extension(b"x", b"108 uid=" + b"1" * 99 + b"\n") + block("a")),
    "mtime is no number": ("PAX record mtime: b'1.x'", extension(b"x", b"13 mtime=1.x\n") + block("a")),
    "NUL in the path": ("a NUL inside of a name", extension(b"x", b"12 path=a\0b\n") + block("a")),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_damaged_header_is_named(case: str) -> None:
    message, raw = HEADERS[case]
    with pytest.raises(CorruptError, match=r"^tar-split line 2") as caught:
        list(headers(io.BytesIO(one_entry(raw))))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: b"", "the gzip data ends after 0 bytes"),
        (lambda packed: packed[:-9], "the gzip data ends after"),
        (lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:], "damaged gzip data"),
        (lambda packed: b"PK" + packed[2:], "damaged gzip data in or after byte 0"),
        (lambda packed: packed + b"more", "damaged gzip data"),
        (lambda packed: packed + packed[:5], "the gzip data ends after"),
    ],
)
def test_damaged_gzip_is_told(damage: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(CorruptError, match=message):
        list(read_entries(io.BytesIO(damage(one_entry(block("a"), "a")))))


def test_a_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b'{"type":2,"payload":"' + bytes(64 << 20), 9)
    assert len(bomb) < 100_000
    with pytest.raises(CorruptError, match="a line of more than 33554432 bytes"):
        list(read_entries(io.BytesIO(bomb)))
    with pytest.raises(CorruptError, match="more than 1000000 bytes of text"):
        list(read_entries(io.BytesIO(bomb), max_bytes=1_000_000))
    many_lines = gzip.compress(b'{"type":2}\n' * 200_000, 9)
    with pytest.raises(CorruptError, match="more than 1000000 bytes of text"):
        list(headers(io.BytesIO(many_lines), max_bytes=1_000_000))
    monkeypatch.setattr(tarsplit, "MAX_HEADERS", 5000)
    raw = [segment(bytes(4000)), segment(bytes(4000)), {"type": 1, "name": "a"}]
    with pytest.raises(CorruptError, match="line 3: more than 5000 bytes of headers before one entry"):
        list(headers(io.BytesIO(pack(raw))))


@pytest.mark.parametrize(("content", "message"), [(b"1234", "4 bytes, expected 5"), (b"123456", "more, expected 5")])
def test_a_file_of_another_length_is_named(content: bytes, message: str) -> None:
    pieces = reassemble(io.BytesIO(one_entry(block("x", size=5), size=5)), lambda name, size: io.BytesIO(content))
    with pytest.raises(CorruptError, match=f"layer file 'x': {message}"):
        list(pieces)


def test_files_are_closed_and_their_errors_come_through() -> None:
    opened = []

    def open_file(name: str, size: int) -> BinaryIO:
        opened.append(io.BytesIO(bytes(size)))
        return opened[-1]

    packed = one_entry(block("x", size=5), size=5)
    assert len(b"".join(reassemble(io.BytesIO(packed), open_file))) == 512 + 5 + 1024
    assert [file.closed for file in opened] == [True]

    def missing(name: str, size: int) -> BinaryIO:
        raise FileNotFoundError(name)

    with pytest.raises(FileNotFoundError):
        list(reassemble(io.BytesIO(packed), missing))


def mutated(seed: int) -> bytes:
    """A real tar-split with a few bytes changed: of the gzip data, of the text, or of the headers in it."""
    chance = random.Random(seed)
    layer = sorted(layers("overlay2").values(), key=lambda layer: layer.diff_id)[seed % 5]
    if seed % 7 == 0:
        data = bytearray(layer.tar_split)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data[: chance.randint(len(data) // 2, len(data))])
    text = gzip.decompress(layer.tar_split)
    if seed % 7 == 1:
        changed = bytearray(text)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.choice(b'{}[]",:\\0123456789eaz-\n\0\xff')
        return gzip.compress(bytes(changed), 1)
    lines = [json.loads(line) for line in text.splitlines()]
    for _ in range(chance.randint(1, 4)):
        line = chance.choice(lines)
        if line["type"] == 1:
            line["size"] = chance.choice([0, 1, 511, 512, 513, 1 << 40, line.get("size", 0)])
        elif line["payload"]:
            raw = bytearray(base64.b64decode(line["payload"]))
            for _ in range(chance.randint(1, 3)):
                raw[chance.randrange(len(raw))] = chance.choice([0, 9, 32, 48, 55, 56, 61, 76, 103, 120, 128, 192, 255])
            if len(raw) >= 512 and chance.randrange(4):
                start = chance.randrange(len(raw) // 512) * 512 + len(raw) % 512
                raw[start : start + 512] = resummed(bytes(raw[start : start + 512]))
            line["payload"] = base64.b64encode(raw).decode()
    if chance.randrange(3) == 0:
        del lines[chance.randrange(len(lines))]
    return pack(lines)


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(1000, 11_000), marks=pytest.mark.full)], ids=len)
def test_damaged_files_raise_nothing_but_corrupt_error(seeds: range) -> None:
    refused = 0
    for seed in seeds:
        data = mutated(seed)
        started = time.monotonic()
        for read in (headers, lambda stream: reassemble(stream, lambda name, size: io.BytesIO(bytes(min(size, 4096))))):
            try:
                for _ in read(io.BytesIO(data)):
                    pass
            except CorruptError as error:
                assert "\n" not in str(error)
                refused += 1
        assert time.monotonic() - started < 2, seed
    assert len(seeds) // 4 < refused < 2 * len(seeds)
