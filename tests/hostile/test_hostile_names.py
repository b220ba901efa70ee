"""Names that a terminal would obey: escaped there, and the very bytes in a pipe."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import tree_facts
from spoiled import CONTAINER, Ask, Root

NAMES = [
    b"n" * 255,
    b"new\nline",
    b"esc\x1b[31m\x1b]0;title\x07red",
    b"not \xff\xfe utf8",
    b"carriage\rreturn",
    b"tab\tand\x7f",
    b"bidi\xe2\x80\xae overridden",
    b"c1\xc2\x9b31m",
    b"-rf",
    b" ",
    b"\\x1b",
    "ünï ✓".encode(),
    b"\xed\xa0\x80",
]


def _with_names(root: Root) -> Path:
    folder = root.upper / "names"
    folder.mkdir()
    for name in NAMES:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
        with open(os.path.join(os.fsencode(root.upper), b"link to " + name[:200]), "wb"):
            pass
    return folder


def _on_a_terminal(*command: str) -> bytes:
    """What a command writes to a terminal (standard output and error)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    assert process.wait(30) in (0, 1)
    return seen


def test_a_pipe_gets_names_as_they_are(root: Root, ask: Ask) -> None:
    _with_names(root)
    lines = ask("diff", CONTAINER).out
    for name in NAMES:
        assert b"A /names/" + name + b"\n" in lines
    listed = json.loads(ask("ls", f"{CONTAINER}:/names", "--json").out)
    assert {os.fsencode(path) for path in tree_facts.of_json(listed)} == {b"names/" + name for name in NAMES}
    for name in NAMES:
        assert ask("cat", f"{CONTAINER}:/names/{os.fsdecode(name)}").out == name
    assert {os.fsencode(path) for path in tree_facts.of_tar(ask("export", CONTAINER).out)} >= {
        b"names/" + name for name in NAMES
    }


@pytest.mark.parametrize("verb", [("diff",), ("ls", "-R"), ("ls", "-R", "--json"), ("diff", "--json"), ("stack",)])
def test_a_terminal_gets_no_name_that_it_would_obey(root: Root, verb: tuple[str, ...]) -> None:
    _with_names(root)
    command = [sys.executable, "-m", "layerscope", "--root", str(root.path), *verb, CONTAINER]
    environment = os.environ.get("NO_COLOR")
    os.environ["NO_COLOR"] = "1"
    try:
        seen = _on_a_terminal(*command)
    finally:
        os.environ.pop("NO_COLOR")
        if environment is not None:
            os.environ["NO_COLOR"] = environment
    text = seen.decode("utf-8")  # all of it is text
    assert text.strip()
    for character in text.replace("\r\n", "\n").replace("\n", ""):
        assert character.isprintable(), f"{character!r} reached the terminal"
    assert "‮" not in text
