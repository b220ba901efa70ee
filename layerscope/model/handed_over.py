"""What a user hands over because it lies outside of the root."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What drivers keep outside of the root, as the user has handed it over: paths on the user's own disk.

    ``thin_metadata``: the metadata of a thin pool, a copy of it, or what ``thin_dump`` prints; ``thin_data`` its data.
    ``zfs_list``: what :data:`layerscope.formats.zfs_list.COMMAND` printed.
    """

    thin_metadata: Path | None = None
    thin_data: Path | None = None
    zfs_list: Path | None = None

    def given(self) -> dict[str, Path]:
        """What there is, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: path for name, path in found.items() if path is not None}


NOTHING_HANDED_OVER = HandedOver()
