"""CRC-64/ISO against its definition, its published check value, and the values that docker recorded."""

from __future__ import annotations

import base64
import gzip
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.formats.crc64 import Crc64, crc64

DATA = Path(__file__).parents[1] / "data"


def bit_by_bit(data: bytes) -> int:
    register = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xD800000000000000 if register & 1 else 0)
    return register ^ 0xFFFFFFFFFFFFFFFF


def test_check_value_of_the_catalogue() -> None:
    assert crc64(b"123456789") == 0xB90956C775A41001
    assert Crc64(b"123456789").digest() == bytes.fromhex("b90956c775a41001")


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_give_the_bitwise_value(data: bytes) -> None:
    assert crc64(data) == bit_by_bit(data)


@pytest.mark.parametrize("size", [32759, 32760, 32761, 65520, 65521, 100_000, 131_071, 131_072, 131_073, 163_841])
def test_the_value_is_right_across_block_borders(size: int) -> None:
    data = bytes(index * index % 251 for index in range(size))
    assert crc64(data) == bit_by_bit(data)


def test_the_value_is_right_at_every_length_up_to_a_block() -> None:
    data = bytes(index * index % 251 for index in range(33_000))
    register = 0xFFFFFFFFFFFFFFFF
    for length, byte in enumerate(data):
        assert crc64(data[:length]) == register ^ 0xFFFFFFFFFFFFFFFF, length
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xD800000000000000 if register & 1 else 0)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=70_000), max_size=5))
def test_pieces_give_the_value_of_the_whole(pieces: list[bytes]) -> None:
    running = Crc64()
    for piece in pieces:
        running.update(memoryview(piece))
    assert running.value == crc64(b"".join(pieces))


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit"])
def test_every_file_has_the_value_docker_recorded(sample: str) -> None:
    compared = 0
    with tarfile.open(DATA / sample / "root.tar.gz") as root:

        def read(name: str) -> bytes:
            file = root.extractfile(f"./{name}")
            assert file is not None
            return file.read()

        for name in root.getnames():
            if not name.endswith("/tar-split.json.gz"):
                continue
            record = name.removeprefix("./").removesuffix("/tar-split.json.gz")
            diff = f"overlay2/{read(f'{record}/cache-id').decode()}/diff"
            for line in gzip.decompress(read(f"{record}/tar-split.json.gz")).splitlines():
                entry = json.loads(line)
                if entry["type"] == 1 and entry.get("size"):
                    content = read(f"{diff}/{entry['name'].removeprefix('./')}")
                    assert Crc64(content).digest() == base64.b64decode(entry["payload"]), entry["name"]
                    compared += 1
    assert compared > 20
