"""A layer tar unpacked into a directory, and at the same time recorded: diff ID, docker's size, tar-split.

The tar may be compressed (gzip, zstd, bzip2, xz); the diff ID is that of its plain bytes. It may come from anybody:
what it says is checked member by member (:mod:`layerscope.lab.layer.writer`), memory stays small, and no more is
written than the tar has. The directory is the caller's to build aside and to throw away: on failure it holds whatever
was made so far.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Self

from msgspec.structs import asdict

from layerscope.errors import CommitError, CorruptError, UnsupportedError
from layerscope.formats.blocks.compression import decompressed
from layerscope.formats.escape import escape
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.formats.tar.stream import TarStream
from layerscope.lab.layer.alongside import RunningDigest
from layerscope.lab.layer.writer import Laid, LayerWriter
from layerscope.lab.layer.writing_process import WritingProcess, layer_writer
from layerscope.lab.root.abilities import ROOT, Abilities
from layerscope.model.digest import DiffID

_READ_AHEAD = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpacked(Laid, frozen=True, kw_only=True):
    """A layer that was made of a tar.

    ``tar_bytes`` is the length of the plain tar, ``compression`` the form it came in. ``members`` counts the tar's
    entries.
    """

    diff_id: DiffID
    tar_bytes: int
    compression: str
    members: int

    @classmethod
    def of(cls, laid: Laid, digest: RunningDigest, members: int, compression: str = "plain") -> Self:
        """What is told of a layer whose tar went through ``digest``."""
        return cls(
            **asdict(laid),
            diff_id=DiffID(f"sha256:{digest.hexdigest()}"),
            tar_bytes=digest.length,
            compression=compression,
            members=members,
        )


class _Hashed(io.RawIOBase):
    """A stream whose digest is taken while it is read."""

    def __init__(self, source: BinaryIO, digest: RunningDigest) -> None:
        self._source = source
        self._digest = digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._digest.update(data)
        return len(data)


def unpack(
    tar: BinaryIO,
    directory: Path | int,
    abilities: Abilities = ROOT,
    *,
    record: TarSplitWriter | None = None,
    link_whiteouts: bool = False,
) -> Unpacked:
    """Make the layer that a tar holds.

    Args:
        tar: read from where it stands to its end; plain or compressed.
        directory: an empty directory, or its descriptor (not O_PATH); its own owner, mode and time stay.
        abilities: the forms in which marks, owners and devices are kept there.
        record: gets the tar-split record of the plain tar.
        link_whiteouts: join whiteouts that shared an inode when the tar was made, so that packing gives the same tar.
            docker makes each anew.

    Raises:
        CommitError: the tar is damaged, breaks a rule, or the system refused; the directory is to be thrown away.
    """
    top = directory if isinstance(directory, int) else _open(directory)
    try:
        if os.listdir(top):
            raise CommitError(f"cannot unpack into {_shown(directory)}: it is not empty")
        with layer_writer(top, abilities, link_whiteouts=link_whiteouts) as writer:
            return unpack_into(tar, writer, record)
    except OSError as error:
        raise CommitError(f"cannot unpack the tar: {os.strerror(error.errno or 0)}") from None
    finally:
        if not isinstance(directory, int):
            os.close(top)


def unpack_into(tar: BinaryIO, writer: LayerWriter | WritingProcess, record: TarSplitWriter | None = None) -> Unpacked:
    """The same with a ``writer`` that has made nothing yet.

    Raises:
        CommitError: as :func:`unpack`.
    """
    try:
        with RunningDigest() as digest:
            return _unpack(tar, writer, record, digest)
    except (CorruptError, UnsupportedError) as error:
        raise CommitError(f"cannot unpack the tar: {error}") from None
    except OSError as error:
        raise CommitError(f"cannot unpack the tar: {os.strerror(error.errno or 0)}") from None


def _unpack(
    tar: BinaryIO, writer: LayerWriter | WritingProcess, record: TarSplitWriter | None, digest: RunningDigest
) -> Unpacked:
    compression, plain = decompressed(tar)
    stream = TarStream(io.BufferedReader(_Hashed(plain, digest), _READ_AHEAD), record)
    members = 0
    for header in stream:
        writer.add(header, stream.content())
        members += header.type != "g"
    return Unpacked.of(writer.finish(), digest, members, compression)


def _open(directory: Path) -> int:
    try:
        return os.open(directory, _DIRECTORY)
    except OSError as error:
        raise CommitError(f"cannot unpack into {_shown(directory)}: {os.strerror(error.errno or 0)}") from None


def _shown(directory: Path | int) -> str:
    return "the directory" if isinstance(directory, int) else escape(str(directory))
