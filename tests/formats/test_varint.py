"""Variable-length integers against the documents' examples and against numbers that containerd wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import CorruptError
from layerscope.formats.varint import parse_signed, parse_unsigned, read_unsigned

UNSIGNED = [
    ("00", 0),
    ("01", 1),
    ("7f", 127),
    ("8001", 128),
    ("9601", 150),  # protobuf's own example
    ("ac02", 300),
    ("ffffffff0f", 0xFFFFFFFF),
    ("ffffffffffffffffff01", 0xFFFFFFFFFFFFFFFF),
]
SIGNED = [
    ("00", 0),
    ("01", -1),
    ("02", 1),
    ("03", -2),
    ("feffffff0f", 0x7FFFFFFF),
    ("ffffffff0f", -0x80000000),
    ("8e19", 1607),  # the size of an index, as docker's API tells it
    ("b00a", 664),
    ("b0f38901", 1129688),
    ("ffffffffffffffffff01", -(1 << 63)),
]


@pytest.mark.parametrize(("data", "value"), UNSIGNED)
def test_unsigned(data: str, value: int) -> None:
    assert parse_unsigned(bytes.fromhex(data)) == value
    assert read_unsigned(b"\xff" + bytes.fromhex(data) + b"\x07", 1) == (value, 1 + len(data) // 2)


@pytest.mark.parametrize(("data", "value"), SIGNED)
def test_signed(data: str, value: int) -> None:
    assert parse_signed(bytes.fromhex(data)) == value


@pytest.mark.parametrize("data", ["", "80", "ff" * 9, "ff" * 10, "ff" * 11, "ffffffffffffffffff02", "0000", "960100"])
def test_what_is_none(data: str) -> None:
    with pytest.raises(CorruptError, match="varint"):
        parse_unsigned(bytes.fromhex(data))
    with pytest.raises(CorruptError, match="varint"):
        parse_signed(bytes.fromhex(data))


@given(st.binary(max_size=16), st.integers(0, 20))
def test_any_bytes_give_a_number_or_our_error(data: bytes, offset: int) -> None:
    try:
        value, end = read_unsigned(data, offset)
    except CorruptError:
        return
    assert 0 <= value < 1 << 64 and offset < end <= min(len(data), offset + 10)
