"""A value with the name of its type: protobuf's ``google.protobuf.Any``.

| field | wire type | what |
| --- | --- | --- |
| 1 | length-delimited | type URL, text |
| 2 | length-delimited | the value, bytes of that type |

Other fields are passed over; of one that is there twice the last counts. Source: protobuf.dev, "Encoding"; any.proto;
seen with containerd 1.6 and 2.1, which put JSON into the value.
"""

from __future__ import annotations

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.varint import read_unsigned

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


class TypedValue(Struct, frozen=True):
    """``type_url`` names what ``value`` is; each empty where it is left out."""

    type_url: str
    value: bytes


def parse_any(data: bytes) -> TypedValue:
    """``data`` as a message of type Any.

    Raises:
        CorruptError: it isn't one.
    """
    fields: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        key, offset = read_unsigned(data, offset)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            _, offset = read_unsigned(data, offset)
            continue
        if wire_type == _LENGTH:
            size, offset = read_unsigned(data, offset)
        elif wire_type in _WIDTHS:
            size = _WIDTHS[wire_type]
        else:
            raise CorruptError(f"protobuf message: wire type {wire_type} before {offset}")
        if size > len(data) - offset:
            raise CorruptError(f"protobuf message: field {number} at {offset} has {size} bytes, {len(data)} are there")
        if wire_type == _LENGTH:
            fields[number] = data[offset : offset + size]
        offset += size
    return TypedValue(fields.get(1, b"").decode("utf-8", "replace"), fields.get(2, b""))
