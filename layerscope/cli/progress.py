"""Standard error while something long goes on: one line that is written over, only where a terminal shows it."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from layerscope.cli.render.docker_form import size

_SECONDS = 0.25
_CLEAR = "\r\x1b[K"


class Progress:
    """How many bytes or entries of how many, the rate, and the time left; a context manager that clears its line."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._begun = self._told = time.monotonic()
        self._passed = 0
        self._stands = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Take the line away for good: what goes on to be counted while the answer is written isn't told."""
        self.clear()
        self._shown = False

    def clear(self) -> None:
        """Take the line away, before something else is written."""
        if self._stands:
            self._write(_CLEAR)
            self._stands = False
            self._told = 0.0

    def tell(self, done: int, total: int) -> None:
        """``done`` bytes of ``total``; shown four times a second at most."""
        now = time.monotonic()
        if not self._shown or now - self._told < _SECONDS:
            return
        self._told = now
        rate = done / max(now - self._begun, 0.001)
        left = f", {(total - done) / rate:.0f} s left" if rate and total > done else ""
        self._tell(f"{size(done)} of {size(total)}, {size(int(rate))}/s{left}")

    def count(self, entries: int, most: int | None) -> None:
        """``entries`` of ``most`` at most (None: nobody knows); shown four times a second at most."""
        now = time.monotonic()
        if not self._shown or now - self._told < _SECONDS:
            return
        self._told = now
        rate = entries / max(now - self._begun, 0.001)
        left = f", at most {(most - entries) / rate:.0f} s left" if rate and most is not None and most > entries else ""
        self._tell(f"{entries:,} entries, {rate:,.0f}/s{left}")

    def passed(self) -> bool:
        """One more directory or file was reached; never true, so that work which can be cancelled can be given this."""
        self._passed += 1
        self.count(self._passed, None)
        return False

    def _tell(self, how_far: str) -> None:
        self._write(f"{_CLEAR}{self._doing} {how_far}")
        self._stands = True

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._shown = False
