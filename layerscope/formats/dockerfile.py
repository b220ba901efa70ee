"""A Dockerfile taken apart into stages of instructions, as docker's classic builder reads it.

| line | meaning |
| --- | --- |
| ``# escape=`` and a backslash or backtick, before all else | the character that continues lines and escapes; once |
| ``# syntax=…`` there | nothing to the classic builder |
| blanks, then ``#`` | a comment, also between continued lines |
| an escape character last, blanks behind it allowed | the next line belongs to this one, its blanks kept |
| nothing, between continued lines | left out, with a warning |
| ``WORD [--flag[=value] …] rest`` | an instruction; WORD in any case, quotes and backslashes in flags resolved |
| ``FROM BASE [AS NAME]`` | begins a stage; only ARG may stand before the first |

A byte order mark is left out; lines end in LF or CR LF and have at most 65,535 bytes; there are no here-documents.

Source: github.com/moby/buildkit frontend/dockerfile/parser/parser.go, split_command.go, instructions/parse.go, as in
docker 20.10.24.
"""

from __future__ import annotations

import re

from msgspec import Struct

from layerscope.errors import UsageError

INSTRUCTIONS = frozenset(
    (
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    )
)
"""Every instruction of the language."""
MOST_BYTES = 4 << 20
_LONGEST_LINE = 65_535
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")


class Instruction(Struct, frozen=True):
    """One instruction: its ``keyword`` in capitals, ``flags`` (with their dashes), the rest of its ``text``.

    ``original`` is the whole of it as one line, blanks at its end included; ``line`` counts from 1, where it begins.
    """

    keyword: str
    flags: tuple[str, ...]
    text: str
    original: str
    line: int


class Stage(Struct, frozen=True):
    """``FROM base AS name`` and what follows. ``name`` is in small letters, "" if it has none."""

    base: str
    name: str
    start: Instruction
    instructions: tuple[Instruction, ...]


class Dockerfile(Struct, frozen=True):
    """A whole file. ``arguments``: the ARG before the first stage. ``escape``: the character that escapes."""

    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    escape: str
    warnings: tuple[str, ...]


def parse_dockerfile(data: bytes) -> Dockerfile:
    """Take a file apart.

    Raises:
        UsageError: it isn't right; the text names the line.
    """
    if len(data) > MOST_BYTES:
        raise UsageError(f"the Dockerfile has {len(data)} bytes, at most {MOST_BYTES} are read")
    reader = _Lines(data)
    instructions = reader.instructions()
    if not instructions:
        raise UsageError("the Dockerfile has no instructions: the least is FROM and an image")
    arguments: list[Instruction] = []
    starts: list[tuple[Instruction, list[Instruction]]] = []
    for instruction in instructions:
        if instruction.keyword == "FROM":
            starts.append((instruction, []))
        elif starts:
            starts[-1][1].append(instruction)
        elif instruction.keyword == "ARG":
            arguments.append(instruction)
        else:
            raise mistake(instruction, "nothing but ARG may stand before the first FROM")
    if not starts:
        raise UsageError("the Dockerfile has no FROM: there is nothing to build on")
    stages: list[Stage] = []
    for start, inner in starts:
        stage = _stage(start, tuple(inner))
        if stage.name and any(stage.name == other.name for other in stages):
            raise mistake(start, f"there is a stage named {stage.name} already")
        stages.append(stage)
    return Dockerfile(tuple(arguments), tuple(stages), reader.escape, tuple(reader.warnings))


def parse_instruction(line: str, number: int = 1) -> Instruction:
    """One instruction in one line, such as a trigger that an image keeps.

    Raises:
        UsageError: there is no such instruction.
    """
    return _instruction(line, number)


def mistake(instruction: Instruction, what: str) -> UsageError:
    """What is wrong with an instruction, as an error that names it and its line."""
    return UsageError(f"Dockerfile line {instruction.line}: {instruction.keyword}: {what}")


