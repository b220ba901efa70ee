"""The line on standard error while something long goes on: only on a terminal, and gone when the answer comes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerscope.cli.progress import Progress

LINES = {
    ("waste", "one"): "looking for waste",
    ("stack", "one"): "counting",
    ("diff", "one@0", "one"): "comparing",
    ("find", "nowhere", "one"): "searched",
    ("find", "--json", "nowhere"): "searched",
}
SLOW = """
import itertools, sys
from layerscope.cli import progress
ticks = itertools.count()
progress.time.monotonic = lambda: float(next(ticks))  # so every step is late enough to be shown
from layerscope.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


class Terminal:
    """A standard error that is a terminal."""

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None:
        pass


def test_what_was_reached_is_counted_and_never_asks_for_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, now = Terminal(), [0.0]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress("looking") as progress:
        for _ in range(100):
            now[0] += 0.01
            assert progress.passed() is False
    assert "looking 26 entries" in terminal.written or "looking 25 entries" in terminal.written
    assert terminal.written.count("looking") == 4 or terminal.written.count("looking") == 3
    assert terminal.written.endswith("\r\x1b[K")


@pytest.mark.parametrize("words", LINES)
def test_long_verbs_tell_what_they_do(words: tuple[str, ...], tmp_path: Path) -> None:
    for number, name in enumerate(("lower", "upper")):
        (tmp_path / name / f"folder{number}").mkdir(parents=True)
        for file in "ab":
            (tmp_path / name / f"folder{number}" / file).write_text("same")
    overlay = f"overlay:lowerdir={tmp_path / 'lower'},upperdir={tmp_path / 'upper'}"
    verb, *refs = words
    refs = ["container:overlay".join(ref.split("one")) if ref.startswith("one") else ref for ref in refs]
    parent, child = pty.openpty()
    command = [sys.executable, "-c", SLOW, verb, *refs, "--root", overlay]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, check=False)
    os.close(child)
    told = os.read(parent, 1 << 16).decode()
    os.close(parent)
    assert done.returncode == 0, told
    assert re.search(rf"{LINES[words]} [12] entries", told)
    assert told.endswith("\r\x1b[K")
    plain = subprocess.run(command, capture_output=True, check=False)
    assert plain.stdout == done.stdout
    assert plain.stderr == b""


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_hits_on_the_terminal_end_the_line(form: tuple[str, ...], tmp_path: Path) -> None:
    """What is found comes after the line was taken away, and none is written among it; elsewhere the line goes on."""
    for number in range(5):
        (tmp_path / "lower" / f"{number}" / "deep").mkdir(parents=True)
        (tmp_path / "lower" / f"{number}" / "deep" / "wanted").touch()
    (tmp_path / "upper").mkdir()
    overlay = f"overlay:lowerdir={tmp_path / 'lower'},upperdir={tmp_path / 'upper'}"
    command = [sys.executable, "-c", SLOW, "find", *form, "wanted", "--root", overlay]
    parent, child = pty.openpty()
    subprocess.run(command, stdout=child, stderr=child, check=True)
    os.write(child, b"\0")
    told = b""
    while not told.endswith(b"\0"):
        told += os.read(parent, 1 << 16)
    line, _, rest = told.decode().rpartition("\r\x1b[K")
    assert "searched" in line
    assert "wanted" not in line
    assert rest.count("wanted") >= 5
    assert "searched" not in rest
    apart = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, check=True)
    assert apart.stdout.count(b"wanted") >= 5
    told = os.read(parent, 1 << 16)
    assert told.count(b"searched") > line.count("searched")
    assert told.endswith(b"\r\x1b[K")
    os.close(child)
    os.close(parent)
