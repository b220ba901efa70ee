"""An image archive: a tar as ``docker save`` writes it, or an OCI layout as a tar or a folder.

Nothing of it is ever unpacked by its own names: a member is opened by the name that a manifest gives. A compressed tar
is first decompressed into a file without a name. Sources: docker image spec v1.2; OCI image-layout.md.
"""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

from layerscope.errors import CommitError, CorruptError, RootError
from layerscope.formats.blocks.compression import decompressed
from layerscope.formats.blocks.device import DeviceStream
from layerscope.formats.blocks.source import Extent, Slice
from layerscope.formats.escape import escape
from layerscope.hostfs import Directory
from layerscope.hostfs.block_file import BlockFile
from layerscope.stores.archive.members import TarMembers, clean

_CHUNK = 1 << 20


class Archive(Protocol):
    """The members of an archive, by cleaned names without a leading slash."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def open(self, name: str) -> BinaryIO:
        """The bytes of a file.

        Raises:
            CommitError: there is none, or it isn't whole.
        """

    def close(self) -> None:
        """Give everything back."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_archive(source: Path | BinaryIO, scratch: Path) -> Archive:
    """The archive at a path, or read from a stream.

    Args:
        source: a tar, compressed or not, or a folder.
        scratch: a directory on a disk with room for what has to be decompressed.

    Raises:
        RootError: it isn't there, or can't be read.
        CommitError: it is no tar, or a damaged one.
    """
    if isinstance(source, Path):
        shown = escape(os.fspath(source))
        try:
            if source.is_dir():
                return FolderArchive(Directory.open_root(source))
            with open(source, "rb") as file:
                return TarArchive(_plain(file, scratch), shown)
        except OSError as error:
            raise RootError(f"cannot read {shown}: {error.strerror}") from None
    return TarArchive(_plain(source, scratch), "standard input")


def _plain(file: BinaryIO, scratch: Path) -> BinaryIO:
    """A file of its own with the plain bytes of ``file``, from which one can read anywhere."""
    try:
        form, plain = decompressed(file)
        if form == "plain" and file.seekable():
            return os.fdopen(os.dup(file.fileno()), "rb")
        spool = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the archive closes it
        try:
            while chunk := plain.read(_CHUNK):
                spool.write(chunk)
            spool.seek(0)
        except BaseException:
            with suppress(OSError):
                spool.close()
            raise
        return cast(BinaryIO, spool)
    except CorruptError as error:
        raise CommitError(f"cannot read the archive: {error}") from None


class TarArchive(_Closing):
    """The members of a tar that can be read anywhere."""

    def __init__(self, file: BinaryIO, shown: str) -> None:
        source = BlockFile.of(file)
        self._members = TarMembers(Slice(source, 0, source.size))
        if self._members.fault:
            raise CommitError(f"cannot read {shown}: it is damaged: {escape(self._members.fault)}")
        if self._members.doubled:
            raise CommitError(f"cannot read {shown}: it has two members {escape(self._members.doubled[0])[:200]}")
        if not self._members:
            raise CommitError(f"cannot read {shown}: there is nothing in it")

    def close(self) -> None:
        """Nothing: the file is closed when nobody reads from it any more."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        try:
            self._members.find(name)
        except OSError:
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """The bytes of a file."""
        try:
            file = self._members.find(name)
        except OSError:
            raise CommitError(f"the archive has no file {escape(name)[:200]}, which it names itself") from None
        stream = DeviceStream(Extent(file.source, 0, file.size))
        return cast(BinaryIO, io.BufferedReader(stream, _CHUNK))


class FolderArchive(_Closing):
    """The files of a folder; no link is followed."""

    def __init__(self, top: Directory) -> None:
        self._top = top

    def close(self) -> None:
        """Give the descriptor back."""
        self._top.close()

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        try:
            self.open(name).close()
        except CommitError:
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """The bytes of a file."""
        folder, _, base = clean(name).rpartition("/")
        try:
            return self._top.descend(folder).open(base)
        except OSError as error:
            raise CommitError(f"cannot read {escape(name)[:200]} of the archive: {error.strerror}") from None


def read_small(archive: Archive, name: str, limit: int) -> bytes:
    """All bytes of a member that is known to be small.

    Raises:
        CommitError: it isn't there, or is longer than ``limit`` bytes.
    """
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CommitError(f"{escape(name)[:200]} of the archive is longer than {limit} bytes, which none such is")
    return data
