"""The bolt reader against the bbolt library's own dumps, and against damaged and hostile files."""

from __future__ import annotations

import json
import random
import re
import struct
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Bucket, Database

DATA = Path(__file__).parents[1] / "data"
NAMES = [
    "empty",
    "ps1024-freelist",
    "ps1024-nofreelist",
    "ps4096-freelist",
    "ps4096-nofreelist",
    "ps65536-nofreelist",
]
PAGE_SIZE = {name: int(name[2:].partition("-")[0]) if name.startswith("ps") else 4096 for name in NAMES}


@cache
def archive(path: str) -> Mapping[str, bytes]:
    files = {}
    with tarfile.open(DATA / path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith((".db", ".json")) and member.isreg() else None
            if content is not None:
                files[member.name.removeprefix("./")] = content.read()
    return files


def database(name: str) -> bytes:
    return archive("bolt/bolt.tar.gz")[f"{name}.db"]


def library_dump(name: str) -> dict[str, Any]:
    dump: dict[str, Any] = json.loads(archive("bolt/bolt.tar.gz")[f"{name}.json"])
    return dump


def dump(bucket: Bucket, *, top: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {} if top else {"__seq": bucket.sequence}
    for key, value in bucket.items():
        if isinstance(value, Bucket):
            shown[f"b:{key.hex()}"] = dump(value)
        else:
            shown[f"k:{key.hex()}"] = value.hex()
    return shown


def fnv1a(data: bytes) -> int:
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return value


def meta_page(
    number: int, *, order: str = "<", size: int = 512, root: int = 2, high_water: int = 64, txid: int = 1
) -> bytes:
    body = struct.pack(order + "IIIIQQQQQ", 0xED0CDAED, 2, size, 0, root, 0, 1 << 63, high_water, txid)
    header = struct.pack(order + "QHHI", number, 4, 0, 0)
    return (header + body + struct.pack(order + "Q", fnv1a(body))).ljust(size, b"\0")


def leaf(items: list[tuple[bytes, bytes, bool]], *, number: int = 0, order: str = "<", overflow: int = 0) -> bytes:
    array, data = b"", b""
    for index, (key, value, is_bucket) in enumerate(items):
        pos = (len(items) - index) * 16 + len(data)
        array += struct.pack(order + "IIII", int(is_bucket), pos, len(key), len(value))
        data += key + value
    return struct.pack(order + "QHHI", number, 2, len(items), overflow) + array + data


def branch(children: list[tuple[bytes, int]], *, number: int, order: str = "<") -> bytes:
    array, data = b"", b""
    for index, (key, child) in enumerate(children):
        array += struct.pack(order + "IIQ", (len(children) - index) * 16 + len(data), len(key), child)
        data += key
    return struct.pack(order + "QHHI", number, 1, len(children), 0) + array + data


def bucket_value(root: int, *, order: str = "<", inline: bytes = b"") -> bytes:
    return struct.pack(order + "QQ", root, 0) + inline


def build(pages: dict[int, bytes], *, order: str = "<", size: int = 512) -> bytes:
    """A database whose root is page 2, from hand-made pages."""
    last = max(number + (len(page) - 1) // size for number, page in pages.items())
    file = bytearray((last + 1) * size)
    for number in (0, 1):
        file[number * size : (number + 1) * size] = meta_page(
            number, order=order, size=size, high_water=last + 1, txid=number
        )
    for number, page in pages.items():
        file[number * size : number * size + len(page)] = page
    return bytes(file)


def everything(bucket: Bucket) -> dict[bytes, Any]:
    return {key: everything(value) if isinstance(value, Bucket) else value for key, value in bucket.items()}


@pytest.mark.parametrize("name", NAMES)
def test_content_is_what_the_library_dumps(name: str) -> None:
    found = Database.parse(database(name))
    assert dump(found.root, top=True) == {key: value for key, value in library_dump(name).items() if key != "__seq"}
    assert found.meta.page_size == PAGE_SIZE[name]


@pytest.mark.parametrize("name", NAMES)
def test_each_key_is_found_by_lookup(name: str) -> None:
    def look(bucket: Bucket, expected: Mapping[str, Any]) -> int:
        seen = 0
        for label, value in expected.items():
            if label == "__seq":
                continue
            key = bytes.fromhex(label[2:])
            if label.startswith("b:"):
                assert bucket.get(key) is None
                below = bucket.bucket(key)
                assert below is not None
                seen += look(below, value)
            else:
                assert bucket.bucket(key) is None
                assert bucket.get(key) == bytes.fromhex(value)
            assert bucket.get(key + b"\0") is None
            seen += 1
        return seen

    found = Database.parse(database(name))
    assert look(found.root, library_dump(name)) == found.check()


def test_walk_follows_a_path_of_buckets() -> None:
    dumped = library_dump("ps1024-freelist")
    first = next(label for label, value in dumped.items() if label.startswith("b:") and any(k[0] == "b" for k in value))
    second = next(label for label in dumped[first] if label.startswith("b:"))
    keys = bytes.fromhex(first[2:]), bytes.fromhex(second[2:])
    root = Database.parse(database("ps1024-freelist")).root
    below = root.walk(*keys)
    assert below is not None
    assert dump(below) == dumped[first][second]
    assert root.walk(keys[0], b"no such key", b"nor below it") is None
    assert list(root.keys()) == sorted(bytes.fromhex(label[2:]) for label in dumped if label != "__seq")
    assert [key for key, _ in root.buckets()] == sorted(bytes.fromhex(k[2:]) for k in dumped if k.startswith("b:"))


def newest_slot(data: bytes, size: int) -> int:
    txids = [struct.unpack_from("<Q", data, slot * size + 16 + 48)[0] for slot in (0, 1)]
    return txids.index(max(txids))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slot", [0, 1])
def test_one_meta_page_is_enough(name: str, slot: int) -> None:
    data, size = bytearray(database(name)), PAGE_SIZE[name]
    newest = newest_slot(bytes(data), size)
    data[slot * size + 16 : slot * size + 80] = bytes(64)
    found = Database.parse(bytes(data))
    whole = Database.parse(database(name))
    assert found.meta.page_size == size
    assert found.txid == whole.txid - (slot == newest)
    assert found.older() is None


def test_a_meta_with_a_wrong_checksum_is_not_used() -> None:
    data, size = bytearray(database("ps4096-freelist")), 4096
    slot = newest_slot(bytes(data), size)
    data[slot * size + 16 + 16] ^= 1  # the root's page number
    found = Database.parse(bytes(data))
    assert found.txid == Database.parse(database("ps4096-freelist")).txid - 1


def test_the_older_state_is_taken_when_the_newest_is_torn() -> None:
    pages = {2: leaf([(b"old", b"1", False)], number=2), 3: leaf([(b"new", b"2", False)], number=9)}
    data = bytearray(build(pages))
    data[512:1024] = meta_page(1, root=3, high_water=4, txid=8)
    newest = Database.parse(bytes(data))
    assert newest.txid == 8
    with pytest.raises(CorruptError, match="bolt page 3: its header says 9"):
        newest.check()
    found = Database.checked(bytes(data))
    assert (found.is_older, found.txid, everything(found.root)) == (True, 0, {b"old": b"1"})
    data[2 * 512 : 2 * 512 + 8] = bytes(8)
    with pytest.raises(CorruptError, match="bolt page 3"):
        Database.checked(bytes(data))


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_is_read_in_its_newest_state(name: str) -> None:
    assert not Database.checked(database(name)).is_older


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_is_that_of_the_magic(order: str) -> None:
    inner = leaf([(b"k", b"v" * 300, False)], order=order)
    pages = {
        2: branch([(b"a", 3), (b"m", 4)], number=2, order=order),
        3: leaf([(b"a", b"", False), (b"b", bucket_value(0, order=order, inline=inner), True)], number=3, order=order),
        4: leaf([(b"m", bucket_value(5, order=order), True)], number=4, order=order),
        5: leaf([(b"big", b"x" * 1200, False)], number=5, order=order, overflow=2),
    }
    found = Database.parse(build(pages, order=order))
    assert everything(found.root) == {b"a": b"", b"b": {b"k": b"v" * 300}, b"m": {b"big": b"x" * 1200}}
    assert found.root.get(b"a") == b""
    assert found.root.walk(b"m") is not None
    assert found.root.get(b"0") is None


@pytest.mark.parametrize("data", [b"", b"\0" * 16384, b"SQLite format 3\0" * 4096, b"\xed" * 79], ids=len)
def test_what_is_no_database_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptError, match="bolt database: "):
        Database.parse(data)


def nested_inline(depth: int) -> bytes:
    value = leaf([])
    for _ in range(depth):
        value = leaf([(b"b", bucket_value(0, inline=value), True)])
    return value


def doubling_inline() -> bytes:
    """Two elements whose values are the same bytes, twenty times over: a million ways to the bottom."""
    value = leaf([])
    for _ in range(20):
        data = b"b" + bucket_value(0, inline=value)
        elements = b"".join(struct.pack("<IIII", 1, (2 - i) * 16, 1, len(data) - 1) for i in range(2))
        value = struct.pack("<QHHI", 0, 2, 2, 0) + elements + data
    return value


HOSTILE: dict[str, tuple[str, Callable[[], dict[int, bytes]]]] = {
    "root page missing": ("page 2: its header says 0", lambda: {3: leaf([], number=3)}),
    "page calls itself another": ("page 2: its header says 3", lambda: {2: leaf([], number=3)}),
    "branch into itself": ("page 2: reached from two places", lambda: {2: branch([(b"a", 2)], number=2)}),
    "branch loop": (
        "page 2: reached from two places",
        lambda: {2: branch([(b"a", 3)], number=2), 3: branch([(b"a", 2)], number=3)},
    ),
    "child named twice": (
        "page 3: reached from two places",
        lambda: {2: branch([(b"a", 3), (b"b", 3)], number=2), 3: leaf([(b"a", b"", False)], number=3)},
    ),
    "bucket above itself": (
        "page 2: reached from two places",
        lambda: {2: leaf([(b"b", bucket_value(2), True)], number=2)},
    ),
    "bucket into a meta": (
        "page 1: not a page of the tree",
        lambda: {2: leaf([(b"b", bucket_value(1), True)], number=2)},
    ),
    "bucket behind the end": (
        "page 1152921504606846976: not a page of the tree, the file has 3 pages",
        lambda: {2: leaf([(b"b", bucket_value(1 << 60), True)], number=2)},
    ),
    "bucket header cut": (
        "bucket at 1057: 15 bytes, expected at least 16",
        lambda: {2: leaf([(b"b", b"\0" * 15, True)], number=2)},
    ),
    "inline bucket cut": (
        "inline bucket at 1073: 15 bytes, expected at least 16",
        lambda: {2: leaf([(b"b", bucket_value(0, inline=b"\0" * 15), True)], number=2)},
    ),
    "inline bucket is a branch": (
        "inline bucket at 1073: flags 0x1, expected 2",
        lambda: {2: leaf([(b"b", bucket_value(0, inline=branch([(b"a", 3)], number=0)), True)], number=2)},
    ),
    "inline buckets without end": (
        "database: buckets nested more than 64 deep",
        lambda: {
            2: leaf([(b"b", bucket_value(0, inline=nested_inline(200)), True)], number=2, overflow=40).ljust(41 * 512)
        },
    ),
    "inline buckets that share bytes": (
        "overlaps the one before it",
        lambda: {
            2: leaf([(b"b", bucket_value(0, inline=doubling_inline()), True)], number=2, overflow=40).ljust(41 * 512)
        },
    ),
    "too many elements": ("page 2: 65535 elements don't fit in it", lambda: {2: struct.pack("<QHHI", 2, 2, 0xFFFF, 0)}),
    "branch without children": ("page 2: a branch without children", lambda: {2: branch([], number=2)}),
    "element outside": (
        "page 2: element 0 lies outside of it",
        lambda: {2: struct.pack("<QHHIIIII", 2, 2, 1, 0, 0, 16, 4, 0xFFFFFFF0)},
    ),
    "element inside the array": (
        "page 2: element 0 lies outside of it",
        lambda: {2: struct.pack("<QHHIIIII", 2, 2, 1, 0, 0, 0, 4, 4)},
    ),
    "branch key outside": (
        "page 2: key 0 lies outside of it",
        lambda: {2: struct.pack("<QHHIIIQ", 2, 1, 1, 0, 16, 600, 3), 3: leaf([], number=3)},
    ),
    "keys fall": ("page 2: its keys don't rise", lambda: {2: leaf([(b"b", b"", False), (b"a", b"", False)], number=2)}),
    "a key twice": (
        "page 2: its keys don't rise",
        lambda: {2: leaf([(b"a", b"", False), (b"a", b"", False)], number=2)},
    ),
    "overflow past the end": (
        "page 2: 4294967295 overflow pages run past the end of the file",
        lambda: {2: leaf([], number=2, overflow=0xFFFFFFFF)},
    ),
    "page inside another": (
        "page 4: reached from two places",
        lambda: {
            2: leaf([(b"a", bucket_value(3), True), (b"b", bucket_value(4), True)], number=2),
            3: leaf([], number=3, overflow=2),
            4: leaf([], number=4),
            5: leaf([], number=5),
        },
    ),
    "freelist page in the tree": ("page 2: flags 0x10 inside a tree", lambda: {2: struct.pack("<QHHI", 2, 0x10, 0, 0)}),
    "a chain of branches": (
        "page 66: more than 64 levels down",
        lambda: {
            **{number: branch([(b"a", number + 1)], number=number) for number in range(2, 80)},
            80: leaf([], number=80),
        },
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pages_are_refused(case: str) -> None:
    message, pages = HOSTILE[case]
    data = build(pages())
    started = time.monotonic()
    with pytest.raises(CorruptError, match=f"^bolt .*{re.escape(message)}"):
        Database.parse(data).check()
    with pytest.raises(CorruptError, match="bolt"):
        Database.checked(data)
    assert time.monotonic() - started < 2


def test_what_lies_before_a_damaged_page_is_still_given() -> None:
    pages = {
        2: branch([(b"a", 3), (b"m", 4), (b"x", 5)], number=2),
        3: leaf([(b"a", b"1", False)], number=3),
        4: b"",
        5: leaf([(b"x", b"3", False)], number=5),
    }
    root = Database.parse(build(pages)).root
    items = root.items()
    assert next(items) == (b"a", b"1")
    with pytest.raises(CorruptError, match="bolt page 4"):
        next(items)
    assert root.get(b"x") == b"3"
    with pytest.raises(CorruptError, match="bolt page 4"):
        root.get(b"n")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.binary(max_size=12), st.binary(max_size=40), max_size=60),
    st.integers(min_value=1, max_value=9),
    st.sampled_from("<>"),
)
def test_any_map_laid_out_in_pages_is_read_back(values: dict[bytes, bytes], per_leaf: int, order: str) -> None:
    keys = sorted(values)
    groups = [keys[start : start + per_leaf] for start in range(0, len(keys), per_leaf)] or [[]]
    pages = {
        number: leaf([(key, values[key], False) for key in group], number=number, order=order)
        for number, group in enumerate(groups, start=3)
    }
    pages[2] = branch([(group[0] if group else b"", 3 + n) for n, group in enumerate(groups)], number=2, order=order)
    root = Database.parse(build(pages, order=order, size=2048)).root
    assert list(root.items()) == [(key, values[key]) for key in keys]
    assert all(root.get(key) == values[key] for key in keys)


def mutated(seed: int) -> tuple[bytes, list[bytes]]:
    """A real database with a few bytes, numbers or pages changed, and its top-level keys before that."""
    chance = random.Random(seed)
    if seed % 4 == 0:
        data = bytearray(database("ps1024-nofreelist"))
    else:
        name = "snapshots" if seed % 4 < 3 else "metadata_v2"
        data = bytearray(archive("overlay2-buildkit/root.tar.gz")[f"buildkit/{name}.db"])
    keys = list(Database.parse(bytes(data)).root.keys())
    size = 1024 if seed % 4 == 0 else 4096
    used = size * Database.parse(bytes(data)).meta.high_water
    for _ in range(chance.randint(1, 12)):
        page = chance.randrange(used // size) * size
        match chance.randrange(7):
            case 0:
                data[chance.randrange(used)] = chance.randrange(256)
            case 1:  # a header or one of the first elements
                at = page + chance.randrange(0, 128, 4)
                struct.pack_into("<I", data, at, chance.choice([0, 1, 2, 3, 16, 0xFFFF, 1 << 31, 0xFFFFFFFF]))
            case 2:  # a page in another's place
                other = chance.randrange(used // size) * size
                data[page : page + size] = data[other : other + size]
            case 3:
                struct.pack_into("<Q", data, page, page // size)  # a page that names itself rightly
            case 4:
                struct.pack_into("<HHI", data, page + 8, chance.choice([1, 2]), chance.randrange(40), 0)
            case 5:  # a meta that its checksum vouches for
                slot = chance.randrange(2) * size
                struct.pack_into("<Q", data, slot + chance.choice([32, 56, 64]), chance.randrange(used // size + 2))
                struct.pack_into("<Q", data, slot + 72, fnv1a(bytes(data[slot + 16 : slot + 72])))
            case 6:
                del data[chance.randrange(used // 2, len(data)) :]
                data += bytes(max(0, used - len(data)) * chance.randrange(2))
                used = min(used, len(data) // size * size)
                if used < 2 * size:
                    break
    return bytes(data), keys


def read_all(data: bytes, keys: list[bytes]) -> Iterator[None]:
    """Everything a reader may do with a file, step by step."""
    found = Database.parse(data)
    yield
    for key in keys:
        found.root.get(key)
        found.root.walk(key, b"leases")
    yield
    found.check()
    yield
    Database.checked(data)


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(1000, 11_000), marks=pytest.mark.full)], ids=len)
def test_damaged_files_raise_nothing_but_corrupt_error(seeds: range) -> None:
    refused = 0
    for seed in seeds:
        data, keys = mutated(seed)
        started = time.monotonic()
        try:
            for _ in read_all(data, keys):
                pass
        except CorruptError as error:
            assert "\n" not in str(error)
            refused += 1
        assert time.monotonic() - started < 2, seed
    assert len(seeds) // 4 < refused < len(seeds)
