"""The side record of a writable layer as a file: written aside, brought to the disk and renamed at each change."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from layerscope.errors import CorruptError
from layerscope.formats.override_stat import SIDE_RECORD, SideEntry, side_record_text
from layerscope.hostfs import Directory
from layerscope.overlay.owners import Owners, read_owners

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SideFile:
    """The record of the layer whose directory is ``layer`` in ``folder``."""

    def __init__(self, folder: Directory, layer: str) -> None:
        self._folder = folder
        self._name = layer + SIDE_RECORD

    def close(self) -> None:
        """Give the descriptor back."""
        self._folder.close()

    def write(self, entries: Mapping[str, SideEntry]) -> None:
        """Put ``entries`` in the place of what the record says.

        Raises:
            OSError: of the system calls; the record is then as it was.
        """
        aside = f".tmp-{self._name[:200]}{secrets.randbelow(10**9)}"
        with self._folder.held() as fd:
            try:
                with os.fdopen(os.open(aside, _NEW, 0o600, dir_fd=fd), "wb") as file:
                    file.write(side_record_text(entries))
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(aside, self._name, src_dir_fd=fd, dst_dir_fd=fd)
            except OSError:
                try:
                    os.unlink(aside, dir_fd=fd)
                except OSError:
                    pass
                raise


def owners_beside(layer: Path) -> Owners:
    """What is kept beside a layer by its path; a damaged record is none."""
    whole = Path(os.path.realpath(layer))
    try:
        folder = Directory.open_root(whole.parent)
    except OSError:
        return Owners()
    try:
        return read_owners(folder, whole.name)
    except (OSError, CorruptError):
        return Owners()
    finally:
        folder.close()


def side_file_of(layer: Path) -> SideFile:
    """The record of a layer by its path."""
    whole = Path(os.path.realpath(layer))
    return SideFile(Directory.open_root(whole.parent), whole.name)
