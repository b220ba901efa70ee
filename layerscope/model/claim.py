"""Who claims which part of a root: a tree of places, each with the record, database key or mount that makes the claim.

A place is either a whole tree that belongs to one owner, or a directory whose entries are named one by one; what such a
directory holds beside them is claimed by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct


class Category(StrEnum):
    """The classes of a ledger; every byte of a root is in exactly one."""

    IMAGE_LAYER = "image-layer"
    UNUSED_LAYER = "unused-layer"
    BUILD_CACHE = "build-cache"
    CONTAINER_RW = "container-rw"
    CONTAINER_INIT = "container-init"
    CONTAINER_RECORD = "container-record"
    LOG = "log"
    VOLUME = "volume"
    CONTENT_BLOB = "content-blob"
    LAYER_POOL = "layer-pool"
    ENGINE = "engine"
    PLUGIN = "plugin"
    SWARM = "swarm"
    NETWORK = "network"
    RECORD = "record"
    TEMPORARY = "temporary"
    FOREIGN_MOUNT = "foreign-mount"
    ORPHAN = "orphan"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"


class Claim(Struct, frozen=True, eq=False, gc=False):
    """One owner's claim. All places that share a claim object are one entry of the ledger.

    ``path`` is where it is told, relative to the root; ``reason`` names what makes the claim. Of several claims on one
    inode the one with the lowest ``rank`` pays (then the first path). ``stored_size`` is what a record says its
    files have in all, in bytes, None where nothing says so; ``whole_tree``: the directory holds the files of all layers
    below too, so it never has that size. ``committed``: it is a layer that the engine never writes again.
    """

    path: str
    category: Category
    owner: str
    reason: str
    rank: int = 0
    stored_size: int | None = None
    whole_tree: bool = False
    committed: bool = False


_NO_NAMES: Mapping[str, Place] = MappingProxyType({})


class Place(Struct, frozen=True, eq=False):
    """What is claimed at one path, and below.

    ``whole``: everything below belongs to ``claim``. Else the entries of the directory are looked up in ``names``, then
    given to ``rule``; one that neither knows is unclaimed. ``crosses``: file systems that begin below a whole place
    belong to it (subvolumes, datasets). ``folder``: only a directory is what is claimed.
    """

    claim: Claim
    whole: bool = False
    names: Mapping[str, Place] = _NO_NAMES
    rule: Callable[[str], Place | None] | None = None
    crosses: bool = False
    folder: bool = False

    def at(self, name: str) -> Place | None:
        """The place of the entry ``name``, None if nobody claims it."""
        found = self.names.get(name)
        if found is None and self.rule is not None:
            found = self.rule(name)
        return found


def by_pattern(*pairs: tuple[Callable[[str], object], Place]) -> Callable[[str], Place | None]:
    """A rule: the place of the first test that a name passes."""

    def rule(name: str) -> Place | None:
        return next((place for passes, place in pairs if passes(name)), None)

    return rule
