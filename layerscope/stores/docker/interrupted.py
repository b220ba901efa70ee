"""Containers that docker was making when it was killed: it never loads them, and never removes what they left.

docker makes the layers of a container first, then its directory, its ``checkpoints``, ``hostconfig.json``, and its
``config.v2.json`` last. Source: moby daemon/create.go, container/container.go ``CheckpointTo``; seen with 20.10.24.
"""

from __future__ import annotations

import time

from layerscope.model.claim import Category, Claim
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.records.files import Fault, list_directory

YOUNG_SECONDS = 600.0
_MADE_FIRST = {"checkpoints", "hostconfig.json"}
"""What docker makes of a container before its config; everything else comes later."""


def interrupted_creations(store: DockerStore) -> frozenset[str]:
    """The containers whose creation was cut off before their config was written, or is going on now."""
    found = set()
    for container in store.containers():
        if not container.problems:
            continue
        entries = list_directory(store.root.enter("containers").enter(container.id))
        if isinstance(entries, Fault):
            continue
        if all(name in _MADE_FIRST or name.startswith(".tmp-") for name, _kind in entries):  # or it is still empty
            found.add(str(container.id))
    return frozenset(found)


def interrupted_category(store: DockerStore, container: str) -> Category:
    """The class of everything that is there of one: temporary as long as a daemon may be making it."""
    if store.liveness.held is not False and time.time() - changed(store, f"containers/{container}") < YOUNG_SECONDS:
        return Category.TEMPORARY
    return Category.ORPHAN


def interrupted_folder(store: DockerStore, container: str, prefix: str = "") -> Claim:
    """The claim on its directory."""
    reason = "has no config.v2.json: creating the container was interrupted"
    category = interrupted_category(store, container)
    if category is Category.TEMPORARY:
        reason = "has no config.v2.json yet: docker may be creating the container"
    return Claim(f"{prefix}containers/{container}", category, container[:12], reason)


def changed(store: DockerStore, path: str) -> float:
    """When something in the root changed last, in seconds since 1970: now, if it is gone."""
    try:
        return store.root.descend(path).stat_self().st_mtime
    except FileNotFoundError:
        return time.time()
    except OSError:
        return 0.0
