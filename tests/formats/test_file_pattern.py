"""Patterns of names, by the examples of Go's ``filepath.Match`` and docker's reference on ``.dockerignore``."""

from __future__ import annotations

import time

import pytest

from layerscope.errors import UsageError
from layerscope.formats.file_pattern import FilePattern, IgnoreRules, ignore_rules


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        # Go src/path/filepath/match_test.go
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^b-d]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[x\\-]", "z", False),
        ("[\\-x]", "a", False),
        ("*x", "xxx", True),
    ],
)
def test_fits_as_in_go(pattern: str, name: str, fits: bool) -> None:
    assert FilePattern(pattern).fits(name) is fits


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a[x"])
def test_refused_as_in_go(pattern: str) -> None:
    with pytest.raises(UsageError):
        FilePattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        # moby pkg/fileutils/fileutils_test.go
        ("**", "file", True),
        ("**", "file/", True),
        ("**/", "file", True),
        ("**/", "dir/file", True),
        ("**/**", "dir/file", True),
        ("dir/**", "dir/file", True),
        ("dir/**", "dir/dir2/file", True),
        ("**/dir", "dir", True),
        ("**/dir", "dir2/dir", True),
        ("**/dir", "dir2x", False),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**/dir2/**", "dir/dir2/dir2/file", True),
        ("**file", "file", True),
        ("**file", "dir/file", True),
        ("**/file", "dir/dir/file", True),
        ("**file", "dir/xfile", False),
        ("**/file*", "dir/dir/file.txt", True),
        ("**/file*txt", "dir/dir/file.txt", True),
        ("**/file*.txt*", "dir/dir/file.txt", True),
        ("**/**/*.txt", "dir/dir/file.txt", True),
        ("**/**/*.txt2", "dir/dir/file.txt", False),
        ("**/*.txt", "file.txt", True),
        ("**/**/*.txt", "file.txt", True),
        ("a**/*.txt", "a/file.txt", True),
        ("a**/*.txt", "a/dir/dir/file.txt", True),
        ("a[b-d]e", "ace", True),
        (".*", ".foo", True),
        (".*", "foo", False),
        ("abc.def", "abcdef", False),
        ("abc?def", "abc/def", False),
        ("a\\*b", "a*b", True),
        ("**/foo/bar", "dir/foo/bar", True),
        ("abc/**", "abc", False),
        ("abc/**", "abc/def/ghi", True),
        ("**/.foo", ".foo", True),
        ("**/.foo", "bar.foo", False),
    ],
)
def test_any_number_of_directories(pattern: str, name: str, fits: bool) -> None:
    assert FilePattern(pattern, double_star=True).fits(name) is fits


def test_the_last_rule_that_fits_counts() -> None:
    rules = IgnoreRules(ignore_rules(b"# c\n\n *.md \n!README*.md\nREADME-secret.md\n"))
    names = ("a.md", "README.md", "README-x.md", "README-secret.md", "a.txt")
    assert [rules.leaves_out(name) for name in names] == [True, False, False, True, False]


def test_a_rule_about_a_directory_holds_below_it() -> None:
    rules = IgnoreRules(ignore_rules(b"/a/b/\n!a/b/c\nd/../e\n"))
    assert rules.leaves_out("a/b/x/y")
    assert not rules.leaves_out("a/b/c/y")
    assert rules.leaves_out("e/f")
    assert rules.may_keep_below("a/b") and not rules.may_keep_below("e")


def test_a_rule_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="keeps nothing"):
        IgnoreRules(ignore_rules(b"!\n"))


def test_no_pattern_takes_long() -> None:
    begun = time.process_time()
    assert not FilePattern("**/a*" * 400 + "b", double_star=True).fits("a/" * 500 + "a")
    assert not FilePattern("a*" * 500 + "b").fits("a" * 1000)
    assert time.process_time() - begun < 10
