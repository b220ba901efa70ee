"""The context of a build: a directory of the host, without what ``.dockerignore`` leaves out.

It is read as docker's client sends it and its daemon unpacks it: everything belongs to root, times have whole seconds,
links stay links, sockets are left out. What a link leads to is looked for in the context only.

Sources: docker cli/command/image/build.go, build/context.go; moby pkg/archive/archive.go ``TarWithOptions``,
builder/remotecontext/archive.go; 20.10.24.
"""

from __future__ import annotations

import os
import stat as modes
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from layerscope.errors import CommitError, RootError, UsageError
from layerscope.formats.dockerfile import MOST_BYTES
from layerscope.formats.escape import escape
from layerscope.formats.file_pattern import IgnoreRules, ignore_rules
from layerscope.hostfs import Directory
from layerscope.lab.build.files import Entry, entry_sum, resolved, walk
from layerscope.lab.layer.upper import docker_capability

IGNORE_FILE = ".dockerignore"
_MOST_ENTRIES = 5_000_000
_MOST_RULES = 10_000


class Context:
    """The files of a context, listed once; a context manager.

    Args:
        path: the directory.
        type_bits: whether modes in sums hold the type, as with engines before 24.

    Raises:
        RootError: it can't be read.
        UsageError: it is missing, or no directory, or its ``.dockerignore`` isn't right.
    """

    def __init__(self, path: Path, *, type_bits: bool) -> None:
        self._type_bits = type_bits
        self._shown = escape(os.fspath(path))
        try:
            self._top = Directory.open_root(path)
        except FileNotFoundError:
            raise UsageError(f"cannot read the context {self._shown}: there is no such directory") from None
        except NotADirectoryError:
            raise UsageError(f"the context {self._shown} is no directory") from None
        except OSError as error:
            raise RootError(f"cannot read the context {self._shown}: {error.strerror}") from None
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, list[str]] = {}
        self._links: dict[str, str] = {}
        self._sums: dict[str, str] = {}
        self._implied: set[str] = set()
        """Directories that are left out, but hold what is kept: they are made anew, and have no sum."""
        try:
            self._list()
        except OSError as error:
            self._top.close()
            where = escape(os.fsdecode(error.filename)) if error.filename else self._shown
            raise RootError(f"cannot read the context {self._shown}: {where}: {error.strerror}") from None
        except BaseException:
            self._top.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._top.close()

    # ------------------------------------------------------------------ the tree
    def entry(self, path: str) -> Entry | None:
        """What is there, None if nothing is."""
        return self._entries.get(path)

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted by their bytes."""
        return self._names.get(path, [])

    def open(self, path: str) -> BinaryIO:
        """The bytes of a regular file."""
        folder, _, name = path.rpartition("/")
        try:
            return self._top.descend(folder).open(name)
        except OSError as error:
            raise CommitError(f"cannot read {escape(path)} of the context: {error.strerror}") from None

    def sum(self, path: str) -> str:
        """The sum of what a path leads to; the path itself where that is nothing."""
        real = resolved(self, path)
        entry = self._entries.get(real)
        if entry is None or real == "" or real in self._implied:
            return path
        if real not in self._sums:
            link = self._links.get(real, "")
            self._sums[real] = entry_sum(self, real, entry, type_bits=self._type_bits, link=link)
        return self._sums[real]

    # ------------------------------------------------------------------ listing
    def _list(self) -> None:
        rules = self._rules()
        pending = [("", self._top)]
        self._entries[""] = Entry(modes.S_IFDIR | 0o755)
        while pending:
            path, directory = pending.pop()
            inner: list[tuple[str, Directory]] = []
            names = sorted((name for name, _ in directory.scan()), key=os.fsencode)
            kept = []
            for name, status in zip(names, directory.stats(names), strict=True):
                here = f"{path}/{name}" if path else name
                if status is None or modes.S_ISSOCK(status.st_mode):
                    continue
                out = rules.leaves_out(here)
                is_directory = modes.S_ISDIR(status.st_mode)
                if is_directory and (not out or rules.may_keep_below(here)):
                    inner.append((here, directory.enter(name)))
                if out and not is_directory:
                    continue
                kept.append(name)
                if out:
                    self._implied.add(here)
                    self._entries[here] = Entry(modes.S_IFDIR | 0o755, mtime_ns=time.time_ns())
                else:
                    self._entries[here] = self._entry(directory, name, status)
                if len(self._entries) > _MOST_ENTRIES:
                    raise UsageError(f"the context {self._shown} has more than {_MOST_ENTRIES} entries")
            self._names[path] = kept
            pending += reversed(inner)
        self._drop_empty()
        first: dict[tuple[int, int], str] = {}
        for path, entry in walk(self, ""):
            if entry.inode is not None and first.setdefault(entry.inode, path) != path:
                self._links[path] = first[entry.inode]

    def _drop_empty(self) -> None:
        """Take away directories that are left out and hold nothing that is kept."""
        for path in sorted(self._implied, key=lambda path: path.count("/"), reverse=True):
            if not self._names.get(path):
                del self._entries[path]
                self._names.pop(path, None)
                folder, _, name = path.rpartition("/")
                self._names[folder].remove(name)

    def _entry(self, directory: Directory, name: str, status: os.stat_result) -> Entry:
        mode = status.st_mode
        is_file = modes.S_ISREG(mode)
        capability = directory.xattr("security.capability", name) if is_file else None
        return Entry(
            mode,
            size=status.st_size if is_file else 0,
            mtime_ns=status.st_mtime_ns // 10**9 * 10**9,
            device=status.st_rdev,
            target=directory.readlink(name) if modes.S_ISLNK(mode) else "",
            inode=(status.st_dev, status.st_ino) if status.st_nlink > 1 and not modes.S_ISDIR(mode) else None,
            capability=docker_capability(capability) if capability else b"",
        )

    def _rules(self) -> IgnoreRules:
        data = _small_file(self._top, IGNORE_FILE, MOST_BYTES) or b""
        rules = ignore_rules(data)
        if len(rules) > _MOST_RULES:
            raise UsageError(f"{IGNORE_FILE} has {len(rules)} rules, at most {_MOST_RULES} are taken")
        return IgnoreRules(rules)


def _small_file(directory: Directory, name: str, limit: int) -> bytes | None:
    try:
        return directory.read(name, limit)
    except FileNotFoundError:
        return None
