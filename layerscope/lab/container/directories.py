"""A container's directories of overlay2, and the overlay over them."""

from __future__ import annotations

from layerscope.drivers.overlay2 import Overlay2
from layerscope.errors import CommitError
from layerscope.formats.whiteout import dialect_for
from layerscope.hostfs import Directory
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.model.container import Container
from layerscope.model.digest import CacheID
from layerscope.overlay.engine import Overlay


def open_overlay(root: LabRoot, cache_id: CacheID) -> Overlay:
    """The writable overlay whose upper directory is that of ``cache_id``.

    Raises:
        CommitError: what lies below it can't be told, or is missing.
    """
    home = root.path / DRIVER
    lower = below(root, cache_id)
    if not lower:
        # docker makes no work directory for a layer on nothing: there is nothing to be mounted.
        root.disk.ensure_directory(f"{DRIVER}/{cache_id}/work", 0o700)
    if root.overrides:
        from layerscope.lab.root.owned_overlay import OwnedOverlay

        return OwnedOverlay(root.top.enter(DRIVER), home, lower, cache_id)
    layers = [home / identity / "diff" for identity in lower]
    return Overlay(layers, home / cache_id / "diff", home / cache_id / "work", xattr="trusted")


def below(root: LabRoot, cache_id: CacheID) -> list[CacheID]:
    """The directories that a mount would put below a layer, nearest first.

    Raises:
        CommitError: they can't be told, or one is missing.
    """
    driver = Overlay2(root.top, dialect_for(root.xattr_prefix))
    found = driver.lower_ids(cache_id)
    if found is None:
        raise CommitError(f"{DRIVER}/{cache_id}/lower names layers that are not there; layerscope doctor tells more")
    for identity in found:
        if not root.disk.is_directory(f"{DRIVER}/{identity}/diff"):
            raise CommitError(f"{DRIVER}/{identity}/diff is missing, a layer below; layerscope doctor tells more")
    return found


def writable_layer(root: LabRoot, container: Container, doing: str) -> CacheID:
    """The container's writable layer, which nobody else has in use.

    Raises:
        CommitError: it has none, or it is mounted.
    """
    if container.mount_id is None or not root.disk.is_directory(f"{DRIVER}/{container.mount_id}/diff"):
        raise CommitError(f"{doing}: its writable layer is missing")
    root.demand_unmounted(container.mount_id, doing)
    return container.mount_id


def files_of(root: LabRoot, cache_id: CacheID) -> Directory:
    """The top directory of a layer's files."""
    return root.top.descend(f"{DRIVER}/{cache_id}/diff")
