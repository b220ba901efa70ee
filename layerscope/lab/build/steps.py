"""What each instruction of a Dockerfile says: its words, pairs and options, checked before anything is built.

| instruction | words | pairs | options |
| --- | --- | --- | --- |
| ENV, LABEL | | names and values | |
| ARG | | names, and values or None | |
| ADD, COPY | sources, then the destination | | ``chown``, COPY also ``from`` |
| RUN, CMD, ENTRYPOINT, SHELL | the list, or the one line for the shell; CMD and ENTRYPOINT may have none | | |
| EXPOSE | ports, sorted | | |
| VOLUME | paths | | |
| all others | the one text | | HEALTHCHECK keeps its flags in it |

Source: github.com/moby/buildkit frontend/dockerfile/parser/line_parsers.go, instructions/parse.go, as in docker
20.10.24.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from msgspec import Struct, field

from layerscope.errors import UsageError
from layerscope.formats.dockerfile import Instruction, mistake, parse_instruction
from layerscope.lab.build.words import name_values, split_words

_ON_BUILD = re.compile(r"ONBUILD\s*", re.ASCII | re.IGNORECASE)
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_FLAGS = {"ADD": {"chown", "chmod"}, "COPY": {"chown", "chmod", "from"}}
_MAY_BE_EMPTY = {"CMD", "ENTRYPOINT"}
_LISTS = {"RUN", "CMD", "ENTRYPOINT", "SHELL"}
_ONLY_BUILDKIT = "is BuildKit's alone: the classic builder, whose steps are made here, has no such flag"


class Step(Struct, frozen=True):
    """One instruction, taken apart. ``is_list``: its words were a JSON list, so no shell comes before them.

    ``literal``: nothing in it is replaced, since it came from the command line.
    """

    instruction: Instruction
    words: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str | None], ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    is_list: bool = False
    literal: bool = False

    @property
    def keyword(self) -> str:
        """The instruction's name, in capitals."""
        return self.instruction.keyword


def parse_step(instruction: Instruction, escape: str) -> Step:
    """Take an instruction apart.

    Raises:
        UsageError: it isn't right; the text names it and its line.
    """
    try:
        return _step(instruction, escape)
    except UsageError as error:
        if str(error).startswith("Dockerfile line"):
            raise
        raise mistake(instruction, str(error)) from None


def label_step(name: str, value: str) -> Step:
    """The step of a label that the command line gives."""
    original = f"LABEL {name}={value}"
    return Step(Instruction("LABEL", (), f"{name}={value}", original, 0), pairs=((name, value),), literal=True)


def _step(instruction: Instruction, escape: str) -> Step:
    keyword, text = instruction.keyword, instruction.text
    options = _options(instruction)
    if keyword in ("ENV", "LABEL"):
        return Step(instruction, pairs=tuple(name_values(text, keyword, escape)))
    if keyword == "ARG":
        return Step(instruction, pairs=_arguments(text, escape))
    if not text and keyword in _MAY_BE_EMPTY:
        return Step(instruction)
    if not text:
        raise UsageError("requires at least one argument")
    if keyword in _LISTS:
        words = string_list(text)
        if keyword == "SHELL" and not words:
            raise UsageError(f'the shell is a JSON list such as ["/bin/sh", "-c"], not {text!r:.80}')
        return Step(instruction, (text,) if words is None else tuple(words), is_list=words is not None)
    if keyword in ("ADD", "COPY", "VOLUME"):
        words = string_list(text)
        words = _BLANKS.split(text) if words is None else words
        if keyword == "VOLUME":
            words = [word.strip() for word in words]
            if not words or not all(words):
                raise UsageError("a volume can't be an empty text")
        elif len(words) < 2:
            raise UsageError("requires at least two arguments: what to copy, and where to")
        return Step(instruction, tuple(words), options=options)
    if keyword == "EXPOSE":
        return Step(instruction, tuple(sorted(_BLANKS.split(text), key=str.encode)))
    if keyword == "ONBUILD":
        _check_trigger(text, instruction.line, escape)
        text = _ON_BUILD.sub("", instruction.original)  # blanks at its end are part of it
    elif keyword == "HEALTHCHECK":
        text = " ".join((*instruction.flags, text))
    return Step(instruction, (text,))


def _options(instruction: Instruction) -> dict[str, str]:
    keyword = instruction.keyword
    if keyword == "HEALTHCHECK":
        return {}
    found: dict[str, str] = {}
    for flag in instruction.flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        if keyword == "RUN" or name == "chmod":
            raise UsageError(f"--{name:.40} {_ONLY_BUILDKIT}")
        if name not in _FLAGS.get(keyword, ()):
            raise UsageError(f"unknown flag --{name:.40}")
        if not equals:
            raise UsageError(f"--{name} needs a value")
        if name in found:
            raise UsageError(f"--{name} is there twice")
        found[name] = value
    return found


def _arguments(text: str, escape: str) -> tuple[tuple[str, str | None], ...]:
    pairs: list[tuple[str, str | None]] = []
    for word in split_words(text, escape):
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"names can not be blank, in {word!r:.80}")
        pairs.append((name, value if equals else None))
    if not pairs:
        raise UsageError("requires at least one argument")
    return tuple(pairs)


def string_list(text: str) -> list[str] | None:
    """The strings of the JSON list that a text begins with, None if it begins with none.

    Raises:
        UsageError: it is a list of something else.
    """
    if not text.startswith("["):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(member, str) for member in value):
        raise UsageError("in a JSON list all members must be texts")
    return list(value)


def _check_trigger(text: str, line: int, escape: str) -> None:
    trigger = parse_instruction(text, line)
    if trigger.keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise UsageError(f"{trigger.keyword} isn't allowed as a trigger")
    parse_step(trigger, escape)
