"""Values with the name of their type: as containerd wrote them, and damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import CorruptError
from layerscope.formats.protobuf_any import TypedValue, parse_any

RUNC = b"\n\x1acontainerd.runc.v1.Options"
"""``runtime/options`` of a container of ctr: a type without a value."""
SPEC = b'\n6types.containerd.io/opencontainers/runtime-spec/1/Spec\x12\x16{"ociVersion":"1.2.1"}'


def test_a_type_alone() -> None:
    assert parse_any(RUNC) == TypedValue("containerd.runc.v1.Options", b"")


def test_a_specification() -> None:
    found = parse_any(SPEC)
    assert found.type_url == "types.containerd.io/opencontainers/runtime-spec/1/Spec"
    assert json.loads(found.value) == {"ociVersion": "1.2.1"}


def test_nothing() -> None:
    assert parse_any(b"") == TypedValue("", b"")


def test_other_fields_are_passed_over() -> None:
    # A varint (3), 64 bits (4), a text (5), 32 bits (6), then the value.
    data = b"\x18\x96\x01" + b"\x21" + bytes(8) + b"\x2a\x01x" + b"\x35" + bytes(4) + b"\x12\x01v"
    assert parse_any(data) == TypedValue("", b"v")


@pytest.mark.parametrize(
    "data", [b"\n", b"\n\x05abc", b"\x12\xff\xff\xff\xff\x0f", b"\x0b", b"\x0f", b"\x21\0", b"\x80"]
)
def test_damage(data: bytes) -> None:
    with pytest.raises(CorruptError, match=r"protobuf|varint"):
        parse_any(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    try:
        found = parse_any(data)
    except CorruptError:
        return
    assert len(found.value) <= len(data)
