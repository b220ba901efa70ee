"""Labs to work in, and the command line called inside of this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerscope.cli.main import run
from layerscope.services.lab.lab import new_lab


@dataclass(frozen=True)
class Said:
    """How a command line ended, what it wrote and what it told."""

    code: int
    out: bytes
    err: str

    @property
    def line(self) -> str:
        """The only line of output."""
        (line,) = self.out.decode().splitlines()
        return line


Call = Callable[..., Said]


@pytest.fixture
def lab_path(tmp_path: Path) -> Path:
    """A lab root with its small image ``base:1.0``."""
    path = tmp_path / "lab"
    new_lab(path)
    return path


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Call:
    """``call(word, …, root=PATH)``: the verb's end and output."""
    monkeypatch.delenv("LAYERSCOPE_ROOT", raising=False)

    def invoke(*words: str | Path, root: Path | None = None) -> Said:
        capfdbinary.readouterr()
        code = run([*map(str, words), *(("--root", str(root)) if root is not None else ())])
        captured = capfdbinary.readouterr()
        return Said(code, captured.out, captured.err.decode("utf-8", "replace"))

    return invoke
