"""Opening a root: from a path (or none) to a session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from layerscope.drivers import DRIVERS, SHARED_DRIVERS, SNAPSHOTTERS, DriverFactory, HandedOver, TakesMoreRoots
from layerscope.errors import LayerscopeError, RootError, UsageError
from layerscope.formats.whiteout import TRUSTED, dialect_for
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.lab.root.marker import read_marker
from layerscope.services.session import Session
from layerscope.services.setting import Setting
from layerscope.stores.base import SeveralRoots, SharesStorage, ShiftsOwners, Store, TwoRoots
from layerscope.stores.detect import Detection, choose_driver, detect, is_archive, open_directory
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.owners import root_owners

if TYPE_CHECKING:
    from pathlib import Path

_SAMPLED_LAYERS = 64
OVERLAY = "overlay:"
"""What a path begins with that is no path but a mount's options."""


def open_root(
    path: str | Path | None = None,
    *,
    driver: str | None = None,
    xattr_prefix: str | None = None,
    containerd_root: str | Path | None = None,
    namespace: str | None = None,
    thin_metadata: str | Path | None = None,
    thin_data: str | Path | None = None,
    zfs_list: str | Path | None = None,
    layer_dirs: Mapping[str, str | Path] | None = None,
) -> Session:
    """Open a root for reading.

    Args:
        path: A docker data root, a containerd root, a root of podman, Buildah or CRI-O, an image archive, the mount
            point of an overlay, or ``overlay:`` and an overlay's mount options. None: the first of the usual places
            that can be read.
        driver: The storage driver to show, where a root holds several.
        xattr_prefix: ``trusted`` or ``user``; None: chosen by what the root is.
        containerd_root: Where the other half of docker's containerd store is; None: it is looked for.
        namespace: The containerd namespace to read; None: docker's, else Kubernetes', else the one with most images.
        thin_metadata: Where a devicemapper pool's metadata is (the device, a copy of it, or what ``thin_dump``
            printed), if it isn't in the root.
        thin_data: Where that pool's data is.
        zfs_list: A file with what ``zfs list -Hp`` printed of the root's datasets.
        layer_dirs: Where the files of layers of btrfs, zfs or devicemapper are mounted, or were copied to, by the
            layer's ID, its beginning, or its dataset's name.

    Raises:
        RootError: there is no root at ``path``, or it can't be read (PermissionDenied).
        UsageError: the wanted driver, namespace or prefix isn't there; what is handed over has no meaning there.
        UnsupportedError: it is a root, of a kind that can't be read.
    """
    if xattr_prefix not in (None, "trusted", "user"):
        raise UsageError(f"the xattr prefix is 'trusted' or 'user', not {xattr_prefix!r}")
    text = os.fspath(path) if path is not None else ""
    if text.startswith(OVERLAY):
        from layerscope.services.opening.without_engine import open_overlay

        return open_overlay(text.removeprefix(OVERLAY), xattr_prefix)
    place = _plain(text) if path is not None else _usual_place()
    if path is not None and is_archive(place):
        from layerscope.services.opening.without_engine import open_archive

        return open_archive(_path(place))
    root = open_directory(place)
    try:
        handed = HandedOver(_given(thin_metadata), _given(thin_data), _given(zfs_list))
        return _opened(root, place, driver, xattr_prefix, containerd_root, namespace, handed, layer_dirs or {})
    except LayerscopeError as error:
        root.close()
        if not isinstance(error, RootError):
            raise
        from layerscope.services.opening.without_engine import open_mounted

        mounted = open_mounted(_path(place), xattr_prefix)
        if mounted is None:
            raise
        return mounted


