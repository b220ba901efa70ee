"""Opening a root: from a path (or none) to a session."""

from __future__ import annotations

from pathlib import Path

from layerscope.drivers import DRIVERS, DriverFactory
from layerscope.errors import RootError, UsageError
from layerscope.formats.whiteout import TRUSTED, dialect_for
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.lab.marker import read_marker
from layerscope.services.session import Session
from layerscope.services.setting import Setting
from layerscope.stores.candidates import candidates
from layerscope.stores.detect import Detection, choose_driver, detect, open_directory
from layerscope.stores.docker.store import DockerStore

_SAMPLED_LAYERS = 64


def open_root(path: str | Path | None = None, *, driver: str | None = None, xattr_prefix: str | None = None) -> Session:
    """Open a root for reading.

    Args:
        path: A docker data root. None: the first of the usual places that can be read.
        driver: The storage driver to show, where a root holds several.
        xattr_prefix: ``trusted`` or ``user``; None: chosen by what the root is.

    Raises:
        RootError: there is no root at ``path``, or it can't be read (PermissionDenied).
        UsageError: the wanted driver or prefix isn't there.
        UnsupportedError: it is a root, of a kind that can't be read.
    """
    if xattr_prefix not in (None, "trusted", "user"):
        raise UsageError(f"the xattr prefix is 'trusted' or 'user', not {xattr_prefix!r}")
    place = Path(path) if path is not None else _usual_place()
    root = open_directory(place)
    detection = detect(root, place)
    chosen = choose_driver(detection, place, driver)
    marker = read_marker(root)
    factory = DRIVERS.get(chosen)
    prefix = xattr_prefix or (marker.xattr_prefix if marker else _prefix_for(root, detection, factory))
    setting = Setting(place, detection, privilege(), prefix, marker, file_driver_missing=factory is None)
    files = factory(root, dialect_for(prefix)) if factory else None
    return Session(place, root, DockerStore(root, place, chosen), files, setting)


def _prefix_for(root: Directory, detection: Detection, factory: DriverFactory | None) -> str:
    """``user`` for a root that a daemon without privilege wrote, else ``trusted``.

    That a root belongs to a user may also come from how it was copied: ``trusted.overlay.*`` on a layer's top
    directory, which no process in a container could have set, then says what it is.
    """
    if not detection.rootless:
        return "trusted"
    if factory is not None:
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
    tried = []
    for place, reason in candidates():
        if reason is None:
            return place
        tried.append(f"{place} ({reason})")
    raise RootError(f"no root found: tried {', '.join(tried)}; give a path, or see one with: layerscope demo")
