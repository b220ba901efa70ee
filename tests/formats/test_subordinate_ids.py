"""Which IDs a user may give away."""

from __future__ import annotations

import pytest

from layerscope.formats.passwd import home_of
from layerscope.formats.subordinate_ids import subordinate_ranges

FILE = b"""other:100000:65536
me:165536:65536

# me:1:1
me :2:2
me:300000:10
1000:400000:5
1001:500000:5
"""


def test_lines_of_the_user_by_name_and_by_id() -> None:
    assert subordinate_ranges(FILE, 1000, b"me") == [(165536, 65536), (300000, 10), (400000, 5)]
    assert subordinate_ranges(FILE, 1000, None) == [(400000, 5)]
    assert subordinate_ranges(FILE, 7, b"nobody") == []


@pytest.mark.parametrize(
    "line",
    [b"me:1:0", b"me:4294967295:2", b"me:99999999999:1", b"me:-1:5", b"me:1", b"me:1:2:3", b"me:0x10:1", b"me:\xb2:1"],
)
def test_what_is_no_range_counts_for_nothing(line: bytes) -> None:
    assert subordinate_ranges(line + b"\nme:5:6", 1, b"me") == [(5, 6)]


def test_the_home_of_a_user() -> None:
    text = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000:Me,,,:/home/me:/bin/sh\nshort:x:5:5\n"
    assert home_of(text, 1000) == b"/home/me"
    assert home_of(text, 5) is None
