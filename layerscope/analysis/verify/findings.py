"""Findings as they are gathered: the first ones are kept, all are counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from layerscope.model.verdict import Finding

MOST = 1000
"""How many findings of one layer are kept."""

_SAID = {
    errno.ENOENT: "nothing",
    errno.ENOTDIR: "nothing: a directory on the way is something else",
    errno.EISDIR: "a directory",
    errno.EINVAL: "a link or special file",
}


class Findings:
    """What was found in one layer, each once. ``denied`` counts what this user may not look at: nobody's fault."""

    def __init__(self, most: int = MOST) -> None:
        self._kept: dict[Finding, None] = {}
        self._most = most
        self.count = 0
        self.denied = 0

    def add(self, path: str, subject: str, recorded: str = "", found: str = "") -> None:
        """One more, at a path in the layer, given without its slash."""
        self.put(Finding(f"/{path}", subject, recorded, found))

    def fail(self, path: str, subject: str, recorded: str, error: OSError) -> None:
        """What the system said instead of giving an entry."""
        if isinstance(error, PermissionError):
            self.denied += 1
        else:
            self.add(path, subject, recorded, said(error))

    def put(self, finding: Finding) -> None:
        """One more."""
        if finding in self._kept:
            return
        self.count += 1
        if len(self._kept) < self._most:
            self._kept[finding] = None

    def extend(self, findings: Iterable[Finding], more: int = 0) -> None:
        """Many more; ``more`` are only counted."""
        for finding in findings:
            self.put(finding)
        self.count += more

    @property
    def kept(self) -> tuple[Finding, ...]:
        """The first ones, in the order of finding."""
        return tuple(self._kept)

    @property
    def more(self) -> int:
        """How many there are beyond those."""
        return self.count - len(self._kept)


def said(error: OSError) -> str:
    """What is found where a file should be."""
    return _SAID.get(error.errno or 0) or f"what can't be read: {os.strerror(error.errno or 0)}"
