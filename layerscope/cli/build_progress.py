"""How a build goes on, on standard error: docker's own lines, and on a terminal a bar below them."""

from __future__ import annotations

import io
import os
import sys
from types import TracebackType
from typing import BinaryIO, Self

from layerscope.cli.render.escape import escaped_text

_CLEAR = "\r\x1b[K"
_BAR = 20


class BuildProgress:
    """A context manager that leaves no bar behind. ``quiet``: nothing is told at all."""

    def __init__(self, *, quiet: bool = False, ascii_only: bool = False) -> None:
        self._quiet = quiet
        self._is_terminal = not quiet and sys.stderr is not None and sys.stderr.isatty()
        encoding = (sys.stderr.encoding or "") if sys.stderr is not None else ""
        self._marks = "━╺" if not ascii_only and "utf" in encoding.lower() else "#-"
        self._bar = ""
        self._output = _Lines(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.end()
        self._bar = ""
        if self._is_terminal:
            self._write(_CLEAR)

    @property
    def output(self) -> BinaryIO:
        """What RUN prints goes here, and out by lines."""
        return self._output  # type: ignore[return-value]

    def step(self, number: int, total: int, text: str) -> None:
        """``Step 2/5 : COPY . /``."""
        self._output.end()
        done = _BAR * (number - 1) // max(total, 1)
        self._bar = f"{self._marks[0] * done}{self._marks[1] * (_BAR - done)} {number - 1}/{total}"
        self.line(f"Step {number}/{total} : {text}")

    def line(self, text: str) -> None:
        """One line, above the bar."""
        if not self._quiet:
            shown = escaped_text(text)
            self._write(f"{_CLEAR}{shown}\n{self._bar}" if self._is_terminal else f"{shown}\n")

    def _write(self, text: str) -> None:
        if sys.stderr is None:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._quiet, self._is_terminal = True, False  # nobody can be told


class _Lines(io.RawIOBase):
    """Bytes that are told line by line."""

    _LONGEST = 1 << 16

    def __init__(self, progress: BuildProgress) -> None:
        self._progress = progress
        self._waiting = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        given = bytes(data)  # type: ignore[call-overload]
        *lines, self._waiting = (self._waiting + given).split(b"\n")
        for line in lines:
            self._progress.line(os.fsdecode(line))
        if len(self._waiting) > self._LONGEST:
            self.end()
        return len(given)

    def end(self) -> None:
        """Tell what waits for its end."""
        waiting, self._waiting = self._waiting, b""
        if waiting:
            self._progress.line(os.fsdecode(waiting))