def _opened(
    root: Directory,
    place: str,
    driver: str | None,
    xattr_prefix: str | None,
    containerd_root: str | Path | None,
    namespace: str | None,
    handed: HandedOver,
    layer_dirs: Mapping[str, str | Path],
) -> Session:
    detection = detect(root, place)
    store: Store | None = None
    if containerd_root is not None or namespace is not None or _hints_at_containerd(root, detection):
        from layerscope.services.opening.containerd import open_containerd

        found = open_containerd(root, _path(place), detection, driver, _given(containerd_root), namespace)
        place, root, detection, store = os.fspath(found.path), found.root, found.detection, found.store
    if store is None and detection.shares_storage:
        from layerscope.stores.podman.store import PodmanStore

        store = PodmanStore(root, _path(place), choose_driver(detection, place, driver), detection.rootless)
    if store is None:
        store = DockerStore(root, place, choose_driver(detection, place, driver))
    layer_root = store.layer_root if isinstance(store, TwoRoots) else root
    marker = read_marker(root)
    rootless = detection.rootless and marker is None
    owners = root_owners(root, place, rootless, isinstance(store, SharesStorage))
    for one in (layer_root, *(store.more_layer_roots if isinstance(store, SeveralRoots) else ())):
        if one is not None:
            one.owner_map = owners.map
    factory = _factory_for(store)
    if layer_dirs:
        from layerscope.services.opening.handed_layers import layers_meant

        handed = replace(handed, layer_dirs=layers_meant(store, layer_dirs))
    _check_handed_over(handed, factory, store.driver)
    prefix = xattr_prefix or (marker.xattr_prefix if marker else _prefix_for(layer_root, detection, factory))
    setting = Setting(place, detection, privilege(), prefix, marker, factory is None, owners.map, owners.told)
    files = factory(layer_root, dialect_for(prefix), handed) if factory is not None and layer_root is not None else None
    if isinstance(store, SeveralRoots) and isinstance(files, TakesMoreRoots):
        for more in store.more_layer_roots:
            files.add_root(more)
    if store.driver == "zfs":
        from layerscope.services.opening.live_zfs import ask_zfs

        ask_zfs(files, _path(place))
    if isinstance(store, ShiftsOwners):
        from layerscope.services.opening.layer_owners import show_owners

        show_owners(store, files, owners.map)
    if marker is not None and prefix == "user" and files is not None and store.driver == "overlay2":
        from layerscope.lab.root.owned_driver import OwnedOverlay2

        files = OwnedOverlay2(root, dialect_for(prefix))
    return Session(place, root, store, files, setting)


def _hints_at_containerd(root: Directory, detection: Detection) -> bool:
    if not detection.has_own_containerd_only:
        return detection.hints_at_containerd
    from layerscope.stores.containerd.idle import is_idle

    return not is_idle(root)


def _factory_for(store: Store) -> DriverFactory | None:
    if isinstance(store, SharesStorage):
        return SHARED_DRIVERS.get(store.driver)
    return DRIVERS.get(store.driver) if (store.driver in SNAPSHOTTERS) == isinstance(store, TwoRoots) else None


def _plain(text: str) -> str:
    """A path without doubled slashes and single dots, as pathlib writes it."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return ("/" if text.startswith("/") else "") + "/".join(parts) or "."


def _path(path: str | Path) -> Path:
    """``path`` for those who reckon with it: a docker root is opened by its text."""
    from pathlib import Path  # here: to import it takes a twentieth of the time of a short answer

    return Path(path)


def _given(path: str | Path | None) -> Path | None:
    return None if path is None else _path(path)


def _check_handed_over(handed: HandedOver, factory: DriverFactory | None, driver: str) -> None:
    for name in handed.given():
        if factory is None or name not in factory.takes:
            raise UsageError(f"{name} has no meaning for layers of {driver}: leave it out")


def _prefix_for(root: Directory | None, detection: Detection, factory: DriverFactory | None) -> str:
    """``user`` for a root that a daemon without privilege wrote, else ``trusted``.

    That a root belongs to a user may also come from how it was copied: ``trusted.overlay.*`` on a layer's top
    directory, which no process in a container could have set, then says what it is.
    """
    if not detection.rootless:
        return "trusted"
    if factory is not None and root is not None:
        driver = factory(root, TRUSTED)
        try:
            sampled = driver.layer_ids()[:_SAMPLED_LAYERS]
        except OSError:
            return "user"  # nothing there can be read: that is told when it is looked for
        for cache_id in sampled:
            try:
                names = driver.open_layer(cache_id).xattrs()
            except OSError:
                continue
            if any(name.startswith(TRUSTED.prefix) for name in names):
                return "trusted"
    return "user"


def _usual_place() -> str:
    from layerscope.stores.candidates import candidates

    tried = []
    for place, reason in candidates():
        if reason is None:
            return _plain(place)
        tried.append(f"{place} ({reason})")
    from layerscope.services.opening.without_engine import mounted_overlays

    raise RootError(
        f"no root found: tried {', '.join(tried)}; give a path, or see one with: layerscope demo{mounted_overlays()}"
    )
