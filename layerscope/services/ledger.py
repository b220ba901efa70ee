"""The ledger of an opened root: every byte of it in exactly one class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from layerscope.analysis.ledger.kept import KeptLayers
from layerscope.analysis.ledger.walk import walk
from layerscope.errors import UnsupportedError
from layerscope.hostfs.mounts import Mount, file_system_type, mounts
from layerscope.model.claim import Category, Claim, Place
from layerscope.model.ledger import Ledger
from layerscope.services.session import Session
from layerscope.stores.base import TwoRoots, WithoutRoot
from layerscope.stores.claims import ClaimedTree, Claims

_SHARING = {"btrfs", "xfs", "bcachefs"}
"""File systems in which files may share blocks."""


def ledger(
    session: Session,
    workers: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    counted: Callable[[int], None] = lambda entries: None,
    cache: bool = False,
) -> Ledger:
    """Count every byte of every tree that belongs to the store.

    Args:
        session: the opened root; its records are read anew.
        workers: how many processes measure; None: one for each processor.
        cancelled: asked now and then; once it says so the walk is given up.
        counted: told now and then how many entries were counted.
        cache: the sums of committed layers that are as they were may come from the user's cache.

    Raises:
        Cancelled: ``cancelled`` said so.
        UnsupportedError: the store is no data root.
    """
    trees = iter(_trees(session))  # what they know of every record goes with the walk, before the ledger is made
    known = mounts()

    def below(tree: ClaimedTree) -> list[Mount]:
        top = os.path.realpath(tree.path)
        return [one for one in known if _touches(one.point, top)]

    with _kept(session, cache) as kept:
        book = walk(trees, below, workers, cancelled, counted, kept)
    types = {file_system_type(Path(os.path.realpath(path))) for path in session.paths}
    return book.ledger(os.fspath(session.path), bool(types & _SHARING))


def entries_at_most(session: Session) -> int | None:
    """How many entries the file systems of the root hold; None where they don't tell."""
    known = {}
    for path in session.paths:
        try:
            found = os.statvfs(path)
            known[os.stat(path).st_dev] = found.f_files - found.f_ffree
        except OSError:
            return None
    return sum(known.values()) if all(count > 0 for count in known.values()) else None


@contextmanager
def _kept(session: Session, cache: bool) -> Iterator[KeptLayers | None]:
    if not cache:
        yield None
        return
    from layerscope.services.layer_cache import LayerCache

    with LayerCache(session.paths) as kept:
        yield kept


def _touches(point: str, top: str) -> bool:
    return point == top or point.startswith(f"{top}/") or top.startswith(point.rstrip("/") + "/") or point == "/"


def _trees(session: Session) -> tuple[ClaimedTree, ...]:
    store = session.store
    if isinstance(store, WithoutRoot):
        instead = "layerscope waste IMAGE tells what its layers store for nothing"
        raise UnsupportedError(f"this is {store.without_root}, no data root: there is no ledger of it; {instead}")
    if isinstance(store, Claims):
        return store.claimed_trees()
    reason = f"what a {store.name} store's records claim can't be told yet"
    root = ClaimedTree(session.root, session.path, Place(Claim(".", Category.UNKNOWN, "", reason), whole=True))
    other = store.layer_root if isinstance(store, TwoRoots) else None
    if other is None or other is session.root:
        return (root,)
    place = Place(Claim(other.path or ".", Category.UNKNOWN, "", reason), whole=True)
    return (root, ClaimedTree(other, session.paths[-1], place))
