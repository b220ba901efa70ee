"""The one interface through which a layer's files are reached, whatever stores them.

A driver turns a cache ID into the :class:`LayerDirectory` at the top of that layer; the merged view, the scans and the
verbs know nothing else. Values are the operating system's own: ``os.stat_result``, names as ``str`` decoded with
surrogateescape. Nothing here follows a symlink.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import BinaryIO, Literal, Protocol, runtime_checkable


class ContentsAbsent(OSError):
    """A file whose bytes can't be read because they aren't there: only its name and facts are known. ENODATA.

    ``why`` says in one sentence why not, and what to do.
    """

    def __init__(self, why: str, name: str) -> None:
        super().__init__(errno.ENODATA, why, name)
        self.why = why


Kind = Literal["d", "f", "l", "o"]
"""Directory, regular file, symlink, other: what reading a directory tells without a look at the entry."""


@runtime_checkable
class LayerDirectory(Protocol):
    """One directory of one layer, as it is stored: marks included, nothing merged.

    Every method raises OSError as the system call of that name would (ENOENT for a name that is not there).
    """

    def scan(self) -> Iterable[tuple[str, Kind]]:
        """Name and kind of each entry, in no order: one read of the directory, no look at the entries."""

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        """``lstat`` of several entries, in order; None for one that is gone."""

    def stat(self, name: str) -> os.stat_result:
        """``lstat`` of one entry."""

    def stat_self(self) -> os.stat_result:
        """``fstat`` of the directory itself."""

    def enter(self, name: str) -> LayerDirectory:
        """The directory ``name``. Nothing is opened before it is used: ENOENT, ENOTDIR come then."""

    def open(self, name: str) -> BinaryIO:
        """The bytes of the regular file ``name``; EISDIR, or EINVAL for what isn't a regular file."""

    def readlink(self, name: str) -> str:
        """The target of the symlink ``name``."""

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        """All extended attributes of an entry ("" = the directory itself) that this user can see."""

    def xattr_names(self, name: str = "") -> frozenset[str]:
        """The names of all extended attributes of an entry ("" = the directory itself) that this user can see."""

    def xattr(self, key: str, name: str = "") -> bytes | None:
        """One extended attribute, or None."""


@runtime_checkable
class KnowsContent(Protocol):
    """A directory that can tell of files whose bytes it doesn't have whether they are the same."""

    def content_key(self, name: str) -> tuple[int, int] | None:
        """Size and a checksum of the regular file ``name``; None if that isn't known."""
