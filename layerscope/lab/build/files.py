"""The files that COPY and ADD take: those of a build's context or of an image, as one tree, and their sums.

The sum of an entry is the SHA-256 over a tar header's fields, name before value, without the time, then its content;
that of a directory is over the sums of all that is in it, sorted, joined by commas. A symlink counts as what it leads
to; one that leads nowhere as its own path.

Sources: moby pkg/tarsum/versioning.go ``v1TarHeaderSelect``, builder/remotecontext/{archive,lazycontext}.go,
builder/dockerfile/copy.go, github.com/moby/sys/symlink; 20.10.24.
"""

from __future__ import annotations

import os
import posixpath
import stat as modes
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, BinaryIO, Protocol

from msgspec import Struct

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.formats.tar.types import TYPE_OF_MODE

_MOST_LINKS = 255
_CHUNK = 1 << 20


class Entry(Struct, frozen=True):
    """One entry, as it is itself. ``inode`` tells names of one file apart, None where there is but one name.

    ``size`` in bytes, 0 of all that is no file; ``capability``: what ``security.capability`` holds, b"" for none.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    device: int = 0
    target: str = ""
    inode: tuple[int, int] | None = None
    capability: bytes = b""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return modes.S_ISDIR(self.mode)


class TooManyLinks(CommitError):
    """A path leads through more links than are followed."""


class Tree(Protocol):
    """A tree of files. Paths have neither a first nor a final slash, "" is the top; links in them aren't followed."""

    def entry(self, path: str) -> Entry | None:
        """What is there, None if nothing is."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted by their bytes."""
        ...

    def open(self, path: str) -> BinaryIO:
        """The bytes of a regular file.

        Raises:
            CommitError: it can't be read.
        """
        ...


class Files(Tree, Protocol):
    """A tree whose entries have sums."""

    def sum(self, path: str) -> str:
        """The sum of one entry, hexadecimal; a text that is none where the entry has none."""
        ...


def inside(path: str) -> str:
    """A path from the top of a tree, cleaned, without its first slash.

    Raises:
        CommitError: it leads out of the tree.
    """
    if "\0" in path:
        raise CommitError("a path can't hold a NUL character")
    clean = posixpath.normpath(f"./{path.lstrip('/')}")
    if clean == ".." or clean.startswith("../"):
        raise CommitError(f"forbidden path outside of the tree that is copied from or to: {escape(path)[:200]}")
    return "" if clean == "." else clean


def resolved(files: Tree, path: str) -> str:
    """A path with all links in it followed, none out of the tree; what isn't there stays as it is.

    Raises:
        TooManyLinks: it leads through too many.
    """
    pending = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        entry = files.entry("/".join((*done, part)))
        if entry is None or not modes.S_ISLNK(entry.mode):
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise TooManyLinks(f"{escape(path)[:200]} leads through more than {_MOST_LINKS} links")
        if entry.target.startswith("/"):
            done.clear()
        pending += entry.target.split("/")[::-1]
    return "/".join(done)


def walk(files: Tree, top: str) -> Iterator[tuple[str, Entry]]:
    """Everything at and below a path, directories before what is in them, by name; links aren't followed."""
    pending = [top]
    while pending:
        path = pending.pop()
        entry = files.entry(path)
        if entry is None:
            continue  # it went away
        yield path, entry
        if entry.is_directory:
            pending += [f"{path}/{name}" if path else name for name in reversed(files.names(path))]


def sum_of(files: Files, path: str) -> str:
    """What the history says of a path that is copied: ``file:`` or ``dir:`` and its sum.

    Raises:
        FileNotFoundError: there is nothing at this path.
        CommitError: it can't be read.
    """
    entry = files.entry(resolved(files, path))
    if entry is None:
        raise FileNotFoundError(path)
    if not entry.is_directory:
        return f"file:{files.sum(path)}"
    sums = []
    for inner, _ in walk(files, resolved(files, path)):
        with suppress(TooManyLinks):
            sums += [files.sum(inner)] if inner else []
    return hashed_texts("dir", sorted(sums, key=os.fsencode))


def hashed_texts(prefix: str, texts: Iterable[str]) -> str:
    """One sum of several."""
    return f"{prefix}:{sha256(os.fsencode(','.join(texts))).hexdigest()}"


def entry_sum(
    files: Tree, path: str, entry: Entry, *, type_bits: bool, user: bytes = b"", group: bytes = b"", link: str = ""
) -> str:
    """The sum of one entry.

    Args:
        files: where it is.
        path: its path, which is part of the sum.
        entry: the entry.
        type_bits: whether the mode holds the type, too, as engines before 24 write it.
        user: its owner's name in the header, which engines before 23 write.
        group: the same for its group.
        link: the path that it is a further name of, "" if of none.
    """
    kind = modes.S_IFMT(entry.mode)
    major, minor = 0, 0
    if kind in (modes.S_IFCHR, modes.S_IFBLK):
        major, minor = os.major(entry.device), os.minor(entry.device)
    fields: dict[str, Any] = {
        "name": f"{path or '.'}/" if entry.is_directory else path,
        "mode": modes.S_IMODE(entry.mode) | (kind if type_bits else 0),
        "uid": entry.uid,
        "gid": entry.gid,
        "size": 0 if link else entry.size,
        "typeflag": "1" if link else TYPE_OF_MODE.get(kind, b"0").decode(),
        "linkname": link or entry.target,
        "uname": user,
        "gname": group,
        "devmajor": major,
        "devminor": minor,
    }
    digest = sha256()
    for name, value in fields.items():
        digest.update(name.encode())
        digest.update(value if isinstance(value, bytes) else os.fsencode(str(value)))
    if entry.capability:
        digest.update(b"security.capability" + entry.capability)
    if kind == modes.S_IFREG and entry.size and not link:
        with files.open(path) as file:
            for chunk in content(file, entry.size, path):
                digest.update(chunk)
    return digest.hexdigest()


def content(file: BinaryIO, size: int, path: str) -> Iterator[bytes]:
    """The bytes of a file that has ``size`` of them.

    Raises:
        CommitError: it has become shorter or longer.
    """
    missing = size
    while missing and (chunk := file.read(min(_CHUNK, missing))):
        missing -= len(chunk)
        yield chunk
    if missing or file.read(1):
        raise CommitError(f"{escape(path)}: its size changed while it was read; stop what writes it")
