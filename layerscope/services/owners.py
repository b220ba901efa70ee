"""Who owns a thing of an opened root; what no record claims is looked at again, since an engine may be at work."""

from __future__ import annotations

from msgspec.structs import replace

from layerscope.analysis.owners import owners as owners_by_records
from layerscope.model.claim import Category
from layerscope.model.digest import CacheID
from layerscope.model.owner import Owner
from layerscope.services.contents import Contents
from layerscope.stores.docker.cache_claims import CacheClaims, claims_now
from layerscope.stores.docker.store import DockerStore

_KINDS = {
    Category.IMAGE_LAYER: "image",
    Category.CONTAINER_RW: "container",
    Category.CONTAINER_INIT: "init",
    Category.BUILD_CACHE: "build-cache",
    Category.UNUSED_LAYER: "record",
    Category.TEMPORARY: "temporary",
}
"""What a layer is called that has another claim than the records told at first."""


def owners(contents: Contents, thing: str) -> list[Owner]:
    """Who owns a path, an id or its prefix, a short name, a digest, or the directories of a mount line."""
    found = owners_by_records(contents.claims(), thing)
    store = contents.store
    if not isinstance(store, DockerStore) or all(owner.kind != "orphan" for owner in found):
        return found
    claims = claims_now(store)
    again = (_looked_at_again(claims, owner) if owner.kind == "orphan" else owner for owner in found)
    return [owner for owner in again if owner is not None]


def _looked_at_again(claims: CacheClaims, owner: Owner) -> Owner | None:
    """What seemed to be nobody's; None if it is gone."""
    claim = claims.claim(owner.cache_id or CacheID(owner.id))
    if claim is None:
        return None
    names = tuple(filter(None, (claim.owner,)))
    return replace(owner, kind=_KINDS.get(claim.category, "orphan"), names=names, reason=claim.reason)
