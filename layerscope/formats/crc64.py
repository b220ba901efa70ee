"""CRC-64/ISO of byte strings, fast without a table: the check value that tar-split keeps of each file.

Parameters: polynomial x^64 + x^4 + x^3 + x + 1 (reflected 0xD800000000000000), all ones at the start, inverted at the
end; ``b"123456789"`` gives 0xB90956C775A41001. Stored as 8 bytes, big-endian.

Squaring keeps the polynomial's shape: x^(64q) = x^(4q) + x^(3q) + x^q + 1 for every power of two q. So a message held
in one big integer is folded in halves with a few shifts and XORs, and the work is done by the integer arithmetic
instead of a loop over bytes. Bits are reflected: bit 0 of the integer is the first bit sent, the highest power.

Long input is first brought down to one row without folding: x^(4q) + x^(3q) + x^q + 1 = (x^(3q) + 1)(x^q + 1), so
moving a row of 64q bits onto the next one takes two shifts and two XORs of its length.

What that leaves, and short input, is folded along a chain of lengths that a fold takes exactly from one to the next.
L + 60q bits, q at most L / 64, become L: all but the last 64q are moved onto those, and the x^(4q) term sticks out by
4q at the front. A message is filled up at the front, with zeros, to a length of the chain.

Source: Go hash/crc64, table ISO; vbatts/tar-split tar/storage/entry.go.
"""

from __future__ import annotations

from bisect import bisect_left

_ONES = (1 << 64) - 1
_BLOCK = 32 * 1024 - 8
"""Bytes folded at once: a power of two with the 8 of the register, so that every fold is an even one. Larger blocks
leave the processor's cache, smaller ones spend more time between the folds."""
_Q = 4096
_ROW = 8 * _Q
"""Bytes moved at once: 64q bits."""
_OVER = 4 * _Q
"""Bits by which a row that was moved sticks out at the front."""
_OVER_MASK = (1 << _OVER) - 1
_OVER_ZEROS = bytes(_OVER // 8)


class Crc64:
    """A running CRC-64/ISO, used like the objects of :mod:`hashlib`."""

    __slots__ = ("_register",)

    def __init__(self, data: bytes = b"") -> None:
        self._register = _ONES
        if data:
            self.update(data)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in more bytes."""
        view = memoryview(data)
        register = self._register
        if len(view) >= 4 * _ROW:
            rows = len(view) // _ROW * _ROW
            last = memoryview(_last_row(register, view[:rows]))
            register = _advance(_advance(0, last[:_BLOCK]), last[_BLOCK:])
            view = view[rows:]
        for start in range(0, len(view), _BLOCK):
            register = _advance(register, view[start : start + _BLOCK])
        self._register = register

    @property
    def value(self) -> int:
        """The check value of everything taken in so far."""
        return self._register ^ _ONES

    def digest(self) -> bytes:
        """The value as tar-split stores it: 8 bytes, big-endian."""
        return self.value.to_bytes(8, "big")


def crc64(data: bytes | bytearray | memoryview) -> int:
    """The check value of ``data``."""
    running = Crc64()
    running.update(data)
    return running.value


def _last_row(register: int, rows: memoryview) -> bytes:
    """One row that has the same remainder, from a register of zero, as ``rows`` (whole ones) from ``register``."""
    from_bytes = int.from_bytes
    message = from_bytes(rows[:_ROW], "little") ^ register
    message <<= _OVER
    for start in range(_ROW, len(rows), _ROW):
        message ^= message >> _Q
        message ^= message >> 3 * _Q
        message ^= from_bytes(_OVER_ZEROS + rows[start : start + _ROW], "little")
        over = message & _OVER_MASK
        message ^= over
        over <<= _OVER
        over ^= over >> _Q
        over ^= over >> 3 * _Q
        message ^= over << 60 * _Q
    return (message >> _OVER).to_bytes(_ROW, "little")


def _advance(register: int, block: memoryview) -> int:
    """The register after ``block``: the remainder of (register, block, 64 zero bits) by the polynomial."""
    bits = len(block) * 8 + 64
    start = bisect_left(_STARTS, bits)
    message = (int.from_bytes(block, "little") ^ register) << (_STARTS[start] - bits)
    for mask, kept, q, q3 in _FOLDS[start]:
        front = message & mask
        message = (message ^ front) >> kept
        front ^= front << q
        message ^= front ^ (front << q3)
    return message


_Fold = tuple[int, int, int, int]
"""What is moved, as a mask; 60q, by which the rest goes to the front; q; 3q."""


def _folds() -> tuple[list[int], list[tuple[_Fold, ...]]]:
    """The lengths, in bits, at which folding can begin, ascending, and the folds from each of them down to 64 bits."""
    starts: dict[int, tuple[_Fold, ...]] = {64: ()}
    length = 64
    while length < (_BLOCK + 8) * 8:
        q = 1
        while q <= length // 64:
            fold = ((1 << (length - 4 * q)) - 1, 60 * q, q, 3 * q)
            starts.setdefault(length + 60 * q, (fold, *starts[length]))
            q *= 2
        length += 30 * q
    return sorted(starts), [starts[bits] for bits in sorted(starts)]


_STARTS, _FOLDS = _folds()
