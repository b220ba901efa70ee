"""An archive, open: its files, and the plain bytes of those that are compressed."""

from __future__ import annotations

import os
from pathlib import Path

from layerscope.errors import CorruptError, PermissionDenied, RootError
from layerscope.formats.blocks.compression import form_of_file
from layerscope.formats.blocks.decompressed import DecompressedSource, Memory
from layerscope.formats.blocks.image import HEAD_BYTES, disk_image
from layerscope.formats.blocks.source import ByteSource, Slice, read_all, read_fully
from layerscope.formats.escape import escape
from layerscope.formats.tar.header import BLOCK
from layerscope.hostfs import Directory
from layerscope.hostfs.block_file import BlockFile
from layerscope.stores.archive.members import FolderMembers, Members, TarMembers
from layerscope.stores.records.files import RUN_AS_ROOT, Fault, fault_of

_MOUNT_IT = "mount it read-only (mount -o ro,loop), and open the data root that lies inside"


class Archive:
    """One archive. ``form``: how it is compressed as a whole, ``plain`` if it isn't, ``folder`` for a folder."""

    def __init__(self, members: Members, form: str, memory: Memory) -> None:
        self.members = members
        self.form = form
        self._memory = memory

    def has(self, name: str) -> bool:
        """Whether there is a file of this name that can be opened."""
        try:
            self.members.find(name)
        except OSError:
            return False
        return True

    def read(self, name: str, limit: int) -> bytes | Fault:
        """All bytes of a small file, or why not."""
        try:
            file = self.members.find(name)
            if file.size > limit:
                return Fault(f"is longer than {limit} bytes, which no such record is")
            data = read_all(file.source, limit)
        except CorruptError as error:
            return Fault(f"can't be read: {escape(str(error))}")
        except OSError as error:
            return fault_of(error)
        if len(data) < file.size:
            return Fault(f"ends after {len(data)} of {file.size} bytes")
        return data

    # ------------------------------------------------------------------ layers
    def decompressed(self, name: str) -> ByteSource:
        """The plain bytes of a member; of a compressed one as they are asked for.

        Raises:
            OSError: there is none, or it can't be read.
        """
        return _plain(self.members.find(name).source, self._memory)[1]

    def form_of(self, name: str) -> str:
        """How a member is compressed. Raises as :meth:`decompressed`."""
        return form_of_file(_start(self.members.find(name).source))


def _start(source: ByteSource) -> bytes:
    try:
        return read_fully(source, 0, BLOCK)
    except CorruptError:
        return b""


def _plain(source: ByteSource, memory: Memory) -> tuple[str, ByteSource]:
    form = form_of_file(_start(source))
    return form, source if form == "plain" else DecompressedSource(source, form, memory)


def _head(file: BlockFile) -> bytes:
    try:
        return read_fully(Slice(file, 0, file.size), 0, min(file.size, HEAD_BYTES))
    except (OSError, CorruptError):
        return b""


def open_folder(top: Directory) -> Archive:
    """The archive that lies unpacked in a folder."""
    return Archive(FolderMembers(top), "folder", Memory())


def open_tar(path: Path) -> Archive:
    """The archive at a path of the user's: a tar, compressed or not.

    Raises:
        RootError: it can't be read (PermissionDenied), or is no tar.
    """
    place = escape(os.fspath(path))[:300]
    memory = Memory()
    try:
        file = BlockFile.open_path(path)
        form, source = _plain(Slice(file, 0, file.size), memory)
        members = TarMembers(source)
    except PermissionError:
        raise PermissionDenied(f"cannot open {place}: permission denied; {RUN_AS_ROOT}") from None
    except OSError as error:
        raise RootError(f"cannot open {place}: {error.strerror or error}") from None
    if not members and (image := disk_image(_head(file))) is not None:
        raise RootError(f"cannot open {place}: it is {image}: {_MOUNT_IT}")
    if not members:
        why = escape(members.fault) if members.fault else "there is nothing in it"
        raise RootError(f"cannot open {place}: it is neither a root nor an image archive: {why}")
    return Archive(members, form, memory)
