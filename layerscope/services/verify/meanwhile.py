"""Whether what was checked is still there: an engine that works makes and removes layers while they are read."""

from __future__ import annotations

from layerscope.model.digest import ChainID, hex_of
from layerscope.model.verdict import Verdict
from layerscope.services.session import Session
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.records.files import Fault, read_line


def changed_meanwhile(session: Session, verdict: Verdict) -> str:
    """What became of a layer that was found wrong; "" where nothing did, so that it is wrong.

    A layer gets a new cache ID each time it is made, so the same name on another cache ID is another layer.
    """
    store, chain = session.store, verdict.chain_id
    if not isinstance(store, DockerStore) or chain is None:
        return ""
    records = f"image/{session.driver}/layerdb"
    told = read_line(session.root.descend(f"{records}/sha256/{hex_of(chain)}"), "cache-id")
    if isinstance(told, Fault):
        gone = told.absent and (verdict.cache_id is not None or not _is_named(session, chain))
        return "the layer was removed while it was checked" if gone else ""
    return "" if told.strip() == verdict.cache_id else "the layer was made anew while it was checked"


def _is_named(session: Session, chain: ChainID) -> bool:
    """Whether an image or container that was found at first, and stands on the layer, is still there."""
    records = f"image/{session.driver}"
    names = [
        f"{records}/imagedb/content/sha256/{hex_of(image.id)}"
        for image in session.store.images()
        if chain in image.chain_ids
    ]
    names += [
        f"{records}/layerdb/mounts/{container.id}"
        for container in session.store.containers()
        if any(level.chain_id == chain for level in session.store.levels(container))
    ]
    return any(_exists(session, name) for name in names)


def _exists(session: Session, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        return session.root.descend(folder).stat_or_none(name) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True
