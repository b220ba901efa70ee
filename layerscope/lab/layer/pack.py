"""The layer tar that docker's commit makes of an upper directory, streamed, with all that is told about it on the way.

Its SHA-256 is the diff ID. It ends in exactly 1024 zeros; that of an empty upper is those alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from msgspec import Struct

from layerscope.formats.blocks.compression import as_file
from layerscope.formats.tar.go_header import END, header_blocks, padding
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.lab.layer.alongside import RunningDigest
from layerscope.lab.layer.upper import CommitRules, Packable, Upper, changed, reading
from layerscope.model.digest import DiffID
from layerscope.model.problem import Problem
from layerscope.model.tree import LayerDirectory

_CHUNK = 1 << 20


class Packed(Struct, frozen=True):
    """A layer tar that was made.

    ``tar_bytes`` is its length. ``size`` is docker's size of the layer: bytes of all that is no directory, each inode
    once, symlinks by their target's length. ``members`` counts what is in the tar, marks included: none means that the
    upper is empty and a commit adds no layer. ``problems`` are notes on what was left out.
    """

    diff_id: DiffID
    tar_bytes: int
    size: int
    members: int
    problems: tuple[Problem, ...]


class LayerTar:
    """The tar of one upper directory, made while it is read; the counters are right once :meth:`chunks` has ended.

    Args:
        top: the upper directory.
        rules: what counts as a mark, and how which engine writes.
        record: gets the tar-split record; finished here, but not closed.
    """

    def __init__(self, top: LayerDirectory, rules: CommitRules, record: TarSplitWriter | None = None) -> None:
        self._upper = Upper(top, rules)
        self._record = record
        self.size = 0
        self.members = 0
        self.tick: Callable[[], None] = _go_on

    @property
    def problems(self) -> list[Problem]:
        """What was left out."""
        return self._upper.problems

    def items(self) -> Iterator[Packable]:
        """The tar's members in its order, their content not read yet; raises what :meth:`chunks` does.

        ``tick`` is called for each and may raise to stop.
        """
        for item in self._upper.members():
            self.tick()
            self.members += 1
            self.size += item.counted
            yield item

    def open(self) -> BinaryIO:
        """The tar as a file to be read once, such as by what unpacks it; reading raises what :meth:`chunks` does."""
        return as_file(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The tar's bytes, in pieces of at most 1 MiB.

        Raises:
            CommitError: an entry can't be put into a layer, or changed while it was read.
            PermissionDenied: this user may not read it.
        """
        record = self._record
        for item in self.items():
            header = header_blocks(item.member)
            if record is not None:
                record.raw(header)
                record.entry(item.member.name, item.member.size)
            yield header
            if item.content is not None:
                for chunk in content_of(item):
                    if record is not None:
                        record.content(chunk)
                    yield chunk
                fill = padding(item.member.size)
                if record is not None:
                    record.raw(fill)
                yield fill
        if record is not None:
            record.raw(END)
            record.rest(b"")
            record.finish()
        yield END


def _go_on() -> None:
    """Nobody wants it to stop."""


def pack(
    top: LayerDirectory,
    rules: CommitRules,
    write: Callable[[bytes], object] | None = None,
    *,
    record: TarSplitWriter | None = None,
) -> Packed:
    """Make the layer tar of an upper directory in one pass.

    Args:
        top: the upper directory.
        rules: what counts as a mark, and how which engine writes.
        write: gets the tar, piece by piece; None only computes. Its own errors come through.
        record: gets the tar-split record.

    Raises:
        CommitError: an entry can't be put into a layer, or changed while it was read.
        PermissionDenied: this user may not read it.
    """
    tar = LayerTar(top, rules, record)
    with RunningDigest() as digest:
        for chunk in tar.chunks():
            digest.update(chunk)
            if write is not None:
                write(chunk)
        diff_id = DiffID(f"sha256:{digest.hexdigest()}")
    return Packed(diff_id, digest.length, tar.size, tar.members, tuple(tar.problems))


def content_of(item: Packable) -> Iterable[bytes]:
    """The bytes of one file: as many as its header says.

    Reading them raises what :meth:`LayerTar.chunks` does.
    """
    assert item.content is not None
    return (item.content,) if isinstance(item.content, bytes) else _pieces(item, *item.content)


def _pieces(item: Packable, directory: LayerDirectory, name: str) -> Iterator[bytes]:
    missing = item.member.size
    with reading(item.path), directory.open(name) as file:
        while missing and (chunk := file.read(min(_CHUNK, missing))):
            missing -= len(chunk)
            yield chunk
        if missing or file.read(1):
            raise changed(item.path)
