"""Patterns of file names, as in ``.dockerignore`` and as sources of COPY.

| in a pattern | fits |
| --- | --- |
| ``*`` | any characters but ``/`` |
| ``?`` | one character but ``/`` |
| ``[a-z]``, ``[^a-z]`` | one character of a set, or of none of it |
| ``\\x`` | x itself |
| ``**`` (only with ``double_star``) | any number of directories, none too; at the end everything |

A pattern is tried by following all its ways at once, so that none takes longer than its length times the name's.
Sources: Go path/filepath/match.go; moby pkg/fileutils/fileutils.go, as in 20.10.24.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from msgspec import Struct

from layerscope.errors import UsageError

_LONGEST = 4096
_ANY, _STAR, _MAYBE, _DIRECTORIES, _REST = "?one", "*name", "**/or nothing", "**/", "**"
"""Tokens of more than one character: one but a slash; any of them; what may be left out with the next; names; all."""


class _CharSet(Struct, frozen=True):
    negated: bool
    ranges: tuple[tuple[str, str], ...]

    def holds(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) is not self.negated


_Token = str | _CharSet


class FilePattern:
    """One pattern, ready to be tried.

    Raises:
        UsageError: a set isn't closed, or the pattern is too long.
    """

    def __init__(self, text: str, *, double_star: bool = False) -> None:
        if len(text) > _LONGEST:
            raise UsageError(f"the pattern {text[:40]!r}… has {len(text)} characters, at most {_LONGEST} are taken")
        self._tokens = _tokens(text, double_star)

    def fits(self, name: str) -> bool:
        """Whether the whole of a name fits."""
        tokens = self._tokens
        places = self._reached({0})
        for char in name:
            after: set[int] = set()
            for place in places:
                token = tokens[place] if place < len(tokens) else None
                if token == _REST or (token == _STAR and char != "/"):
                    after.add(place)
                elif token == _DIRECTORIES:
                    after.add(place)
                    if char == "/":
                        after.add(place + 1)
                elif isinstance(token, _CharSet):
                    if token.holds(char):
                        after.add(place + 1)
                elif token == char or (token == _ANY and char != "/"):
                    after.add(place + 1)
            places = self._reached(after)
            if not places:
                return False
        return len(tokens) in places

    def _reached(self, places: set[int]) -> set[int]:
        """Also the places that are reached without a character."""
        pending = list(places)
        while pending:
            place = pending.pop()
            token = self._tokens[place] if place < len(self._tokens) else None
            steps = (1,) if token in (_STAR, _REST) else (1, 2) if token == _MAYBE else ()
            for step in steps:
                if place + step not in places:
                    places.add(place + step)
                    pending.append(place + step)
        return places


def _tokens(text: str, double_star: bool) -> list[_Token]:
    """Characters as they are, and what stands for more."""
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*" and double_star and text.startswith("*", position):
            position += 1
            if text.startswith("/", position):
                position += 1
            wanted: list[_Token] = [_MAYBE, _DIRECTORIES] if position < len(text) else [_REST]
            if tokens[-len(wanted) :] != wanted:
                tokens += wanted
        elif char == "*":
            if tokens[-1:] != [_STAR]:
                tokens.append(_STAR)
        elif char == "?":
            tokens.append(_ANY)
        elif char == "[":
            position = _char_set(text, position, tokens)
        elif char == "\\" and position < len(text):
            tokens.append(text[position])
            position += 1
        else:
            tokens.append(char)
    return tokens


def _char_set(text: str, position: int, tokens: list[_Token]) -> int:
    negated = text.startswith("^", position)
    position += negated
    ranges: list[tuple[str, str]] = []
    while True:
        if ranges and text.startswith("]", position):
            tokens.append(_CharSet(negated, tuple(ranges)))
            return position + 1
        low, position = _set_member(text, position)
        high = low
        if text.startswith("-", position):
            high, position = _set_member(text, position + 1)
        ranges.append((low, high))


def _set_member(text: str, position: int) -> tuple[str, int]:
    if text.startswith("\\", position):
        position += 1
    elif text[position : position + 1] in ("-", "]"):
        raise UsageError(f"the pattern {text!r:.200} has a set that isn't right")
    if position >= len(text):
        raise UsageError(f"the pattern {text!r:.200} has a set that isn't closed")
    return text[position], position + 1


class _Rule(Struct, frozen=True):
    pattern: FilePattern
    text: str
    directories: int
    keeps: bool


class IgnoreRules:
    """What a ``.dockerignore`` leaves out; the last rule that fits a path, or a directory above it, counts.

    Raises:
        UsageError: a rule isn't right.
    """

    def __init__(self, rules: Sequence[str]) -> None:
        self._rules: list[_Rule] = []
        for rule in rules:
            keeps = rule.startswith("!")
            text = rule.removeprefix("!")
            if not text:
                raise UsageError('.dockerignore: the rule "!" keeps nothing')
            self._rules.append(_Rule(FilePattern(text, double_star=True), text, text.count("/") + 1, keeps))

    def may_keep_below(self, path: str) -> bool:
        """Whether a directory that is left out is still looked into: a rule that keeps something begins with it."""
        return any(rule.keeps and f"{rule.text}/".startswith(f"{path}/") for rule in self._rules)

    def leaves_out(self, path: str) -> bool:
        """Whether a path (relative, no final slash) is left out."""
        parents = path.split("/")[:-1]
        out = False
        for rule in self._rules:
            if rule.keeps is not out:
                continue  # it would change nothing
            if rule.pattern.fits(path) or (
                rule.directories <= len(parents) and rule.pattern.fits("/".join(parents[: rule.directories]))
            ):
                out = not rule.keeps
        return out


def ignore_rules(data: bytes) -> list[str]:
    """The rules of a ``.dockerignore``, cleaned: without comments, blanks and first slashes."""
    rules = []
    for line in data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n"):
        text = line.strip()
        if line.startswith("#") or not text:
            continue
        keeps = text.startswith("!")
        text = text[1:].strip() if keeps else text
        if text:
            text = posixpath.normpath(text)
            text = text.lstrip("/") if len(text) > 1 else text
        rules.append(("!" if keeps else "") + text)
    return rules
