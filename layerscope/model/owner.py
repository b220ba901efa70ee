"""Who a path, an id or a mount line belongs to."""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID, DiffID


class Owner(Struct, frozen=True):
    """One claim on a thing of the root.

    ``kind`` is one of ``image container init build-cache volume log plugin record temporary orphan``. ``temporary``: a
    running engine may be at work on it, so nobody claims it yet, or no longer. ``claimed_by`` names the record (a path
    relative to the root) that makes the claim, ``reason`` says in words what a claim doesn't.
    """

    kind: str
    id: str
    names: tuple[str, ...] = ()
    chain_id: ChainID | None = None
    diff_id: DiffID | None = None
    cache_id: CacheID | None = None
    path: str | None = None
    claimed_by: str | None = None
    reason: str = ""
