"""What of a root a store's records claim: an optional ability of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.model.claim import Place
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Removable


class ClaimedTree(Struct, frozen=True):
    """A directory with everything that is claimed in it. ``path`` is where it lies on the host."""

    directory: Directory
    path: Path
    place: Place


@runtime_checkable
class Claims(Protocol):
    """A store that can say who claims what."""

    def claimed_trees(self) -> tuple[ClaimedTree, ...]:
        """Every tree that belongs to the store, none inside of another, read anew.

        The layers' directories are listed before the records are read: what is made meanwhile is unclaimed at worst,
        and what is removed meanwhile isn't there.
        """


@runtime_checkable
class Removals(Protocol):
    """A store that can say what may be removed, and what keeps each part of a root."""

    def removable(self, ledger: Ledger) -> Removable:
        """Everything that may go, by the engine's own rules; ``ledger`` is that of the same root, just made."""
