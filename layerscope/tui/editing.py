"""Lending the terminal to the user's editor, for a private copy of some bytes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from layerscope.errors import UsageError

_USUAL = ("sensible-editor", "nano", "vi")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def editor_of(environment: Mapping[str, str]) -> list[str]:
    """The user's editor as words: ``VISUAL``, else ``EDITOR``, else one of the usual.

    Raises:
        UsageError: there is none.
    """
    for name in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(environment.get(name, ""))
        except ValueError:
            raise UsageError(f"{name} is {environment[name]!r:.80}: a quote isn't closed") from None
        if words:
            return words
    for program in _USUAL:
        if shutil.which(program, path=environment.get("PATH")):
            return [program]
    raise UsageError("there is no editor: set EDITOR, as in EDITOR=nano")


class PrivateCopy:
    """Bytes as a file that only this user can read, in a directory of its own. Its name helps the editor to know the
    kind of file, if it is a plain one."""

    def __init__(self, name: str, data: bytes) -> None:
        """Raises OSError: the disk for temporary files said no."""
        self.folder = Path(tempfile.mkdtemp(prefix="layerscope-"))
        self.path = self.folder / (name if _PLAIN_NAME.fullmatch(name) else "file")
        try:
            self.path.write_bytes(data)
            self.path.chmod(0o600)
        except BaseException:
            self.remove()
            raise

    def edit(self, editor: list[str], terminal: AbstractContextManager[None]) -> None:
        """Run the editor until it ends, while it has the terminal.

        Raises:
            UsageError: it can't be started, or ends with an error.
        """
        with terminal:
            try:
                code = subprocess.run([*editor, os.fspath(self.path)], check=False).returncode
            except OSError as error:
                raise UsageError(f"cannot start {editor[0]!r:.80}: {error.strerror}; set EDITOR") from None
        if code:
            raise UsageError(f"{editor[0]!r:.80} ended with {code}: nothing was written")

    def read(self, limit: int) -> bytes:
        """What it holds now.

        Raises:
            UsageError: it is larger than ``limit`` bytes, or gone.
        """
        try:
            with open(self.path, "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise UsageError(f"cannot read what was edited: {error.strerror}") from None
        if len(data) > limit:
            raise UsageError(f"what was edited is larger than {limit >> 20} MiB; layerscope cp copies it in")
        return data

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)
