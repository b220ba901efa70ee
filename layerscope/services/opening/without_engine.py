"""Opening what no engine keeps: an image archive, the directories of an overlay mount."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from layerscope.errors import RootError
from layerscope.formats.escape import escape
from layerscope.formats.whiteout import dialect_for
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import Privilege, privilege
from layerscope.services.session import Session
from layerscope.services.setting import Setting
from layerscope.stores.base import Store
from layerscope.stores.detect import Detection, World, open_directory

if TYPE_CHECKING:
    from layerscope.stores.bare.overlay_mounts import Placed

_LISTED = 6
_SEES_ALL = Privilege(trusted_xattrs=True, reads_everything=True, keeps_atime=True)
"""In an archive there is nothing that is shown only to some."""


def open_archive(path: Path) -> Session:
    """Open an image archive: a tar or a folder.

    Raises:
        RootError: it can't be read, or is no image archive.
    """
    from layerscope.drivers.tar_layer import TarLayers
    from layerscope.stores.archive.archive import open_folder, open_tar
    from layerscope.stores.archive.store import ArchiveStore

    if path.is_dir():
        top = open_directory(path)
        archive = open_folder(top)
    else:
        top = Directory(None, str(path))  # never opened: there are no directories
        archive = open_tar(path)
    try:
        store = ArchiveStore(archive, path)
    except RootError:
        top.close()
        raise
    setting = Setting(path, _detection(store), _SEES_ALL, "", None)
    return Session(path, top, store, TarLayers(archive, store.members, store.missing), setting)


def open_overlay(text: str, xattr_prefix: str | None) -> Session:
    """Open a bare overlay: mount options, or the mount point of one that is mounted now.

    Raises:
        UsageError: these aren't an overlay's options; RootError: nothing is mounted there, or no directory is there.
    """
    from layerscope.stores.bare.mount_options import parse_options
    from layerscope.stores.bare.overlay_mounts import placed

    if "=" in text or not text:
        return _overlay(placed(parse_options(text)), xattr_prefix)
    session = open_mounted(Path(text), xattr_prefix)
    if session is None:
        raise RootError(f"cannot open {escape(text)[:300]}: no overlay is mounted there{mounted_overlays()}")
    return session


def open_mounted(point: Path, xattr_prefix: str | None) -> Session | None:
    """Open the overlay that is mounted at a directory; None if none is."""
    from layerscope.stores.bare.overlay_mounts import mounted_at

    overlay = mounted_at(point)
    return None if overlay is None else _overlay(overlay, xattr_prefix)


def mounted_overlays() -> str:
    """The overlays that are mounted now, for the end of a message; "" if there are none."""
    from layerscope.stores.bare.overlay_mounts import overlay_mounts

    points = [escape(mount.point)[:200] for mount in overlay_mounts()]
    if not points:
        return ""
    more = f" and {len(points) - _LISTED} more" if len(points) > _LISTED else ""
    return f"; overlays are mounted at {', '.join(points[:_LISTED])}{more}, each of which can be opened by that path"


def _overlay(overlay: Placed, xattr_prefix: str | None) -> Session:
    from layerscope.drivers.bare_overlay import BareOverlay
    from layerscope.stores.bare.store import BareStore

    store = BareStore(overlay)
    prefix = xattr_prefix or ("user" if overlay.user_xattr else "trusted")
    driver = BareOverlay(store.host, dialect_for(prefix), store.folders, store.data_only)
    present = driver.layer_ids()
    if not present:
        store.close()
        raise RootError(f"cannot open the overlay: none of its {len(store.folders)} directories is there")
    path = Path(overlay.upper if overlay.upper is not None else overlay.lower[-1])
    seen = privilege()
    if prefix == "user":
        seen = replace(seen, trusted_xattrs=True)
    setting = Setting(path, _detection(store), seen, prefix, None)
    return Session(path, open_directory(Path(driver.layer_path(present[-1]))), store, driver, setting)


def _detection(store: Store) -> Detection:
    world = World(store.driver, len(store.images()), len(store.containers()))
    return Detection(
        worlds=(world,),
        remapped=(),
        rootless=False,
        other_worlds=(),
        features=(),
        found=(),
        faults=(),
        is_docker=False,
    )
