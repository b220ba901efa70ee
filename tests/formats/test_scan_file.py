"""Scan files: what is written comes back, and whatever else is in a file is told, in bounded time and memory."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import time
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import scan_facts
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as some

from layerscope.errors import CorruptError, LayerscopeError, UnsupportedError, UsageError
from layerscope.formats.scan.reader import ScanReader
from layerscope.formats.scan.writer import ScanWriter
from layerscope.model.scan import LAYER, ROOT, ScanEnd, ScanEntry, ScanRow, ScanSubject, ScanTree

_START = 26
_SECONDS, _MEMORY = 5.0, 64 << 20

HEADER = scan_facts.HEADER
SUBJECT = ScanSubject("volume", "vol\udcfe")
ENTRIES = [
    ScanEntry(ScanSubject("container-rw", "web"), "overlay2/a", 4096, 5, 2, "because"),
    ScanEntry(ScanSubject("volume", "data"), "volumes/data", 1 << 40, 1 << 41, 7, ""),
]


def row(directory: bytes, name: bytes, subject: ScanSubject = SUBJECT, **facts: int | bytes) -> ScanRow:
    plain = ScanRow(directory, name, subject, 0o100644, 0, 0, 10, 4096, 123, 1, 0, 0, b"")
    return plain._replace(**facts)  # type: ignore[arg-type]


ROWS = [
    row(b"", b"", mode=0o40755),
    row(b"", b"a", mode=0o40755),
    row(b"", b"a-b", ScanSubject("log", "web"), target=b"x\xff", mtime_ns=-(1 << 62)),
    row(b"", b"z\xff\n", uid=1 << 32, size=(1 << 63) - 1),
    row(b"a", b"0", mark=1, mode=0o20000, device=0x103),
    row(b"a/b", b"c", mark=2),
    row(b"a-b", b"c"),
]
TREES = [
    (ScanTree(ROOT, ""), ROWS),
    (ScanTree(LAYER, "1" * 64, "overlay2/a/diff", "rw", cache_id="a", names=("web",), in_root=False), []),
    (
        ScanTree(LAYER, "sha256:" + "2" * 64, "x", "image", "c", "d", "e", ("a", "b"), has_disk=False, whole=True),
        ROWS[:1],
    ),
]


def written(trees: list[tuple[ScanTree, list[ScanRow]]] | None = None) -> bytes:
    out = io.BytesIO()
    trees = TREES if trees is None else trees
    writer = ScanWriter(out.write)
    writer.begin(HEADER, ENTRIES)
    for tree, rows in trees:
        writer.tree(tree, iter(rows))
    writer.finish(ScanEnd(len(trees), sum(len(rows) for _, rows in trees), 3, 4))
    return out.getvalue()


def test_what_is_written_comes_back() -> None:
    found = scan_facts.read(written())
    assert found.header == HEADER
    assert found.entries == ENTRIES
    assert list(found.trees.values()) == TREES
    assert found.end == ScanEnd(3, len(ROWS) + 1, 3, 4)


_NAME = some.binary(min_size=1, max_size=12).filter(lambda name: not {0, 0x2F} & set(name))
_NUMBER = some.integers(0, (1 << 63) - 1)


@settings(max_examples=60, deadline=None)
@given(
    some.dictionaries(
        some.lists(_NAME, max_size=3).map(b"/".join),
        some.sets(_NAME, min_size=1, max_size=6),
        min_size=1,
        max_size=8,
    ),
    _NUMBER,
    _NUMBER,
    some.binary(max_size=20),
)
def test_any_names_and_numbers_come_back(tree: dict[bytes, set[bytes]], size: int, disk: int, target: bytes) -> None:
    rows = [
        row(directory, name, size=size, disk=disk, target=target)
        for directory in sorted(tree, key=lambda path: path.split(b"/"))
        for name in sorted(tree[directory])
    ]
    found = scan_facts.read(written([(ScanTree(ROOT, ""), rows)]))
    assert next(iter(found.trees.values()))[1] == rows


def test_many_rows_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many"
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            writer = ScanWriter(file.write)
            writer.begin(HEADER, ())
            writer.tree(ScanTree(ROOT, ""), scan_facts.many_rows(50_000))
            writer.finish(ScanEnd(1, 50_000, 0, 0))
        with path.open("rb") as file:
            reader = ScanReader(file, "many")
            assert sum(1 for _, rows in reader.trees() for _ in rows) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------- the documented layout
def records(data: bytes) -> list[bytes]:
    """The records of a file as its documentation tells, without the package: frames, lengths, MessagePack."""
    raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    found = []
    while raw:
        length = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    return found


def assembled(parts: list[bytes], digest: bytes | None = None) -> bytes:
    """A file of these records; its end gets the digest that it should have."""
    out = bytearray(struct.pack("<II16sH", 0x184D2A5C, 18, b"layerscope scan\n", 1))
    framed = b"".join(struct.pack("<I", len(part)) + part for part in parts[:-1])
    end = parts[-1]
    if end[-34:-32] == b"\xc4\x20":
        end = end[:-32] + (digest or hashlib.sha256(framed).digest())
    raw = framed + struct.pack("<I", len(end)) + end
    return bytes(out + zstandard.ZstdCompressor(write_checksum=True).compress(raw))


def test_the_layout_is_the_documented_one() -> None:
    data = written()
    assert data[:_START] == b"\x5c\x2a\x4d\x18\x12\0\0\0layerscope scan\n\x01\0"
    found = [msgspec.msgpack.decode(part) for part in records(data)]
    assert "".join(part[0] for part in found) == "HLTSSRTTRE"
    assert found[0][:3] == ["H", b"web-1", b"/var/lib/d\xffcker"]
    assert found[1] == [
        "L",
        [
            [b"container-rw", b"web", b"overlay2/a", 4096, 5, 2, b"because"],
            [b"volume", b"data", b"volumes/data", 1 << 40, 1 << 41, 7, b""],
        ],
    ]
    assert found[2] == ["T", b"root", b"", b"", b"", b"", b"", b"", [], True, True, False]
    assert found[3:5] == [["S", b"volume", b"vol\xfe"], ["S", b"log", b"web"]]
    rows = found[5]
    assert rows[1:4] == [[b"", b"a", b"a/b", b"a-b"], [4, 1, 1, 1], [one.name for one in ROWS]]
    assert rows[4] == [0, 0, 1, 0, 0, 0, 0]
    assert rows[9] == [4096] * 7
    digest = hashlib.sha256(b"".join(struct.pack("<I", len(part)) + part for part in records(data)[:-1])).digest()
    assert found[-1] == ["E", 3, 8, 3, 4, digest]
    assert scan_facts.read(assembled(records(data))).end == ScanEnd(3, 8, 3, 4)


def test_elements_that_a_later_writer_appends_are_passed_over() -> None:
    changed = []
    for part in records(written()):
        value = msgspec.msgpack.decode(part)
        changed.append(part if value[0] == "E" else msgspec.msgpack.encode([*value, "more", 5]))
    found = scan_facts.read(assembled(changed))
    assert found.header == HEADER
    assert list(found.trees.values()) == TREES


# ---------------------------------------------------------------------- what is no scan, or no longer one
@pytest.mark.parametrize("data", [b"", b"layerscope scan\n", b"\x5c\x2a\x4d\x18", b"x" * 100, b"\x28\xb5\x2f\xfd" * 20])
def test_a_foreign_file_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"the\\nfile is no scan file; layerscope scan -o FILE makes one"):
        ScanReader(io.BytesIO(data), "the\nfile")


def test_a_parquet_file_is_told() -> None:
    with pytest.raises(UsageError, match="is a parquet file"):
        ScanReader(io.BytesIO(b"PAR1" + b"\0" * 100), "f")


def test_a_later_version_is_told() -> None:
    data = written()
    with pytest.raises(UnsupportedError, match="version 2 of the format, this program reads version 1"):
        ScanReader(io.BytesIO(data[:24] + b"\x02\0" + data[26:]), "f")


def test_a_file_that_is_cut_off_anywhere_is_told() -> None:
    data = written()
    for length in range(_START, len(data)):
        with pytest.raises(CorruptError, match="damaged or cut off"):
            scan_facts.read(data[:length])


def test_what_follows_the_end_is_told() -> None:
    for more in (b"x", written(), zstandard.ZstdCompressor().compress(b"x")):
        with pytest.raises(CorruptError):
            scan_facts.read(written() + more)


def test_a_changed_bit_is_told() -> None:
    """Whatever bit of the file it is."""
    data = written()
    for position in range(_START * 8, len(data) * 8):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        try:
            found = scan_facts.read(bytes(changed))
        except CorruptError:
            continue
        assert found == scan_facts.read(data), f"bit {position} changes what is read"


def test_a_wrong_digest_is_told() -> None:
    with pytest.raises(CorruptError, match="SHA-256"):
        scan_facts.read(assembled(records(written()), digest=b"x" * 32))


def changed_record(number: int, element: int, value: object) -> bytes:
    parts = records(written())
    fields = msgspec.msgpack.decode(parts[number])
    fields[element] = value
    parts[number] = msgspec.msgpack.encode(fields)
    return assembled(parts)


@pytest.mark.parametrize(
    ("number", "element", "value", "told"),
    [
        (0, 1, 5, "Expected `bytes`"),
        (0, 0, "Q", "Invalid value 'Q'"),
        (1, 1, [[b"volume", b"b", b"", 0, 0, 0, b""], [b"volume", b"a", b"", 0, 0, 0, b""]], "ledger are out of order"),
        (1, 1, [[b"volume", b"b", b"", -1, 0, 0, b""]], "impossible size"),
        (1, 1, [[b"volume", b"b", b"", 1 << 63, 0, 0, b""]], "impossible size"),
        (2, 1, b"other", "trees are out of order"),
        (6, 2, b"z", "trees are out of order"),
        (5, 1, [b"", b"a", b"a-b", b"a/b"], "rows are out of order"),
        (5, 1, [b"", b"a", b"", b"a-b"], "rows are out of order"),
        (5, 2, [5, 0, 1, 1], "numbers of rows"),
        (5, 2, [4, 1, 1], "differ in length"),
        (5, 3, [b"", b"a", b"a", b"z", b"0", b"c", b"c"], "rows are out of order"),
        (5, 3, [b"", b"a", b"b/", b"z", b"0", b"c", b"c"], "a name isn't one"),
        (5, 3, [], "differ in length"),
        (5, 4, [0, 0, 2, 0, 0, 0, 0], "an owner that isn't told"),
        (5, 4, [0, 0, -1, 0, 0, 0, 0], "an owner that isn't told"),
        (5, 8, [1, 2, 3, 4, 5, 6, -1], "impossible number"),
        (5, 10, [1, 2, 3, 4, 5, 6, 1 << 63], "impossible time"),
        (5, 13, [0, 0, 0, 0, 0, 0, 3], "impossible number"),
        (5, 14, [b"x" * 70_000] + [b""] * 6, "longer than 65536"),
        (9, 2, 7, "its end tells other numbers"),
    ],
)
def test_an_impossible_record_is_told(number: int, element: int, value: object, told: str) -> None:
    with pytest.raises(CorruptError, match=told):
        scan_facts.read(changed_record(number, element, value))


@pytest.mark.parametrize(
    "order", [[0, 2, 1, 9], [1, 0, 9], [0, 0, 9], [0, 5, 9], [0, 2, 5, 9], [0, 9, 9], [0, 1], [9], [0, 2, 3, 1, 9]]
)
def test_records_out_of_order_are_told(order: list[int]) -> None:
    parts = records(written())
    with pytest.raises(CorruptError):
        scan_facts.read(assembled([parts[number] for number in order]))


def test_a_file_that_becomes_too_large_is_told() -> None:
    """A few kilobytes that would become gigabytes are given up soon."""
    header = records(written())[0]
    data = assembled([header])
    frame = zstandard.ZstdCompressor().compress(b"\x06\0\0\0" + msgspec.msgpack.encode(["S", b"", b""]) + b"\0" * 6)
    bomb = zstandard.ZstdCompressor().compress(struct.pack("<I", 1 << 20) + b"\0" * (1 << 30))
    began = time.monotonic()
    tracemalloc.start()
    try:
        for more in (bomb, frame * 50_000):
            with pytest.raises(CorruptError):
                scan_facts.read(data + more)
        assert tracemalloc.get_traced_memory()[1] < 3 * _MEMORY
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < _SECONDS


# ---------------------------------------------------------------------- mutations
def mutated(source: random.Random, data: bytes) -> bytes:
    copy = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 5))):
        at = source.randrange(len(copy))
        how = source.randrange(4)
        if how == 0:
            copy[at] ^= 1 << source.randrange(8)
        elif how == 1:
            copy[at] = source.choice((0, 1, 0x7F, 0x80, 0xC4, 0xCF, 0xD3, 0xDD, 0xFF))
        elif how == 2:
            del copy[at : at + source.randrange(1, 9)]
        else:
            start = source.randrange(len(copy))
            copy[at:at] = copy[start : start + source.randrange(1, 40)]
        if not copy:
            return b""
    return bytes(copy)


def check_mutations(count: int, seed: int) -> None:
    """Damage of the file itself, of its records behind a right digest, and of what lies around them."""
    source = random.Random(seed)
    data = written()
    parts = records(data)
    told = 0
    for number in range(count):
        how = number % 3
        if how == 0:
            made = mutated(source, data)
        elif how == 1:
            changed = list(parts)
            which = source.randrange(len(changed))
            changed[which] = mutated(source, changed[which])
            made = assembled(changed)
        else:
            raw = b"".join(struct.pack("<I", len(part)) + part for part in parts)
            made = data[:_START] + zstandard.ZstdCompressor().compress(mutated(source, raw))
        began = time.monotonic()
        try:
            scan_facts.read(made)
        except LayerscopeError as error:
            told += 1
            assert "\n" not in str(error)
        assert time.monotonic() - began < _SECONDS, f"mutation {number} of seed {seed}"
    assert told > count // 2


def test_mutations_raise_our_errors_only() -> None:
    tracemalloc.start()
    try:
        check_mutations(300, seed=1)
        assert tracemalloc.get_traced_memory()[1] < _MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.full
def test_many_more_mutations() -> None:
    check_mutations(10_000, seed=2)
