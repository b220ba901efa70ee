"""A line of the small shell taken apart: words with their quotes resolved, patterns, redirections, operators.

``'…'`` is taken as it is; in ``"…"`` a backslash keeps ``"``, ``\\`` and ``$``; outside it keeps anything. ``#`` at
the start of a word begins a comment. Between commands stand ``;``, a newline, ``&&`` or ``||``; ``>``, ``>>`` and
``<`` lead to files. There are no variables, pipes or programs.
"""

from __future__ import annotations

from msgspec import Struct, field

from layerscope.errors import UsageError

_PATTERN = "*?["
_UNSUPPORTED = {"|": "pipes", "&": "background jobs", "`": "command substitution", "(": "subshells", ")": "subshells"}


class Word(Struct, frozen=True):
    """A word; in ``pattern`` the characters ``*``, ``?`` and ``[`` that were quoted stand in brackets."""

    text: str
    pattern: str | None = None


class Command(Struct):
    """One simple command. ``joiner``: what stands before it (``;``, ``&&`` or ``||``)."""

    joiner: str = ";"
    words: list[Word] = field(default_factory=list)
    source: Word | None = None
    target: Word | None = None
    append: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.words or self.source or self.target)


def parse_script(text: str) -> list[Command]:
    """The commands of a script.

    Raises:
        UsageError: a quote isn't closed, or it uses what this shell doesn't have.
    """
    return _Parser(text).commands()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\\\n", "")
        self._position = 0

    def commands(self) -> list[Command]:
        found: list[Command] = []
        command = Command()
        redirection = ""
        while True:
            self._skip_blanks()
            char = self._peek()
            if redirection and char in ("", "\n", ";", "&", "|", ">", "<"):
                raise UsageError(f"{redirection} needs the name of a file behind it")
            if char == "" or char in "\n;" or self._text.startswith(("&&", "||"), self._position):
                joiner = self._operator()
                if command.is_empty and joiner in ("&&", "||"):
                    raise UsageError(f"{joiner} needs a command before it")
                if not command.is_empty:
                    found.append(command)
                elif command.joiner in ("&&", "||") and joiner != "\n":
                    raise UsageError(f"{command.joiner} needs a command behind it")
                if not joiner:
                    return found
                if not (joiner == "\n" and command.is_empty and command.joiner != ";"):
                    command = Command(joiner if joiner in ("&&", "||") else ";")
            elif char in "<>":
                redirection = ">>" if self._text.startswith(">>", self._position) else char
                self._position += len(redirection)
            elif char in _UNSUPPORTED:
                raise UsageError(f"this shell has no {_UNSUPPORTED[char]} ({char!r})")
            else:
                word = self._word()
                if redirection == "<":
                    command.source = word
                elif redirection:
                    command.target, command.append = word, redirection == ">>"
                else:
                    command.words.append(word)
                redirection = ""

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _skip_blanks(self) -> None:
        while self._peek() in (" ", "\t", "\r") and self._peek():
            self._position += 1
        if self._peek() == "#":
            end = self._text.find("\n", self._position)
            self._position = len(self._text) if end < 0 else end

    def _operator(self) -> str:
        """The operator here, taken; "" at the end."""
        for operator in ("&&", "||"):
            if self._text.startswith(operator, self._position):
                self._position += 2
                return operator
        char = self._peek()
        self._position += 1
        return char

    def _word(self) -> Word:
        text = pattern = ""
        is_pattern = False
        while (char := self._peek()) and char not in " \t\r\n;<>&|()`":
            self._position += 1
            if char in "'\"":
                quoted = self._quoted(char)
                text += quoted
                pattern += _literal(quoted)
            elif char == "\\":
                quoted = self._peek()
                self._position += 1
                text += quoted
                pattern += _literal(quoted)
            else:
                text += char
                pattern += char
                is_pattern = is_pattern or char in _PATTERN
        return Word(text, pattern if is_pattern else None)

    def _quoted(self, quote: str) -> str:
        text = ""
        while True:
            char = self._peek()
            self._position += 1
            if not char:
                raise UsageError(f"no matching {quote} in {self._text[:100]!r}")
            if char == quote:
                return text
            if char == "\\" and quote == '"' and self._peek() in ('"', "\\", "$"):
                char = self._peek()
                self._position += 1
            text += char


def _literal(text: str) -> str:
    """A pattern that matches this text only."""
    return "".join(f"[{char}]" if char in _PATTERN else char for char in text)
