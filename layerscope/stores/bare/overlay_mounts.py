"""Where the directories of an overlay lie, and the overlays that are mounted now as far as this process sees them.

The kernel keeps the names as they were typed, relative ones too, but not the directory in which that was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from layerscope.errors import UsageError
from layerscope.hostfs.mounts import Mount, mounts
from layerscope.stores.bare.mount_options import MountOptions, parse_shown_options


class Placed(Struct, frozen=True):
    """The directories of an overlay as absolute paths without links. ``lower`` and ``data`` are **base first**."""

    data: tuple[str, ...]
    lower: tuple[str, ...]
    upper: str | None
    work: str | None
    user_xattr: bool

    @property
    def levels(self) -> tuple[str, ...]:
        """All levels, base first."""
        return (*self.data, *self.lower, *(() if self.upper is None else (self.upper,)))


def placed(options: MountOptions, folder: Path | None = None) -> Placed:
    """Where the directories lie; relative names begin at ``folder`` (None: the current directory)."""
    start = Path() if folder is None else folder

    def real(name: str) -> str:
        return os.path.realpath(start / name)

    return Placed(
        tuple(real(name) for name in reversed(options.data)),
        tuple(real(name) for name in reversed(options.lower)),
        None if options.upper is None else real(options.upper),
        None if options.work is None else real(options.work),
        options.user_xattr,
    )


def overlay_mounts() -> Iterator[Mount]:
    """Every overlay, in the order of mountinfo; of several at one mount point the last one, which covers the others."""
    found = {mount.point: mount for mount in mounts()}
    yield from (mount for mount in found.values() if mount.type == "overlay")


def placed_mount(mount: Mount) -> Placed | None:
    """Where the directories of a mounted overlay lie; None if its options can't be understood.

    Relative names are taken from the first of these in which all are there: the current directory, that of the mount
    point, the top of the host.
    """
    try:
        options = parse_shown_options(mount.super_options)
    except UsageError:
        return None
    point = Path(mount.point)
    guesses = [placed(options, folder) for folder in (Path(), point.parent, Path("/"))]
    return next((guess for guess in guesses if all(map(os.path.isdir, guess.levels))), guesses[0])


def mounted_at(path: Path) -> Placed | None:
    """Where the directories of the overlay lie that is mounted at ``path``; None if there is none."""
    try:
        point = os.path.realpath(path)
    except OSError:
        return None
    return next((placed_mount(mount) for mount in overlay_mounts() if mount.point == point), None)
