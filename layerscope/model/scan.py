"""A scan: everything that a root holds, at one moment, as rows that can be kept, gathered and compared.

A scan is a header, the root's ledger, then trees, each with one row for every entry that lies in it, then an end. A
tree is one layer, or a root with everything in it that is no layer's file. Names, paths and owners are bytes, as they
are stored; the order of everything is fixed, so that two scans can be compared while both are read through once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, Protocol

from msgspec import Struct

from layerscope.model.problem import Problem

MOST_CHARACTERS = 4096
"""Of an owner's name, or a path in the ledger, in a scan; records of a damaged root may hold longer ones."""


class Mark(IntEnum):
    """What an entry means for the layers below: nothing, "this name is gone", "hide the directory of that path"."""

    PLAIN = 0
    WHITEOUT = 1
    OPAQUE = 2


class ScanSubject(NamedTuple):
    """Whose an entry is: the ledger's class, and the owner as the ledger tells it ("" if nobody)."""

    category: str
    owner: str

    @property
    def kind(self) -> str:
        """What the owner is: ``image container volume``; else the class itself, such as ``build-cache``."""
        return _KINDS.get(self.category, self.category)


_KINDS = {
    "image-layer": "image",
    "container-rw": "container",
    "container-init": "container",
    "container-record": "container",
    "log": "container",
}


class ScanRow(NamedTuple):
    """One entry of a tree.

    ``directory`` is the path of what holds it, relative to the tree ("" = its top); the top itself has neither
    directory nor name. ``size`` and ``disk`` are bytes, ``disk`` what du counts: each inode once in its tree, with its
    first name. ``mode`` has the type bits; ``device`` is the device number of a device; ``target`` that of a symlink.
    """

    directory: bytes
    name: bytes
    subject: ScanSubject
    mode: int
    uid: int
    gid: int
    size: int
    disk: int
    mtime_ns: int
    links: int
    device: int
    mark: int
    target: bytes

    @property
    def path(self) -> bytes:
        """The path below the tree's top, without a leading slash."""
        return self.directory + b"/" + self.name if self.directory else self.name


class ScanHeader(Struct, frozen=True):
    """Where and when a scan was made. ``total_disk`` is the ledger's, in bytes; None where there is no ledger."""

    host: str
    root: str
    scanned_at_ns: int
    store: str
    driver: str
    drivers: tuple[str, ...]
    engine: str
    total_disk: int | None
    version: str


class ScanEntry(Struct, frozen=True):
    """One entry of the ledger: bytes on disk and apparent, and the number of names."""

    subject: ScanSubject
    path: str
    disk: int
    apparent: int
    count: int
    reason: str


ROOT = "root"
LAYER = "layer"


class ScanTree(Struct, frozen=True):
    """One tree of rows.

    ``id`` of a layer: its chain ID; a container's ID for what the container has written (with ``-init`` for the layer
    below that); else the storage driver's own name of it. Of a root: "" for the opened one, else its path. ``path`` is
    where it lies below the root. ``role`` is ``image init rw``, "" for a root and for what no record names. ``names``
    are the images or the container that have it. ``in_root``: its bytes are part of what du counts of the root.
    ``has_disk``: the blocks on disk are known, else ``disk`` is 0 in all rows. ``whole``: it holds the files of the
    layers below, too.
    """

    kind: str
    id: str
    path: str = ""
    role: str = ""
    chain_id: str = ""
    diff_id: str = ""
    cache_id: str = ""
    names: tuple[str, ...] = ()
    in_root: bool = True
    has_disk: bool = True
    whole: bool = False

    @property
    def key(self) -> tuple[bool, bytes]:
        """What trees are ordered by: roots first."""
        return self.kind != ROOT, encoded(self.id)

    @property
    def is_written(self) -> bool:
        """Whether an engine or a container changes what is in it; a committed layer stays as it is."""
        return self.kind == ROOT or self.role == "rw"


class ScanEnd(Struct, frozen=True):
    """What was scanned: trees, rows, entries that vanished meanwhile, directories that could not be listed."""

    trees: int
    rows: int
    vanished: int
    unreadable: int


class ScanSummary(Struct, frozen=True):
    """A scan that was made, without its rows."""

    header: ScanHeader
    end: ScanEnd
    layers: int
    problems: tuple[Problem, ...]


class ScanSink(Protocol):
    """Where a scan goes. Calls come in the order of these methods; trees and rows in theirs."""

    def begin(self, header: ScanHeader, entries: Iterable[ScanEntry]) -> None:
        """The header, and the ledger in the order of :func:`entry_key`."""

    def tree(self, tree: ScanTree, rows: Iterable[ScanRow]) -> None:
        """One tree, in the order of ``ScanTree.key``, with its rows in the order of :func:`row_key`."""

    def finish(self, end: ScanEnd) -> None:
        """The end."""


def entry_key(entry: ScanEntry) -> tuple[bytes, bytes, bytes, bytes]:
    """What entries of a ledger are ordered by: by owners, so that each one's come together."""
    subject = entry.subject
    return tuple(map(encoded, (subject.kind, subject.owner, subject.category, entry.path)))  # type: ignore[return-value]


def row_key(row: ScanRow) -> tuple[bytes, bytes]:
    """What rows are ordered by: a directory's entries by name, then those of each directory in it."""
    return row.directory.replace(b"/", b"\0"), row.name


def encoded(text: str) -> bytes:
    """The bytes that a name was read from."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # a surrogate that no name on disk becomes: JSON can spell one


def decoded(name: bytes) -> str:
    """A name as a text that keeps its bytes."""
    return name.decode("utf-8", "surrogateescape")
