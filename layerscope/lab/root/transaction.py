"""One change of a root: made aside, brought to the disk, then put in place by renames, what refers to it last.

Each transaction has a folder of its own, ``image/overlay2/layerdb/tmp/write-set-layerscope-<digits>``, where docker,
too, keeps its halves. In it lie the records that are to come, and ``journal``: one line for each layer directory,
container and volume that the transaction makes or takes away. It is written before the thing is, and the folder goes
last: so whatever a killed process leaves is named there, and what of it nothing refers to is a leftover
(:mod:`layerscope.lab.root.sweep`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Literal, NamedTuple, Self

from layerscope.errors import CommitError, LayerscopeError
from layerscope.formats.escape import escape
from layerscope.lab.root.disk import Disk, split

UNFINISHED = "image/overlay2/layerdb/tmp"
OWN_PREFIX = "write-set-layerscope-"
JOURNAL = "journal"

Kind = Literal["layer", "container", "volume"]


class _Rename(NamedTuple):
    """One step of the end: ``source`` becomes ``target``, which must not exist unless it is replaced."""

    source: str
    target: str
    replaces: bool


class Transaction:
    """A context manager; leaving it without :meth:`publish`, or by an error, takes back what was made.

    Args:
        disk: the root's steps.
        doing: what is being done, as a sentence's beginning: ``cannot commit web``.
    """

    def __init__(self, disk: Disk, doing: str) -> None:
        self.disk = disk
        self.doing = doing
        self.folder = f"{UNFINISHED}/{OWN_PREFIX}{secrets.randbelow(10**12)}"
        self._renames: list[_Rename] = []
        self._undo: list[Callable[[], None]] = []
        self._published = False

    def __enter__(self) -> Self:
        try:
            self.disk.ensure_directory(UNFINISHED, 0o755)
            self.disk.make_directory(self.folder, 0o700)
            self.disk.write(f"{self.folder}/{JOURNAL}", b"", 0o600)
        except OSError as error:
            self.disk.remove_tree(self.folder)
            raise self.failed(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._published:
                self._take_back()
            self.disk.remove_tree(self.folder)
        except OSError as second:
            if error is None:
                raise self.failed(second) from None
        if isinstance(error, OSError):
            raise self.failed(error) from None

    def failed(self, error: OSError) -> LayerscopeError:
        """A system error as ours."""
        what = os.strerror(error.errno) if error.errno else str(error)
        where = f" ({escape(os.fsdecode(error.filename))})" if isinstance(error.filename, str | bytes) else ""
        if self._published:
            return CommitError(f"{self.doing} to the end: {what}{where}; layerscope lab sweep removes what is left")
        return CommitError(f"{self.doing}: {what}{where}; nothing was changed")

    # ------------------------------------------------------------------ aside
    def note(self, kind: Kind, name: str) -> None:
        """Write down what is about to be made or taken away."""
        self.disk.append(f"{self.folder}/{JOURNAL}", f"{kind} {name}\n".encode())

    def on_failure(self, undo: Callable[[], None]) -> None:
        """What takes back a step that is no rename; done in reverse order, unless all goes well."""
        self._undo.append(undo)

    def stage_file(self, path: str, data: bytes, mode: int) -> None:
        """``data`` is to be the file ``path``, new or in the place of the old one."""
        aside = self.disk.write_aside(path, data, mode)
        self.on_failure(lambda: self.disk.remove_file(aside))
        self._renames.append(_Rename(aside, path, replaces=True))

    def stage_directory(self, source: str, target: str) -> None:
        """The whole directory ``source`` is to be ``target``, which must not exist; one of them is in the folder."""
        self._renames.append(_Rename(source, target, replaces=False))

    # ------------------------------------------------------------------ in place
    def publish(self) -> None:
        """Put everything in place, in the order in which it was staged."""
        self.disk.sync()
        for step in self._renames:
            is_new = not step.replaces or not self.disk.exists(step.target)
            self.disk.rename(step.source, step.target, replace=step.replaces)
            if is_new:
                self.on_failure(partial(self.disk.rename, step.target, step.source))
        for folder in dict.fromkeys(split(step.target)[0] for step in self._renames):
            self.disk.sync_directory(folder)
        self._published = True

    def _take_back(self) -> None:
        for undo in reversed(self._undo):
            try:
                undo()
            except OSError:
                continue  # the journal names it: a sweep gets it