def _stage(start: Instruction, inner: tuple[Instruction, ...]) -> Stage:
    words = _BLANKS.split(start.text) if start.text else []
    name = ""
    if len(words) == 3 and words[1].upper() == "AS":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise mistake(start, f"{words[2]!r:.80} is no name of a stage: a letter, then letters, digits, - _ or .")
    elif len(words) != 1:
        raise mistake(start, "expected an image, or an image, AS and a name")
    return Stage(words[0], name, start, inner)


class _Lines:
    """The lines of a file, put together to instructions."""

    def __init__(self, data: bytes) -> None:
        raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        if raw[-1] == b"":
            raw.pop()
        self._lines: list[str] = []
        for number, line in enumerate(raw, 1):
            if len(line) > _LONGEST_LINE:
                raise UsageError(f"Dockerfile line {number} has {len(line)} bytes, at most {_LONGEST_LINE} are read")
            try:
                self._lines.append(line.removesuffix(b"\r").decode())
            except UnicodeDecodeError:
                raise UsageError(f"Dockerfile line {number} is not UTF-8 text") from None
        self.warnings: list[str] = []
        self.escape = "\\"
        self._seen: set[str] = set()
        self._directives_end = False

    def instructions(self) -> list[Instruction]:
        found: list[Instruction] = []
        pending: list[str] = []
        start, gap = 0, False
        for number, raw in enumerate(self._lines, 1):
            line = raw if pending else raw.lstrip()
            self._directive(line, number)
            if raw.lstrip().startswith("#"):
                continue
            if pending and not raw.strip():
                gap = True
                continue
            part, continues = self._part(line)
            if not pending:
                if not part and not continues:
                    continue
                start, gap = number, False
            pending.append(part)
            if not continues:
                found.append(self._whole(pending, start, gap))
                pending = []
        if pending:
            found.append(self._whole(pending, start, gap))
        return found

    def _whole(self, parts: list[str], number: int, gap: bool) -> Instruction:
        line = "".join(parts)
        if gap:
            self.warnings.append(f"line {number}: empty lines between continued ones: {line.strip():.60}")
        return _instruction(line, number)

    def _part(self, line: str) -> tuple[str, bool]:
        """A line without the sign that it continues, and whether there was one."""
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and not bare.endswith(self.escape * 2):
            return bare[:-1], True
        return line, False

    def _directive(self, line: str, number: int) -> None:
        if self._directives_end:
            return
        found = _DIRECTIVE.fullmatch(line)
        name = found[1].lower() if found else ""
        if found is None or name not in ("escape", "syntax"):
            self._directives_end = True
            return
        if name in self._seen:
            raise UsageError(f"Dockerfile line {number}: only one {name} directive can be used")
        self._seen.add(name)
        if name == "escape":
            if found[2] not in ("\\", "`"):
                raise UsageError(f"Dockerfile line {number}: the escape character is \\ or `, not {found[2]!r:.40}")
            self.escape = found[2]


def _instruction(line: str, number: int) -> Instruction:
    word, *rest = _BLANKS.split(line.strip(), maxsplit=1)
    keyword = word.upper()
    if keyword not in INSTRUCTIONS:
        raise UsageError(f"Dockerfile line {number}: unknown instruction: {keyword!r:.80}")
    flags, text = _flags(rest[0]) if rest else ([], "")
    return Instruction(keyword, tuple(flags), text.strip(), line.lstrip(), number)


def _flags(line: str) -> tuple[list[str], str]:
    """The words at the start that begin with two dashes, and what follows; ``--`` alone ends them."""
    flags: list[str] = []
    position = 0
    while True:
        while line[position : position + 1].isspace():
            position += 1
        if not line.startswith("--", position):
            return flags, line[position:]
        word, quote, quoted = "", "", False
        while position < len(line):
            char = line[position]
            if not quote and char.isspace():
                break
            position += 1
            if char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote, quoted = char, True
            elif char == "\\":
                word += line[position : position + 1]
                position += 1
            else:
                word += char
        if word == "--" and not quoted:
            return flags, line[position:]
        flags.append(word)
