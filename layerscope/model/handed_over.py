"""What a user hands over because it lies outside of the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.model.digest import CacheID


class HandedOver(Struct, frozen=True):
    """What drivers keep outside of the root, as the user has handed it over: paths on the user's own disk.

    ``thin_metadata``: the metadata of a thin pool, a copy of it, or what ``thin_dump`` prints; ``thin_data`` its data.
    ``zfs_list``: what :data:`layerscope.formats.zfs_list.COMMAND` printed. ``layer_dirs``: a layer's ID, and where its
    files are mounted, or were copied to.
    """

    thin_metadata: Path | None = None
    thin_data: Path | None = None
    zfs_list: Path | None = None
    layer_dirs: tuple[tuple[CacheID, Path], ...] = ()

    def given(self) -> dict[str, object]:
        """What there is, by name."""
        return {name: value for name, value in asdict(self).items() if value}


NOTHING_HANDED_OVER = HandedOver()
