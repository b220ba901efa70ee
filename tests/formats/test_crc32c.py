"""CRC-32C against its published check value, its definition bit by bit, and what the kernel wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.formats.blocks.crc32c import crc32c


def bit_by_bit(data: bytes, register: int = 0xFFFFFFFF) -> int:
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register


def test_check_value_of_the_catalogue() -> None:
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


def test_values_of_rfc_3720() -> None:
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA
    assert crc32c(b"\xff" * 32) ^ 0xFFFFFFFF == 0x62A8AB43
    assert crc32c(bytes(range(32))) ^ 0xFFFFFFFF == 0x46DD794E


@settings(deadline=None)
@given(st.binary(max_size=700), st.integers(0, 0xFFFFFFFF))
def test_any_bytes_and_seed_give_the_bitwise_value(data: bytes, seed: int) -> None:
    assert crc32c(data, seed) == bit_by_bit(data, seed)


@pytest.mark.parametrize("size", [23, 24, 25, 26, 47, 48, 4091, 4092, 4093, 65_536])
def test_the_value_is_right_at_every_length(size: int) -> None:
    data = bytes(index * index % 251 for index in range(size))
    assert crc32c(memoryview(data)) == bit_by_bit(data)


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_seed_goes_on_from_what_came_before(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == crc32c(first + second)
