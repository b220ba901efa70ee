"""RUN: the small shell's file commands in a stage's layer. No program is run.

A line is given to the shell as a ``/bin/sh`` would read it: variables of the stage stand in it, replaced outside of
single quotes, divided at blanks outside of double ones. What else a shell would replace is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from layerscope.errors import CommitError, UsageError
from layerscope.lab.shell.commands import CHANGING
from layerscope.lab.shell.interpreter import Shell
from layerscope.lab.shell.looking import LOOKING
from layerscope.overlay.engine import Overlay

_NAME = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_SHELLS = (("/bin/sh", "-c"), ("sh", "-c"))
_ROOT = ("", "0", "root", "0:0", "root:root", "root:0", "0:root")


def run_script(
    overlay: Overlay,
    command: Sequence[str],
    directory: str,
    variables: Mapping[str, str],
    out: BinaryIO,
    tell: Callable[[str], None],
) -> None:
    """Carry out a command: a shell with its line, or a list of words.

    Args:
        overlay: the stage's files.
        command: the words, those of the shell first if it is a line.
        directory: where to begin.
        variables: what is replaced in a line.
        out: gets what commands print.
        tell: gets one line for each complaint.

    Raises:
        UsageError: the line can't be taken apart, or asks for more than there is.
        CommitError: the last command failed.
    """
    if len(command) == 3 and tuple(command[:2]) in _SHELLS:
        script = replaced(command[2], {"HOME": "/root", "PWD": directory, **variables})
    elif command and command[0].startswith("/bin/"):
        raise UsageError(f"{command[0]!r:.80} would be a program, and none is run: name a command of the shell")
    else:
        script = " ".join(_quoted(word) for word in command)
    complaint = ""

    def hear(text: str) -> None:
        nonlocal complaint
        complaint = text
        tell(text)

    shell = Shell(overlay, out, hear, {**LOOKING, **CHANGING})
    shell.directory = directory
    status = shell.run(script)
    if status:
        why = f" ({complaint:.200})" if complaint else ""
        raise CommitError(f"the command {' '.join(command)!r:.200} returned a non-zero code: {status}{why}")


def demand_root(user: str) -> None:
    """Refuse users whose files and rights the shell can't give to what it makes.

    Raises:
        CommitError: it isn't root.
    """
    if user not in _ROOT:
        raise CommitError(f"the shell works as root only, not as USER {user!r:.80}; put RUN before USER, and chown")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def replaced(line: str, variables: Mapping[str, str]) -> str:
    """A line with its variables replaced, so that the small shell reads it as a shell would.

    Raises:
        UsageError: something else would have to be replaced, or a quote isn't closed.
    """
    result: list[str] = []
    position, quote, word_begins = 0, "", True
    while position < len(line):
        char = line[position]
        if char == "\\" and quote != "'":
            result.append(line[position : position + 2])
            position += 2
        elif char == "$" and quote != "'":
            position = _variable(line, position, variables, quote, result)
        elif char == "`" and quote != "'":
            raise UsageError("this shell has no command substitution")
        elif char == "#" and not quote and word_begins:
            end = line.find("\n", position)
            position = len(line) if end < 0 else end
            continue
        else:
            if char in "'\"" and quote in ("", char):
                quote = "" if quote else char
            result.append(char)
            position += 1
        word_begins = not quote and char in " \t\n;&|"
    if quote:
        raise UsageError(f"no matching {quote} in {line!r:.100}")
    return "".join(result)


def _variable(line: str, position: int, variables: Mapping[str, str], quote: str, result: list[str]) -> int:
    found = _NAME.match(line, position)
    if found is None:
        following = line[position + 1 : position + 2]
        if following and (following.isalnum() or following in "{(@*#?-$!_"):
            raise UsageError(f"this shell replaces plain variables only, not {line[position : position + 20]!r}")
        result.append("\\$")
        return position + 1
    value = variables.get(found[1] or found[2], "")
    kept = " \t\n*?[]" if not quote else ""
    special = '"\\$' if quote else ""
    for char in value:
        plain = char.isalnum() or char in "_-./:,+=@%" or char in kept or (quote and char not in special)
        result.append(" " if char == "\n" and not quote else char if plain else f"\\{char}")
    return found.end()
