"""What a member of a layer's tar may be called, and how a broken rule is told."""

from __future__ import annotations

import errno
import os
from hashlib import blake2b
from types import TracebackType

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.lab.layer.below import Names, Refused

MAX_NAME = 4096
"""Bytes of a name: no engine can make a longer path (PATH_MAX)."""
_SAID = {
    errno.EEXIST: "something is there already, from a member that leads to the same place",
    errno.ENOTDIR: "a part of its path is no directory in this layer",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EPERM: "this user may not make that here; run as root",
    errno.EACCES: "this user may not make that here; run as root",
}


def names_of(name: str) -> Names:
    """The components of a member's name; none for the layer's top.

    Raises:
        Refused: it is absolute, holds ``..``, or is too long.
    """
    text = name.encode("utf-8", "surrogateescape")
    if len(text) > MAX_NAME:
        raise Refused(f"a name of {len(text)} bytes, expected at most {MAX_NAME}")
    if text.startswith(b"/"):
        raise Refused("an absolute name, which is not allowed in a layer")
    names = tuple([part for part in text.split(b"/") if part and part != b"."])
    if b".." in names:
        raise Refused("a name with '..' in it, which is not allowed in a layer")
    return names


class Paths:
    """The paths that a tar has named, to find one that comes twice."""

    def __init__(self) -> None:
        # Digests: a name costs memory, but next to nothing in a compressed tar.
        self._seen: set[bytes] = set()

    def demand_new(self, names: Names) -> None:
        """Take in a path.

        Raises:
            Refused: it was there before.
        """
        key = blake2b(b"/".join(names), digest_size=16).digest()
        if key in self._seen:
            raise Refused("a second member of this path, so that the tar could not be given back")
        self._seen.add(key)


class unpacking:  # noqa: N801 - used like a function, and a class is quicker than a generator
    """Name the member in what is raised inside the ``with``. Our errors about what is read come through as they are.

    Raises:
        CommitError: a rule was broken, or the system refused.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, Refused):
            raise CommitError(f"cannot unpack {escape(self._name)[:300]}: {error}") from None
        if isinstance(error, OSError):
            said = _SAID.get(error.errno or 0) or os.strerror(error.errno or 0)
            raise CommitError(f"cannot unpack {escape(self._name)[:300]}: {said}") from None
