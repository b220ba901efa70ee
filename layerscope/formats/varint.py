"""Integers of variable length, as Go and protobuf write them.

Seven bits a byte, lowest first; the top bit says that another byte follows; at most ten bytes. A signed one is zig-zag
coded: 0, -1, 1, -2 … are written as 0, 1, 2, 3 …

Source: Go encoding/binary ``Uvarint``, ``Varint``; protobuf.dev, "Encoding".
"""

from __future__ import annotations

from layerscope.errors import CorruptError

_LONGEST = 10
_BITS = 64


def read_unsigned(data: bytes, offset: int = 0) -> tuple[int, int]:
    """The unsigned integer at ``offset``, and the offset behind it.

    Raises:
        CorruptError: it doesn't end, or needs more than 64 bits.
    """
    value = 0
    for position, byte in enumerate(data[offset : offset + _LONGEST]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if value >> _BITS:
                raise CorruptError(f"varint at {offset}: more than 64 bits")
            return value, offset + position + 1
    raise CorruptError(f"varint at {offset}: no end within {min(_LONGEST, max(len(data) - offset, 0))} bytes")


def parse_unsigned(data: bytes) -> int:
    """The unsigned integer that ``data`` is; raises as :func:`read_unsigned`, and for bytes behind it."""
    value, end = read_unsigned(data)
    if end != len(data):
        raise CorruptError(f"varint: {len(data) - end} bytes behind its end")
    return value


def parse_signed(data: bytes) -> int:
    """The zig-zag coded integer that ``data`` is; raises as :func:`parse_unsigned`."""
    coded = parse_unsigned(data)
    return (coded >> 1) ^ -(coded & 1)
