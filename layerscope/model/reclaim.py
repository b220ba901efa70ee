"""What could be removed from a root, what each part of it is kept by, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field


class ThingKind(StrEnum):
    """What a user can take away."""

    CONTAINER = "container"
    IMAGE = "image"
    VOLUME = "volume"
    BUILD_CACHE = "build-cache"
    UNUSED_LAYER = "unused-layer"
    ORPHAN = "orphan"
    TEMPORARY = "temporary"
    LOG = "log"


class Thing(Struct, frozen=True):
    """One thing that may go. ``id`` is the engine's own name for it, or a path for what no engine knows."""

    kind: ThingKind
    id: str


Need = frozenset[Thing]
"""Things that must all go before something does."""


class Removable(Struct, frozen=True):
    """Everything that may go, and what it takes with it.

    ``names``: what each thing is called, "" for its kind and ID; ``commands``: how it is removed, nothing where no
    command does that; ``running``: those that only force removes; ``guarded``: those that may still be in use although
    no record says so, each with why. ``needs``: by the path of a ledger's entry, the things that must go for it to go,
    as alternatives; a path that isn't among them stays. A path stands for everything below it, too.

    ``follows``: what the engine removes by itself once all of those are gone. ``groups``: what the engine's own prunes
    take, by the words for them, where that differs from all of a kind. ``dependents``: all that must go before
    something does; while one stays the engine refuses. ``tried``: what the engine tries to remove of itself once all of
    those are gone, and fails on while something else keeps it; ``alone``: the commands after which it doesn't try.
    ``references``: the names that must all be removed for an image to go. ``anonymous``: the names of the volumes that
    were made without one.
    """

    names: Mapping[Thing, str]
    commands: Mapping[Thing, str]
    running: frozenset[Thing]
    guarded: Mapping[Thing, str]
    needs: Mapping[str, tuple[Need, ...]]
    with_volumes: Mapping[Thing, frozenset[Thing]]
    follows: Mapping[Thing, Need] = field(default_factory=dict)
    groups: Mapping[str, frozenset[Thing]] = field(default_factory=dict)
    dependents: Mapping[Thing, Need] = field(default_factory=dict)
    tried: Mapping[Thing, Need] = field(default_factory=dict)
    alone: Mapping[Thing, str] = field(default_factory=dict)
    references: Mapping[Thing, tuple[str, ...]] = field(default_factory=dict)
    anonymous: frozenset[str] = frozenset()


class Kept(Struct, frozen=True):
    """A part of what was asked for that stays: its path, its bytes on disk, and what keeps it."""

    path: str
    disk: int
    because: tuple[str, ...]


class Candidate(Struct, frozen=True):
    """One thing and the bytes on disk that come back if it alone goes."""

    thing: Thing
    name: str
    frees_disk: int
    command: str


class Reclaim(Struct, frozen=True):
    """The answer. ``bound`` is the least that any choice could free that frees enough (None: none was wanted).

    ``exact``: no choice that frees enough frees less than this one. ``at_most``: files may share blocks, so less may
    come back. ``enough``: whether the wanted amount can be freed at all.
    """

    asked: tuple[str, ...]
    frees_disk: int
    kept: tuple[Kept, ...]
    commands: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
    at_most: bool = False
    wanted: int | None = None
    bound: int | None = None
    exact: bool = True
    enough: bool = True
