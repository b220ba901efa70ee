"""The words of a Dockerfile instruction: how a line falls into words, how quotes and variables in them are resolved.

Source: github.com/moby/buildkit frontend/dockerfile/parser/line_parsers.go, frontend/dockerfile/shell/lex.go, as in
docker 20.10.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from layerscope.errors import UsageError

_SPECIAL = "@*#?-$!0"


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Words divided by blanks outside of quotes; quotes and escapes stay in them."""
    words: list[str] = []
    word, quote, in_word = "", "", False
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if not quote and char.isspace():
            if in_word:
                words.append(word)
            word, in_word = "", False
            continue
        if char == escape and quote != "'":
            if position == len(text):
                break
            word, in_word = word + char + text[position], True
            position += 1
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        word, in_word = word + char, True
    if in_word:
        words.append(word)
    return words


def name_values(text: str, instruction: str, escape: str = "\\") -> list[tuple[str, str]]:
    """``NAME=VALUE …``, or the old ``NAME VALUE`` where the value is the whole rest.

    Raises:
        UsageError: it is neither.
    """
    words = split_words(text, escape)
    if words and "=" not in words[0]:
        parts = text.split(None, 1)
        if len(parts) < 2:
            raise UsageError(f"{instruction} must have two arguments, in {text!r}")
        return [(parts[0], parts[1])]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{instruction}: no = in {word!r}; it must have the form name=value")
        if not name:
            raise UsageError(f"{instruction}: names can not be blank, in {word!r}")
        pairs.append((name, value))
    if not pairs:
        raise UsageError(f"{instruction} requires at least one argument")
    return pairs


def string_list(text: str) -> list[str] | None:
    """The strings of a JSON list, None if the text isn't one (it is a shell's line then).

    Raises:
        UsageError: it is a list of something else.
    """
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(member, str) for member in value):
        raise UsageError(f"in a JSON list all members must be strings: {text!r:.200}")
    return value


def environment(variables: list[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping; of two with one name the first counts."""
    found: dict[str, str] = {}
    for variable in variables or ():
        name, _, value = variable.partition("=")
        found.setdefault(name, value)
    return found


def resolve(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """``word`` without its quotes, variables replaced; a variable that isn't there is empty.

    Raises:
        UsageError: a quote or brace isn't closed, or the substitution is unknown.
    """
    return _Word(word, variables, escape).up_to("")


class _Word:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._position = 0

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        char = self._peek()
        self._position += 1
        return char

    def up_to(self, stop: str) -> str:
        result = ""
        while char := self._peek():
            if char == stop:
                self._next()
                return result
            if char == "'":
                result += self._single()
            elif char == '"':
                result += self._double()
            elif char == "$":
                result += self._variable()
            else:
                self._next()
                result += self._next() if char == self._escape else char
        if stop:
            raise UsageError(f"missing {stop!r} in {self._text!r:.200}")
        return result

    def _single(self) -> str:
        self._next()
        end = self._text.find("'", self._position)
        if end < 0:
            raise UsageError(f"no matching single quote in {self._text!r:.200}")
        found, self._position = self._text[self._position : end], end + 1
        return found

    def _double(self) -> str:
        self._next()
        result = ""
        while char := self._peek():
            if char == '"':
                self._next()
                return result
            if char == "$":
                result += self._variable()
                continue
            self._next()
            if char == self._escape:
                if not self._peek():
                    continue
                if self._peek() in ('"', "$", self._escape):
                    char = self._next()
            result += char
        raise UsageError(f"no matching double quote in {self._text!r:.200}")

    def _variable(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._next()
        if self._peek() in ("", "{", "}", ":"):
            raise UsageError(f"bad substitution in {self._text!r:.200}")
        name = self._name()
        value = self._variables.get(name, "")
        char = self._next()
        if char == "}":
            return value
        modifier = self._next() if char == ":" else ""
        if modifier not in ("+", "-", "?") or not modifier:
            raise UsageError(f"unsupported substitution in {self._text!r:.200}")
        word = self.up_to("}")
        if modifier == "+":
            return word if value else value
        if modifier == "?" and not value:
            raise UsageError(f"{name}: {word or 'is not allowed to be unset'}")
        return value or word

    def _name(self) -> str:
        name = ""
        while char := self._peek():
            if not name and char.isdigit():
                while self._peek().isdigit():
                    name += self._next()
                return name
            if not name and char in _SPECIAL:
                return self._next()
            if not (char.isalnum() or char == "_"):
                break
            name += self._next()
        return name
