"""Lines of files as a terminal may see them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style

from layerscope.tui.content_text import content_strip
from layerscope.tui.glyphs import ASCII
from layerscope.tui.look import Look, default_look

PLAIN = Style()
LOOK = default_look()


def shown(text: str, skip: int = 0, width: int = 200, look: Look = LOOK) -> str:
    return content_strip([(text, PLAIN)], look, skip, width).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain \\n text", "plain \\n text"),
        ("a\tb", "a       b"),
        ("12345678\tb", "12345678        b"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x1b\tx", "\\x1b    x"),
        ("日\tx", "日      x"),
        ("\udcff\u202e\u200b\r", "\\xff\\u202e\\u200b\\r"),
        ("[red]markup[/]", "[red]markup[/]"),
        ("", ""),
    ],
)
def test_what_is_shown(text: str, expected: str):
    assert shown(text) == expected


def test_sideways():
    assert shown("0123456789", 3, 4) == "3456"
    assert shown("a\tb", 4, 5) == "    b"
    assert shown("日本語", 1, 4) == " 本 "
    assert shown("short", 50, 10) == ""


def test_ascii_alone():
    assert shown("é日", look=Look(LOOK.palette, ASCII)) == "\\u00e9\\u65e5"


def test_pieces_keep_their_styles_and_tab_stops():
    strip = content_strip([("ab", PLAIN), ("\tc", Style(bold=True))], LOOK, 0, 80)
    assert strip.text == "ab      c"
    assert [segment.text for segment in strip if segment.style and segment.style.bold] == ["      ", "c"]


@given(st.binary(max_size=60), st.integers(0, 40), st.integers(1, 40))
def test_nothing_that_a_terminal_obeys(data: bytes, skip: int, width: int):
    strip = content_strip([(data.decode("utf-8", "surrogateescape"), PLAIN)], LOOK, skip, width)
    assert strip.text.isprintable()
    assert strip.cell_length <= width
