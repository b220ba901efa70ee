"""Lines that two texts share: never wrong, shortest within reach, and bounded in time whatever the texts."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.analysis.changes import lines as line_diff
from layerscope.analysis.changes.lines import line_blocks

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n"]), max_size=25)


def longest_common(a: list[bytes], b: list[bytes]) -> int:
    """How many lines the longest common subsequence has, by its definition."""
    above = [0] * (len(b) + 1)
    for line in a:
        row = [0]
        for place, other in enumerate(b):
            row.append(above[place] + 1 if line == other else max(above[place + 1], row[place]))
        above = row
    return above[-1]


def check(a: list[bytes], b: list[bytes]) -> int:
    """That the blocks are what they say; gives how many lines they share."""
    x = y = shared = 0
    same_before = None
    for block in line_blocks(a, b):
        assert (block.old_start, block.new_start) == (x, y)
        x, y = block.old_end, block.new_end
        assert block.same != same_before
        same_before = block.same
        if block.same:
            assert a[block.old_start : x] == b[block.new_start : y] != []
            shared += x - block.old_start
        else:
            assert x > block.old_start or y > block.new_start
    assert (x, y) == (len(a), len(b))
    return shared


@given(LINES, LINES)
@settings(max_examples=300, deadline=None)
def test_blocks_cover_both_texts_and_share_as_much_as_possible(a: list[bytes], b: list[bytes]):
    assert check(a, b) == longest_common(a, b)


@given(LINES, LINES)
@settings(max_examples=100, deadline=None)
def test_beyond_one_round_it_is_still_a_difference(a: list[bytes], b: list[bytes]):
    before = line_diff.ROUND_EDITS
    line_diff.ROUND_EDITS = 2
    try:
        check(a, b)
    finally:
        line_diff.ROUND_EDITS = before


def test_texts_without_anything_in_common_take_bounded_time():
    old = [b"old %d\n" % number for number in range(20_000)]
    new = [b"new %d\n" % number for number in range(20_000)]
    start = time.perf_counter()
    (block,) = line_blocks(old, new)
    assert not block.same
    # Quadratic work would be 400,000,000 steps: minutes.
    assert time.perf_counter() - start < 20


def test_stopped_gives_the_rest_as_different():
    old, new = [b"same\n", b"a\n", b"x\n", b"end\n"], [b"same\n", b"b\n", b"x\n", b"end\n"]
    shared = [block for block in line_blocks(old, new, lambda: True) if block.same]
    assert shared == [(True, 2, 4, 2, 4)]


def test_equal_and_empty_texts():
    assert line_blocks([], []) == []
    assert line_blocks([b"a"], [b"a"]) == [(True, 0, 1, 0, 1)]
    assert line_blocks([], [b"a"]) == [(False, 0, 0, 0, 1)]
