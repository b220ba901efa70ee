"""Both sets of signs say the same, in the same width, and never twice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import asdict
from rich.cells import cell_len

from layerscope.model.entry import EntryState
from layerscope.tui.glyphs import (
    ASCII,
    DOT_COLORS,
    MARK_LOOKS,
    UNICODE,
    Glyphs,
    Mark,
    bar,
    dot_of,
    guides,
    mark_of,
)
from layerscope.tui.theme import COLOR_NAMES


def signs(glyphs: Glyphs) -> dict[str, str]:
    """Every sign by name."""
    found: dict[str, str] = {}
    for name, value in asdict(glyphs).items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": sign for key, sign in value.items()}
        elif isinstance(value, tuple):
            found |= {f"{name}.{number}": sign for number, sign in enumerate(value)}
        elif isinstance(value, str):
            found[name] = value
    return found


def test_ascii_is_ascii():
    assert all(sign.isascii() and sign.isprintable() for sign in signs(ASCII).values())


def test_both_sets_have_the_same_widths():
    unicode_signs, ascii_signs = signs(UNICODE), signs(ASCII)
    words = {"border"} | {name for name in ascii_signs if name.startswith("key_names.")}
    for name in unicode_signs.keys() - words:
        wide = 2 if name.startswith("guide_") else 1
        empty = name.startswith("bar_parts.")
        for sign in (unicode_signs[name], ascii_signs[name]):
            assert cell_len(sign) == wide or (empty and sign == ""), name


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_no_two_signs_of_a_group_are_alike(glyphs: Glyphs):
    assert set(glyphs.marks) == set(Mark) == set(MARK_LOOKS)
    assert set(glyphs.dots) == set(DOT_COLORS)
    assert len(set(glyphs.marks.values())) == len(Mark)
    assert len(set(glyphs.dots.values())) == len(DOT_COLORS)
    assert len({glyphs.guide_branch, glyphs.guide_last, glyphs.guide_line, glyphs.guide_gap, glyphs.guide_cut}) == 5
    assert glyphs.arrow_open != glyphs.arrow_closed
    assert glyphs.checked != glyphs.unchecked


def test_colors_are_those_of_the_themes():
    used = {color for looks in MARK_LOOKS.values() for color in (looks.color, looks.name_color)}
    assert used | set(DOT_COLORS.values()) <= set(COLOR_NAMES)


def test_what_is_gone_is_struck_through():
    assert {mark for mark, looks in MARK_LOOKS.items() if looks.strike} == {Mark.WHITEOUT, Mark.HIDDEN}


@pytest.mark.parametrize(
    ("state", "hidden", "within", "mark"),
    [
        (EntryState.PLAIN, False, False, Mark.SAME),
        (EntryState.PLAIN, False, True, Mark.WITHIN),
        (EntryState.ADDED, False, True, Mark.ADDED),
        (EntryState.MODIFIED, False, False, Mark.MODIFIED),
        (EntryState.METADATA, False, True, Mark.COPIED),
        (EntryState.UNCHANGED, False, False, Mark.COPIED),
        (EntryState.UNCHANGED, False, True, Mark.WITHIN),
        (EntryState.WHITEOUT, True, False, Mark.WHITEOUT),
        (EntryState.OPAQUE, False, True, Mark.OPAQUE),
        (EntryState.ADDED, True, False, Mark.HIDDEN),
        (None, False, False, Mark.SAME),
        (None, True, False, Mark.HIDDEN),
    ],
)
def test_mark_of_entry(state: EntryState | None, hidden: bool, within: bool, mark: Mark):
    assert mark_of(state, hidden=hidden, changes_within=within) is mark


def test_every_state_has_a_mark():
    assert {mark_of(state) for state in EntryState} == set(Mark) - {Mark.HIDDEN, Mark.WITHIN}


def test_docker_words_have_dots_and_others_are_unknown():
    for word in ("created", "running", "paused", "restarting", "removing", "exited", "dead"):
        assert dot_of(word) == word
    assert dot_of("\x1b[2J") == "unknown"


def test_guides():
    assert guides([], UNICODE) == ""
    assert guides([False], UNICODE) == "├─"
    assert guides([True], UNICODE) == "└─"
    assert guides([False, True, False], UNICODE) == "│   ├─"
    assert guides([False, True], ASCII, cut=True) == "~ | `-"


def test_bar_is_linear_in_eighths():
    assert bar(0.5, 8, UNICODE) == "████"
    assert bar(1 / 64, 8, UNICODE) == "▏"
    assert bar(0.5, 3, UNICODE) == "█▌"
    assert [cell_len(bar(share / 100, 10, UNICODE)) for share in (0, 10, 55, 100)] == [0, 1, 6, 10]


def test_bar_in_ascii_rounds_to_whole_cells():
    assert [bar(share, 4, ASCII) for share in (0, 0.2, 0.4, 0.5, 1)] == ["", "#", "##", "##", "####"]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_bar_shows_the_smallest_share_and_never_overflows(glyphs: Glyphs):
    assert len(bar(1e-9, 10, glyphs)) == 1
    assert bar(0, 10, glyphs) == "" == bar(0.5, 0, glyphs) == bar(0.5, -1, glyphs)
    assert bar(17.0, 3, glyphs) == glyphs.bar_full * 3
    assert bar(-1.0, 3, glyphs) == ""
