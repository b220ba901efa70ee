"""A layer tar unpacked into a directory, and at the same time recorded: diff ID, docker's size, tar-split.

The tar may be compressed (gzip, zstd, bzip2, xz); the diff ID is that of its plain bytes. It may come from anybody:
what it says is checked member by member (:mod:`layerscope.lab.layer_writer`), memory stays small, and no more is
written than the tar has. The directory is the caller's to build aside and to throw away: on failure it holds whatever
was made so far.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from layerscope.errors import CommitError, CorruptError, UnsupportedError
from layerscope.formats.compression import decompressed
from layerscope.formats.escape import escape
from layerscope.formats.override_stat import SideEntry
from layerscope.formats.tarsplit_writer import TarSplitWriter
from layerscope.formats.tarstream import TarStream
from layerscope.lab.abilities import ROOT, Abilities
from layerscope.lab.alongside import RunningDigest
from layerscope.lab.layer_writer import LayerWriter
from layerscope.model.digest import DiffID
from layerscope.model.problem import Problem, Severity

_READ_AHEAD = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpacked(Struct, frozen=True):
    """A layer that was made of a tar.

    ``tar_bytes`` is the length of the plain tar, ``compression`` the form it came in. ``size`` is docker's size of the
    layer: bytes of all that is no directory, each inode once, symlinks by their target's length. ``members`` counts the
    tar's entries. ``hides_everything_below``: the tar has an opaque mark at its top, which the kernel's overlay
    ignores.
    ``side_record``: owners, modes and attributes that could be kept nowhere else, by path; the caller's to store.
    """

    diff_id: DiffID
    tar_bytes: int
    compression: str
    size: int
    members: int
    hides_everything_below: bool
    side_record: Mapping[str, SideEntry]
    problems: tuple[Problem, ...]


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
        writer = LayerWriter(top, abilities, link_whiteouts=link_whiteouts)
        try:
            with RunningDigest() as digest:
                return _unpack(tar, writer, record, digest)
        finally:
            writer.close()
    except (CorruptError, UnsupportedError) as error:
        raise CommitError(f"cannot unpack the tar: {error}") from None
    except OSError as error:
        raise CommitError(f"cannot unpack the tar: {os.strerror(error.errno or 0)}") from None
    finally:
        if not isinstance(directory, int):
            os.close(top)


def _unpack(tar: BinaryIO, writer: LayerWriter, record: TarSplitWriter | None, digest: RunningDigest) -> Unpacked:
    compression, plain = decompressed(tar)
    stream = TarStream(io.BufferedReader(_Hashed(plain, digest), _READ_AHEAD), record)
    members = 0
    for header in stream:
        writer.add(header, stream.content())
        members += header.type != "g"
    writer.finish()
    return Unpacked(
        diff_id=DiffID(f"sha256:{digest.hexdigest()}"),
        tar_bytes=digest.length,
        compression=compression,
        size=writer.size,
        members=members,
        hides_everything_below=writer.hides_everything_below,
        side_record=writer.keeper.side_record,
        problems=told_refused(writer),
    )


def told_refused(writer: LayerWriter) -> tuple[Problem, ...]:
    """What was found on the way, and which attributes the file system didn't take."""
    for key in sorted(writer.keeper.refused):
        what = f"the file system doesn't take the extended attribute {escape(key)[:80]}"
        writer.problems.append(Problem("", what, "it is not set", severity=Severity.WARNING))
    return tuple(writer.problems)


def _open(directory: Path) -> int:
    try:
        return os.open(directory, _DIRECTORY)
    except OSError as error:
        raise CommitError(f"cannot unpack into {_shown(directory)}: {os.strerror(error.errno or 0)}") from None


def _shown(directory: Path | int) -> str:
    return "the directory" if isinstance(directory, int) else escape(str(directory))
