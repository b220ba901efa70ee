"""Standard output: results and nothing else, escaped on a terminal, raw in a pipe, written as they are found."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from layerscope.cli.render.escape import bytes_of, escaped_text
from layerscope.errors import CommitError
from layerscope.formats.escape import escape

_FLUSH_SECONDS = 0.2
_BATCH = 1024
_BATCH_BYTES = 1 << 18
_COPY_BYTES = 1 << 18


class ReaderGone(Exception):
    """The program that reads standard output ended first. Not an OSError: those are about what is read."""


class Output:
    """Where a verb writes its answer.

    ``terminal``: someone looks at it, so names are escaped. ``color`` and ``glyphs`` (characters beyond ASCII) say what
    a rendering may use, ``width`` how many columns there are (None: no limit). Every method that writes raises
    ReaderGone if nobody reads any more, and CommitError if it can't be written.
    """

    def __init__(self, ascii_only: bool = False) -> None:
        if sys.stdout is None:
            raise CommitError("cannot write: standard output is closed")
        self.terminal = sys.stdout.isatty()
        self._encoding = sys.stdout.encoding or "utf-8"
        self._stream: BinaryIO = sys.stdout.buffer
        self.color = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.glyphs = not ascii_only and (not self.terminal or "utf" in self._encoding.lower())
        self.width = _columns() if self.terminal else None

    @property
    def ellipsis(self) -> str:
        """What ends a text that is cut."""
        return "…" if self.glyphs else "~"

    def name(self, name: str) -> str:
        """A name as it may be written here."""
        return escape(name, ascii_only=not self.glyphs) if self.terminal else name

    def text(self, text: str) -> str:
        """Free text, such as a command, as it may be written here."""
        return escaped_text(text) if self.terminal else text

    def line(self, line: str) -> None:
        """One line, given without its end."""
        self.lines((line,))

    def lines(self, lines: Iterable[str]) -> None:
        """Many lines, each without its end."""
        waiting: list[str] = []
        sent = time.monotonic()
        try:
            for line in lines:
                waiting.append(line)
                if len(waiting) > _BATCH or time.monotonic() - sent > _FLUSH_SECONDS:
                    self.write(self._encoded(waiting))
                    waiting.clear()
                    flush()
                    sent = time.monotonic()
        finally:
            self.write(self._encoded(waiting))

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], only: int | None) -> None:
        """A table in docker's form, or one column of it without its header."""
        from layerscope.cli.render.table import docker_table

        # A row stays one line in a pipe, too; docker would break it there.
        shown = [[self.text(cell).replace("\n", "\\n") for cell in row] for row in rows]
        self.lines(docker_table(header, shown) if only is None else (row[only] for row in shown))

    def document(self, value: Any) -> None:
        """One JSON document."""
        from layerscope.cli.render.document import document

        self.write(document(value, self.terminal))

    def array(self, values: Iterable[Any]) -> None:
        """One JSON list, written as its elements are found; it is closed even if the finding fails half way.

        What fails before the first element leaves standard output empty.
        """
        from layerscope.cli.render.document import element

        elements = iter(values)
        try:
            first = next(elements)
        except StopIteration:
            self.write(b"[]\n")
            return
        self.write(b"[\n" + element(first, self.terminal))
        try:
            self._batches((b",\n", element(value, self.terminal)) for value in elements)
        finally:
            self.write(b"\n]\n")

    def array_of_texts(self, texts: Iterable[str]) -> None:
        """As :meth:`array`, of elements that are JSON already; one text may hold several, with commas and line ends."""
        found = iter(texts)
        first = next(found, None)
        if first is None:
            self.write(b"[]\n")
            return
        self.write(b"[\n" + first.encode())
        try:
            self._batches((b",\n", text.encode()) for text in found)
        finally:
            self.write(b"\n]\n")

    def copy(self, file: BinaryIO) -> None:
        """All bytes of ``file``."""
        while chunk := file.read(_COPY_BYTES):
            self.write(chunk)

    def write(self, data: bytes) -> int:
        """Bytes as they are, all of them."""
        with _told():
            left = memoryview(data)
            while left:  # an unbuffered stream may take a part only
                left = left[self._stream.write(left) :]
        return len(data)

    def _batches(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many small pieces in few calls; none waits longer than a fifth of a second for the next."""
        waiting: list[bytes] = []
        held = 0
        sent = time.monotonic()
        try:
            for pair in pairs:
                waiting += pair
                held += len(pair[1])
                if len(waiting) > _BATCH or held > _BATCH_BYTES or time.monotonic() - sent > _FLUSH_SECONDS:
                    self.write(b"".join(waiting))
                    waiting.clear()
                    held = 0
                    flush()
                    sent = time.monotonic()
        finally:
            self.write(b"".join(waiting))

    def _encoded(self, lines: list[str]) -> bytes:
        text = "".join(f"{line}\n" for line in lines)
        if self.terminal:
            # Names are escaped by now: what is left of these ends a text that was cut, or is in free text.
            return text.replace("…", self.ellipsis).encode(self._encoding, "backslashreplace")
        return text.encode() if text.isascii() else b"".join(bytes_of(line) + b"\n" for line in lines)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise CommitError(f"cannot write to standard output: {error.strerror}") from error


def _columns() -> int:
    from shutil import get_terminal_size

    return get_terminal_size().columns


def flush() -> None:
    """Send what is still in the buffers of standard output.

    Raises:
        ReaderGone: nobody reads any more.
        CommitError: it can't be written, such as on a full disk.
    """
    if sys.stdout is not None:
        with _told():
            sys.stdout.flush()


def discard() -> None:
    """Make the interpreter's own flush at its end harmless: nobody reads standard output any more."""
    if sys.stdout is not None:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        except (OSError, ValueError):
            pass
