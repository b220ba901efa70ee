"""Opening a root: from a path (or none) to a session."""

from __future__ import annotations

from pathlib import Path

from layerscope.drivers import DRIVERS, SNAPSHOTTERS, DriverFactory
from layerscope.errors import LayerscopeError, RootError, UsageError
from layerscope.formats.whiteout import TRUSTED, dialect_for
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.lab.marker import read_marker
from layerscope.services.session import Session
from layerscope.services.setting import Setting
from layerscope.stores.base import Store, TwoRoots
from layerscope.stores.detect import Detection, choose_driver, detect, open_directory
from layerscope.stores.docker.store import DockerStore

_SAMPLED_LAYERS = 64


def open_root(
    path: str | Path | None = None,
    *,
    driver: str | None = None,
    xattr_prefix: str | None = None,
    containerd_root: str | Path | None = None,
    namespace: str | None = None,
) -> Session:
    """Open a root for reading.

    Args:
        path: A docker data root, or a containerd root. None: the first of the usual places that can be read.
        driver: The storage driver to show, where a root holds several.
        xattr_prefix: ``trusted`` or ``user``; None: chosen by what the root is.
        containerd_root: Where the other half of docker's containerd store is; None: it is looked for.
        namespace: The containerd namespace to read; None: docker's, else Kubernetes', else the one with most images.

    Raises:
        RootError: there is no root at ``path``, or it can't be read (PermissionDenied).
        UsageError: the wanted driver, namespace or prefix isn't there.
        UnsupportedError: it is a root, of a kind that can't be read.
    """
    if xattr_prefix not in (None, "trusted", "user"):
        raise UsageError(f"the xattr prefix is 'trusted' or 'user', not {xattr_prefix!r}")
    place = Path(path) if path is not None else _usual_place()
    root = open_directory(place)
    try:
        wanted = Path(containerd_root) if containerd_root is not None else None
        return _opened(root, place, driver, xattr_prefix, wanted, namespace)
    except LayerscopeError:
        root.close()
        raise


def _opened(
    root: Directory,
    place: Path,
    driver: str | None,
    xattr_prefix: str | None,
    containerd_root: Path | None,
    namespace: str | None,
) -> Session:
    detection = detect(root, place)
    store: Store | None = None
    if containerd_root is not None or namespace is not None or detection.hints_at_containerd:
        from layerscope.services.containerd import open_containerd

        found = open_containerd(root, place, detection, driver, containerd_root, namespace)
        place, root, detection, store = found.path, found.root, found.detection, found.store
    if store is None:
        store = DockerStore(root, place, choose_driver(detection, place, driver))
    layer_root = store.layer_root if isinstance(store, TwoRoots) else root
    marker = read_marker(root)
    factory = DRIVERS.get(store.driver) if (store.driver in SNAPSHOTTERS) == isinstance(store, TwoRoots) else None
    prefix = xattr_prefix or (marker.xattr_prefix if marker else _prefix_for(layer_root, detection, factory))
    setting = Setting(place, detection, privilege(), prefix, marker, file_driver_missing=factory is None)
    files = factory(layer_root, dialect_for(prefix)) if factory is not None and layer_root is not None else None
    return Session(place, root, store, files, setting)


def _prefix_for(root: Directory | None, detection: Detection, factory: DriverFactory | None) -> str:
    """``user`` for a root that a daemon without privilege wrote, else ``trusted``.

    That a root belongs to a user may also come from how it was copied: ``trusted.overlay.*`` on a layer's top
    directory, which no process in a container could have set, then says what it is.
    """
    if not detection.rootless:
        return "trusted"
    if factory is not None and root is not None:
        driver = factory(root, TRUSTED)
        for cache_id in driver.layer_ids()[:_SAMPLED_LAYERS]:
            try:
                names = driver.open_layer(cache_id).xattrs()
            except OSError:
                continue
            if any(name.startswith(TRUSTED.prefix) for name in names):
                return "trusted"
    return "user"


def _usual_place() -> Path:
    from layerscope.stores.candidates import candidates

    tried = []
    for place, reason in candidates():
        if reason is None:
            return place
        tried.append(f"{place} ({reason})")
    raise RootError(f"no root found: tried {', '.join(tried)}; give a path, or see one with: layerscope demo")
