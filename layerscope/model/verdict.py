"""What checking a layer against its record found."""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID, DiffID, ImageID


class Finding(Struct, frozen=True):
    """One difference between what is recorded and what is there.

    ``path`` begins with a slash where it is a path in the layer, else it is one below the root. ``subject`` is what
    differs (``mode``, ``content`` …); ``recorded`` and ``found`` say it from both sides, "" where a side has nothing.
    """

    path: str
    subject: str
    recorded: str = ""
    found: str = ""

    @property
    def what(self) -> str:
        """All of it but the path, in one line."""
        sides = [f"recorded {self.recorded}" if self.recorded else "", f"found {self.found}" if self.found else ""]
        told = ", ".join(side for side in sides if side)
        return f"{self.subject}: {told}" if told else self.subject


class Verdict(Struct, frozen=True):
    """The check of one layer (``image``: of an image's own record, which only is told of where it is wrong).

    ``ok`` is None where nothing could be compared; ``skipped`` says why. ``computed`` is the digest of the layer's tar
    as it would be now, None if it can't be rebuilt. ``size_bytes`` is the length of what was hashed. ``more`` counts
    findings beyond those given.
    """

    chain_id: ChainID | None
    diff_id: DiffID | None
    cache_id: CacheID | None
    ok: bool | None
    skipped: str = ""
    computed: str | None = None
    size_bytes: int = 0
    findings: tuple[Finding, ...] = ()
    more: int = 0
    image: ImageID | None = None
