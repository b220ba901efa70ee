"""Names from a hostile root reach the terminal spelled out, and in the width that they claim."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from layerscope.tui.text import crop, crop_image, escape, fit

# What os.fsdecode can give: any code point but the surrogates that it doesn't use for bytes.
NAMES = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.integers(0xDC80, 0xDCFF).map(chr),
        st.sampled_from(list("ab\\\x1b\n\x7f\x9b\u202e\u200b\u200d\ufe0f\u0301\u3042\u754c😀\u00a0")),
    ),
    max_size=40,
)

SPELLED = re.compile(r"\\(?:(\\)|([ntr])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        backslash, short, byte, four, eight = match.groups()
        if backslash:
            return "\\"
        if short:
            return {"n": "\n", "t": "\t", "r": "\r"}[short]
        if byte:
            return chr(int(byte, 16)) if int(byte, 16) < 0x80 else chr(0xDC00 + int(byte, 16))
        return chr(int(four or eight, 16))

    return SPELLED.sub(one, text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nginx.conf", "nginx.conf"),
        ("[red]bold[/]", "[red]bold[/]"),
        ("naïve 日本 😀", "naïve 日本 😀"),
        ("a\\b", "a\\\\b"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\x9b31m", "\\u009b31m"),
        (b"caf\xe9".decode(errors="surrogateescape"), "caf\\xe9"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("a\u00a0b\u2028", "a\\u00a0b\\u2028"),
        ("heart\u2764\ufe0f", "heart\u2764\\ufe0f"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_escape(name: str, shown: str):
    assert escape(name) == shown


def test_escape_to_ascii():
    assert escape("é日😀", ascii_only=True) == "\\u00e9\\u65e5\\U0001f600"
    assert escape("plain", ascii_only=True) == "plain"


@given(NAMES, st.booleans())
def test_escaped_names_are_harmless_and_can_be_read_back(name: str, ascii_only: bool):
    shown = escape(name, ascii_only=ascii_only)
    assert unescape(shown) == name
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
    shown.encode()
    if ascii_only:
        assert shown.isascii()


@given(NAMES, st.integers(0, 30), st.sampled_from(["start", "end"]), st.sampled_from(["…", "~", "..."]))
def test_fit_fills_the_width_exactly(name: str, width: int, keep: str, ellipsis: str):
    shown = escape(name)
    for align in ("left", "right"):
        assert cell_len(fit(shown, width, keep=keep, ellipsis=ellipsis, align=align)) == width
    cropped = crop(shown, width, keep=keep, ellipsis=ellipsis)
    if width == 0:
        assert cropped == ""  # not even a combining mark, which takes no cell
    elif cell_len(shown) <= width:
        assert cropped == shown
    elif width > cell_len(ellipsis):
        kept = cropped.removesuffix(ellipsis) if keep == "start" else cropped.removeprefix(ellipsis)
        assert shown.startswith(kept) if keep == "start" else shown.endswith(kept)
        # Not a cell is given away but where a wide character doesn't fit.
        assert cell_len(cropped) >= width - 1


def test_wide_characters_are_never_halved():
    assert crop("日本語", 4) == "日…"
    assert fit("日本語", 4) == "日… "
    assert crop("日本語", 4, keep="end") == "…語"
    assert fit("日本", 6, align="right") == "  日本"


def test_combining_marks_stay_with_their_base():
    assert crop("e\u0301e\u0301e\u0301", 2) == "e\u0301…"
    assert crop("e\u0301e\u0301e\u0301", 2, keep="end") == "…e\u0301"


def test_no_room():
    assert crop("abc", 0) == "" == fit("abc", 0) == crop("abc", -3)
    assert crop("abc", 1) == "…"
    assert crop("abc", 2, ellipsis="...") == ".."


@pytest.mark.parametrize(
    ("name", "width", "wanted"),
    [
        ("localhost/demo/commit:1", 23, "localhost/demo/commit:1"),
        ("localhost/demo/commit:1", 22, "demo/commit:1"),
        ("localhost/demo/commit:1", 13, "demo/commit:1"),
        ("localhost/demo/commit:1", 12, "…/commit:1"),
        ("localhost/demo/commit:1", 8, "…ommit:1"),
        ("docker.io/library/busybox:1.36", 20, "busybox:1.36"),
        ("docker.io/bitnami/redis:7", 20, "bitnami/redis:7"),
        ("quay.io/team/group/application:2", 31, "…/team/group/application:2"),
        ("quay.io/team/group/application:2", 21, "…/group/application:2"),
        ("host:5000/a/b:tag", 10, "…/a/b:tag"),
        ("<none>", 4, "…ne>"),
        ("localhost/", 4, ""),
        ("日本/日本語:1", 10, "…/日本語:1"),
        ("日本/日本語:1", 8, "…本語:1"),
        ("日本/日本語:1", 7, "…本語:1"),
        ("a/b", 0, ""),
    ],
)
def test_an_images_name_loses_its_beginning_part_by_part(name: str, width: int, wanted: str) -> None:
    """The host that podman and docker put before a name goes without a sign, the last part and the tag go last."""
    assert crop_image(name, width) == wanted
    assert cell_len(crop_image(name, width)) <= max(width, 0)
