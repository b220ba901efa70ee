"""Dockerfiles taken apart, by the rules of docker's reference; tests/lab/test_build_live.py asks docker itself."""

from __future__ import annotations

import time

import pytest

from layerscope.errors import UsageError
from layerscope.formats.dockerfile import MOST_BYTES, Dockerfile, parse_dockerfile


def parsed(text: str) -> Dockerfile:
    return parse_dockerfile(text.encode())


def instructions(text: str) -> list[tuple[str, tuple[str, ...], str, int]]:
    """Keyword, flags, text and line of what follows the first FROM."""
    return [(one.keyword, one.flags, one.text, one.line) for one in parsed(text).stages[0].instructions]


def test_a_line_continues_behind_an_escape_character() -> None:
    assert instructions("FROM a\nRUN x \\\n  y\\  \nz\nENV A=1") == [("RUN", (), "x   yz", 2), ("ENV", (), "A=1", 5)]


def test_a_doubled_escape_character_continues_nothing() -> None:
    assert instructions("FROM a\nRUN x\\\\\nENV A=1") == [("RUN", (), "x\\\\", 2), ("ENV", (), "A=1", 3)]


def test_comments_and_empty_lines_between_continued_ones_are_left_out() -> None:
    text = "FROM a\nRUN x \\\n# no\n  # no\n\n y # stays\n# end\n"
    assert instructions(text) == [("RUN", (), "x  y # stays", 2)]
    (warning,) = parsed(text).warnings
    assert "line 2" in warning


def test_an_empty_line_alone_is_no_warning() -> None:
    assert parsed("FROM a\n\n\nRUN x\n").warnings == ()


def test_the_escape_directive_changes_what_continues() -> None:
    found = parsed("# ESCAPE = `\nFROM a\nRUN c:\\ `\n x")
    assert found.escape == "`"
    assert found.stages[0].instructions[0].text == "c:\\  x"


@pytest.mark.parametrize("before", ["# a comment\n", "\n", "FROM a\n", "# unknown=x\n"])
def test_a_directive_behind_anything_else_is_a_comment(before: str) -> None:
    assert parsed(f"{before}# escape=`\nFROM a\n").escape == "\\"


def test_directives_may_follow_each_other() -> None:
    assert parsed("# syntax=x\n# escape=`\nFROM a").escape == "`"


def test_flags_are_taken_from_the_start_with_quotes_resolved() -> None:
    text = 'FROM a\nCOPY --from=b --chown="a b":c\\ d x --y z\nCOPY -- --x y\nRUN --  a\n'
    assert instructions(text) == [
        ("COPY", ("--from=b", "--chown=a b:c d"), "x --y z", 2),
        ("COPY", (), "--x y", 3),
        ("RUN", (), "a", 4),
    ]


def test_stages_and_their_names() -> None:
    found = parsed("ARG A\nFROM $A AS One\nRUN x\nfrom b as two.3-x_\nFROM c\n")
    assert [(stage.base, stage.name) for stage in found.stages] == [("$A", "one"), ("b", "two.3-x_"), ("c", "")]
    assert [one.text for one in found.arguments] == ["A"]


def test_a_byte_order_mark_and_carriage_returns_are_left_out() -> None:
    found = parse_dockerfile(b"\xef\xbb\xbfFROM a\r\nRUN x \\\r\n y\r\n")
    assert found.stages[0].instructions[0].text == "x  y"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no instructions"),
        ("# only\n\n", "no instructions"),
        ("RUN x\nFROM a\n", "line 1: RUN: nothing but ARG"),
        ("ARG x\n", "no FROM"),
        ("FROM a\nFOO bar\n", "line 2: unknown instruction: 'FOO'"),
        ("FROM a\nRUN x \\\n y\n\n bar\n", "line 5: unknown instruction: 'BAR'"),
        ("FROM a\n\\\nRUNX\n", "line 2: unknown instruction: 'RUNX'"),
        ("FROM\n", "line 1: FROM: expected an image"),
        ("FROM a b\n", "line 1: FROM: expected an image"),
        ("FROM a AS\n", "line 1: FROM: expected an image"),
        ("FROM a AS 1st\n", "is no name of a stage"),
        ("FROM a AS x\nFROM b AS X\n", "line 2: FROM: there is a stage named x already"),
        ("# escape=x\nFROM a\n", "line 1: the escape character"),
        ("# escape=`\n# escape=`\nFROM a\n", "line 2: only one escape directive"),
        ("FROM a\nRUN " + "x" * 70_000, "line 2 has 70004 bytes"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    assert said in str(caught.value)


def test_what_is_no_text_is_refused_with_its_line() -> None:
    with pytest.raises(UsageError, match="line 2 is not UTF-8"):
        parse_dockerfile(b"FROM a\nENV A=\xff\n")


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="at most"):
        parse_dockerfile(b"#" * (MOST_BYTES + 1))


def test_many_short_lines_are_read_in_time_that_grows_with_them() -> None:
    begun = time.process_time()
    parsed("FROM a\nRUN x " + "\\\n" * 500_000 + "\n" + "RUN y\n" * 100_000)
    assert time.process_time() - begun < 20
