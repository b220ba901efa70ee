"""Where a tar goes: a function that takes bytes, or a file that is complete or not there.

A failure to write never looks like an OSError from here: those are about what is read, and are only told.
"""

from __future__ import annotations

import io
import os
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from layerscope.errors import CommitError


class _Sink(io.RawIOBase):
    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._write(bytes(data))


def sink(write: Callable[[bytes], int]) -> BinaryIO:
    """A file to be written to, made of a function that takes bytes. What the function raises comes through."""
    return cast(BinaryIO, _Sink(write))


def _to_file(file: BinaryIO, name: Path) -> BinaryIO:
    def write(data: bytes) -> int:
        try:
            return file.write(data)
        except OSError as error:
            raise CommitError(f"cannot write to {name}: {error.strerror}") from None

    return sink(write)


@contextmanager
def written_aside(target: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes are at ``target`` when the ``with`` ends well, and nowhere when it doesn't.

    The file is written beside ``target`` and then takes its name; a device or FIFO is written to as it is.

    Raises:
        CommitError: it can't be made or written; ``target`` is as it was.
    """
    try:
        if _is_special(target):
            with open(target, "wb") as file:
                yield _to_file(file, target)
            return
        aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with open(aside, "xb") as file:
                yield _to_file(file, target)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(aside)
            raise
    except OSError as error:
        raise CommitError(f"cannot write to {target}: {error.strerror}") from None


def _is_special(target: Path) -> bool:
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return False
    if modes.S_ISDIR(mode):
        raise CommitError(f"cannot write to {target}: it is a directory")
    return not modes.S_ISREG(mode)
