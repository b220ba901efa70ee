"""The override attribute and the side record: there and back, and damaged."""

from __future__ import annotations

import stat as modes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import CorruptError
from layerscope.formats.override_stat import (
    OverrideStat,
    SideEntry,
    parse_override,
    parse_side_record,
    side_record_text,
)

# As containers/storage writes them: idtools.go, FormatContainersOverrideXattrDevice.
WRITTEN = {
    b"0:0:0755:dir": OverrideStat(0, 0, 0o755, modes.S_IFDIR),
    b"1000:100:4711:file": OverrideStat(1000, 100, 0o4711, modes.S_IFREG),
    b"0:0:0777:symlink": OverrideStat(0, 0, 0o777, modes.S_IFLNK),
    b"1:2:0600:pipe": OverrideStat(1, 2, 0o600, modes.S_IFIFO),
    b"1:2:0600:socket": OverrideStat(1, 2, 0o600, modes.S_IFSOCK),
    b"0:6:0660:block-8-1": OverrideStat(0, 6, 0o660, modes.S_IFBLK, 8, 1),
    b"0:0:0666:char-1-3": OverrideStat(0, 0, 0o666, modes.S_IFCHR, 1, 3),
    b"4294967294:0:0000": OverrideStat(4294967294, 0, 0),
}


@pytest.mark.parametrize("value", WRITTEN)
def test_the_attribute_of_rootless_tools_is_read_and_written(value: bytes) -> None:
    assert parse_override(value) == WRITTEN[value]
    assert WRITTEN[value].encode() == value


@given(st.binary(max_size=60))
def test_any_value_is_read_or_refused(value: bytes) -> None:
    try:
        parsed = parse_override(value)
    except CorruptError:
        return
    assert parse_override(parsed.encode()) == parsed


def test_a_side_record_comes_back() -> None:
    entries = {
        "a/\udcfcb\n": SideEntry(OverrideStat(1, 2, 0o4755, modes.S_IFLNK)),
        "c": SideEntry(None, {"security.capability": bytes(range(20))}),
    }
    text = side_record_text(entries)
    assert parse_side_record(text) == entries
    assert text.count(b"\n") == len(entries)
    assert parse_side_record(side_record_text({})) == {}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"a": 1}',
        b'{"a": {"stat": 1}}',
        b'{"a": {"stat": "x"}}',
        b'{"a": {"xattrs": 1}}',
        b"[" * 9999,
    ],
)
def test_a_damaged_side_record_is_told(text: bytes) -> None:
    with pytest.raises(CorruptError):
        parse_side_record(text)
