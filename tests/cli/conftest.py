"""The command line, called inside of this process or as a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layerscope.cli.main import run


@dataclass(frozen=True)
class Answer:
    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.decode("utf-8", "surrogateescape").splitlines()


Ask = Callable[..., Answer]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAYERSCOPE_ROOT", "LAYERSCOPE_DEBUG", "NO_COLOR", "_LAYERSCOPE_COMPLETE", "COMP_LINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ask(capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """``ask(word, …, root=PATH)``: the answer of the verb, standard output being no terminal."""

    def call(*words: str, root: Path | None = None) -> Answer:
        capsysbinary.readouterr()
        code = run([*words, *(("--root", str(root)) if root is not None else ())])
        captured = capsysbinary.readouterr()
        return Answer(code, captured.out, captured.err.decode())

    return call


def program(*words: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """The program in a process of its own; standard input is empty and no terminal."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "layerscope", *words],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=60,
        **options,
    )


@pytest.fixture
def as_program() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    return program
