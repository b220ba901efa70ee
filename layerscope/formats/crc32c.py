"""CRC-32C (Castagnoli) of byte strings, fast without a compiled library: what thin-pool and ext4 metadata carry.

Parameters: polynomial 0x1EDC6F41 (reflected 0x82F63B78), all ones at the start, and, as the kernel's ``crc32c(~0, …)``
has it, **no inversion at the end**: ``b"123456789"`` gives 0xE3069283 inverted, 0x1CF96D7C here.

A message held in one big integer is folded in halves: bits that are moved on by d positions are multiplied by
x^d mod P, which has at most 32 terms, so a fold costs some sixteen shifts and XORs of whole integers instead of a step
for each byte. Bits are reflected: bit 0 of the integer is the first bit sent, the highest power.

Source: RFC 3720 appendix B.4; Linux lib/crc32.c ``__crc32c_le``.
"""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0x11EDC6F41
"""x^32 + … + 1, highest power first."""
_REFLECTED = 0x82F63B78
_DEGREE = 32
_ONES = (1 << _DEGREE) - 1
_SMALL = 24
"""Bytes that are faster done one by one."""


def _byte_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        register = byte
        for _ in range(8):
            register = register >> 1 ^ (_REFLECTED if register & 1 else 0)
        table.append(register)
    return tuple(table)


_TABLE = _byte_table()


def crc32c(data: bytes | bytearray | memoryview, seed: int = _ONES) -> int:
    """The check value of ``data``, not inverted; ``seed`` is the value of what came before it."""
    bits = len(data) * 8
    if len(data) <= _SMALL:
        return _bytewise(data, seed)
    message = int.from_bytes(data, "little") ^ seed
    while bits > 8 * _SMALL:
        # The first ``moved`` bits go on by as many positions and stick out by the degree of what they are multiplied
        # with; what lies before that is gone. Whole bytes keep the last steps simple.
        moved = (bits - _DEGREE) // 16 * 8
        front = message & ((1 << moved) - 1)
        message >>= moved - _DEGREE
        message &= ~_ONES  # these bits are in ``front`` already
        for shift in _shifts(moved):
            message ^= front << shift
        bits -= moved - _DEGREE
    return _bytewise(message.to_bytes(bits // 8, "little"), 0)


def _bytewise(data: bytes | bytearray | memoryview, register: int) -> int:
    table = _TABLE
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register


@lru_cache(maxsize=1024)
def _shifts(distance: int) -> tuple[int, ...]:
    """By how much to shift bits that move on by ``distance``, counted from a point 32 bits before their goal."""
    power, square, left = 1, 2, distance
    while left:
        if left & 1:
            power = _multiplied(power, square)
        square = _multiplied(square, square)
        left >>= 1
    return tuple(_DEGREE - term for term in range(_DEGREE) if power >> term & 1)


def _multiplied(left: int, right: int) -> int:
    """The product of two polynomials modulo P."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        right >>= 1
        left <<= 1
        if left >> _DEGREE:
            left ^= _POLYNOMIAL
    return product
