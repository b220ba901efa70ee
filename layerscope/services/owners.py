"""Who owns a thing of an opened root, by the same claims as the ledger's.

What the records name at once is told of images, layers and containers. Where nothing names it, or what names it was
never finished, the claims have the last word: an engine may be at work, or may have been killed at it.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Iterator
from functools import cached_property

from msgspec.structs import replace

from layerscope.analysis.owners import owners as owners_by_records
from layerscope.model.claim import Category, Claim, Place
from layerscope.model.digest import CacheID
from layerscope.model.owner import Owner
from layerscope.services.contents import Contents
from layerscope.stores.base import Store
from layerscope.stores.claims import ClaimedTree, Claims
from layerscope.stores.docker.cache_claims import CacheClaims, claims_now
from layerscope.stores.docker.interrupted import interrupted_creations, interrupted_folder
from layerscope.stores.docker.store import DockerStore

_KINDS = {
    Category.IMAGE_LAYER: "image",
    Category.CONTAINER_RW: "container",
    Category.CONTAINER_INIT: "init",
    Category.CONTAINER_RECORD: "container",
    Category.BUILD_CACHE: "build-cache",
    Category.UNUSED_LAYER: "record",
    Category.LOG: "log",
    Category.VOLUME: "volume",
    Category.PLUGIN: "plugin",
    Category.TEMPORARY: "temporary",
    Category.ORPHAN: "orphan",
}
"""What is claimed, in the words for owners; everything else is a record."""
_OF_CONTAINERS = {"container", "init", "log"}
_IN_USE = {Category.IMAGE_LAYER, Category.CONTAINER_RW, Category.CONTAINER_INIT}


def owners(contents: Contents, thing: str) -> list[Owner]:
    """Who owns a path, an id or its prefix, a short name, a digest, or the directories of a mount line."""
    found = owners_by_records(contents.claims(), thing)
    store = contents.store
    if isinstance(store, DockerStore):
        claims = _DockersClaims(store)
        found = [owner for one in found if (owner := claims.settled(one)) is not None]
    elif any(owner.kind == "orphan" for owner in found):
        # What is opened of a store may not be all of it: there are other namespaces, and images for other machines.
        trees = _trees(store)
        found = [_with_claim(trees, owner) if owner.kind == "orphan" else owner for owner in found]
    return found or list(_by_place(_trees(store), thing.strip()))


def _trees(store: Store) -> tuple[ClaimedTree, ...]:
    return store.claimed_trees() if isinstance(store, Claims) else ()


class _DockersClaims:
    """What docker's records claim, each kind read when it is asked for."""

    def __init__(self, store: DockerStore) -> None:
        self._store = store

    @cached_property
    def _layers(self) -> CacheClaims:
        return claims_now(self._store)

    @cached_property
    def _interrupted(self) -> frozenset[str]:
        return interrupted_creations(self._store)

    def settled(self, owner: Owner) -> Owner | None:
        """An owner as the ledger has it: not one that seems to be, but isn't; None if the thing is gone."""
        if owner.kind == "orphan" or (owner.kind in _OF_CONTAINERS and owner.cache_id is not None):
            claim = self._layers.claim(owner.cache_id or CacheID(owner.id))
            if claim is None:
                return None if owner.kind == "orphan" else owner
            if owner.kind == "orphan" or claim.category not in _IN_USE:
                return _by_claim(replace(owner, id=owner.cache_id or owner.id), claim)
        elif owner.kind in _OF_CONTAINERS and owner.id in self._interrupted:
            return _by_claim(owner, interrupted_folder(self._store, owner.id))
        elif owner.kind == "volume" and self._lacks_files(owner.path or ""):
            claim = _claim_of(self._store.claimed_trees(), owner.path or "")
            return None if claim is None else _by_claim(owner, claim)
        return owner

    def _lacks_files(self, volume: str) -> bool:
        """Whether a volume has a folder, but not the one of its files."""
        try:
            folder = self._store.root.descend(volume)
            return bool(folder.stat_self()) and folder.stat_or_none("_data") is None
        except OSError:
            return False


def _by_claim(owner: Owner, claim: Claim) -> Owner:
    names = tuple(filter(None, (claim.owner,)))
    kind = _KINDS.get(claim.category, "orphan")
    return replace(owner, kind=kind, names=names, claimed_by=None, reason=claim.reason)


# ---------------------------------------------------------------------- what no list of things names
def _by_place(trees: Iterable[ClaimedTree], path: str) -> Iterator[Owner]:
    """Who claims a file or directory of the root that is there: by its path in the root, or on this host."""
    claim = _claim_of(trees, path)
    if claim is not None:
        names = tuple(filter(None, (claim.owner,)))
        yield Owner(_KINDS.get(claim.category, "record"), claim.path, names, path=claim.path, reason=claim.reason)


def _with_claim(trees: Iterable[ClaimedTree], owner: Owner) -> Owner:
    claim = _claim_of(trees, owner.path or "")
    return owner if claim is None else _by_claim(owner, claim)


def _claim_of(trees: Iterable[ClaimedTree], path: str) -> Claim | None:
    for tree in trees:
        inside = _inside(tree, path) if path.strip("/") else ""
        claim = _claim_at(tree, inside) if inside else None
        if claim is not None:
            return claim
    return None


def _inside(tree: ClaimedTree, path: str) -> str:
    """A path in a tree, "" if it leads elsewhere."""
    if path.startswith("/"):
        place = os.path.relpath(os.path.normpath(path), tree.path)
        if place == ".." or place.startswith("../"):
            return ""
    else:
        prefix = tree.directory.path
        place = os.path.normpath(path)
        place = place.removeprefix(f"{prefix}/") if prefix else place
    return "" if place in (".", "..") or place.startswith("../") else place


def _claim_at(tree: ClaimedTree, path: str) -> Claim | None:
    folder, _, name = path.rpartition("/")
    try:
        stat = tree.directory.descend(folder).stat_or_none(name)
    except OSError:
        return None
    place: Place | None = tree.place
    for part in path.split("/"):
        if place is None or place.whole:
            break
        place = place.at(part)
    if stat is None or place is None or (place.folder and not (place.whole or modes.S_ISDIR(stat.st_mode))):
        return None
    return place.claim
