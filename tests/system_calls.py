"""What a command asks of the kernel, heard through strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<rest>.*)$")
_OPENED = re.compile(r"^<(?P<path>.*)>$")
_DESCRIPTOR = re.compile(r"^(?:-?\d+|AT_FDCWD)<(?P<path>[^>]*)>")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"^\d+ +<\.\.\. \w+ resumed>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Call(NamedTuple):
    """One system call. ``result`` is -1 for an error; ``opened`` the path of the descriptor that it gave, if any."""

    name: str
    arguments: str
    result: int
    opened: str

    @property
    def folder(self) -> str:
        """The path of the descriptor that is its first argument, "" if it isn't one."""
        found = _DESCRIPTOR.match(self.arguments)
        return _plain(found["path"]) if found else ""

    @property
    def paths(self) -> list[str]:
        """Its text arguments as absolute paths, as far as they are such."""
        return [os.path.join(self.folder or "/", _plain(text)) for text in _QUOTED.findall(self.arguments)]


@cache
def no_strace() -> str | None:
    """Why system calls can't be heard here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace can't trace here: {tried.stderr.strip()[:100]}"


def python(code: str) -> list[str]:
    """A command that runs ``code``."""
    return [sys.executable, "-B", "-c", code]


def layerscope(*arguments: str) -> list[str]:
    """A command that runs the program."""
    return [sys.executable, "-B", "-m", "layerscope", *arguments]


def calls(command: Sequence[str], trace: str, told: Path, codes: Sequence[int] = (0,)) -> list[Call]:
    """The calls of the kinds ``trace`` (as strace names them) that a command makes; it must end with one of ``codes``.

    ``told`` is a file for strace to write to.
    """
    listen = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", f"trace={trace}", "-e", "signal=none", "-o", str(told)]
    done = subprocess.run([*listen, *command], capture_output=True, check=False)
    assert done.returncode in codes, done
    return list(_parsed(told.read_text(errors="replace")))


def _joined(text: str) -> Iterator[str]:
    """The lines, each call that another thread or process came into on one line, where it ended."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        thread = line.partition(" ")[0]
        if line.endswith(_UNFINISHED):
            begun[thread] = line.removesuffix(_UNFINISHED)
        elif resumed := _RESUMED.match(line):
            yield begun.pop(thread) + line[resumed.end() :]
        else:
            yield line


def _parsed(text: str) -> Iterator[Call]:
    for line in _joined(text):
        found = _LINE.match(line)
        if found is None:
            continue
        opened = _OPENED.match(found["rest"])
        result = -1 if found["result"] == "?" else int(found["result"])
        yield Call(found["name"], found["arguments"], result, _plain(opened["path"]) if opened else "")


def _plain(path: str) -> str:
    """A path without strace's escapes."""
    return os.fsdecode(path.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1"))
