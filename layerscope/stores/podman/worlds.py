"""Which drivers have records in a root of containers/storage.

No file names the driver. A root may hold several, each with its own four folders: ``<driver>``, ``<driver>-layers``,
``<driver>-images`` and ``<driver>-containers``. Source: containers/storage store.go ``GraphDriverName``, ``load``.
"""

from __future__ import annotations

from collections.abc import Iterable

from layerscope.hostfs import Directory
from layerscope.stores.podman.containers import read_container_list
from layerscope.stores.podman.images import read_image_list
from layerscope.stores.records.files import Fault, list_directory

DRIVERS = ("overlay", "vfs", "btrfs", "zfs", "aufs")
"""Those that there are, in the order in which one wins where two have equally many images and containers."""
_LISTS = ("layers", "images", "containers")


def drivers_of(names: Iterable[str]) -> tuple[str, ...]:
    """The drivers that have a folder of records among these names."""
    there = set(names)
    return tuple(driver for driver in DRIVERS if any(f"{driver}-{kind}" in there for kind in _LISTS))


def driver_counts(root: Directory) -> dict[str, tuple[int, int]]:
    """How many images and containers each driver has; a driver without any list of records is none.

    An engine makes the folders of a driver as soon as it is asked for it, so one of several drivers may be empty.
    Whatever the driver is, podman keeps changes of ``--rootfs PATH:O`` in ``overlay-containers``: that alone is none.
    """
    entries = list_directory(root)
    if isinstance(entries, Fault):
        return {}
    found = {}
    there = {name for name, kind in entries if kind == "d"}
    for driver in drivers_of(there):
        images = read_image_list(root.enter(f"{driver}-images"))
        containers = read_container_list(root.enter(f"{driver}-containers"))
        if containers.is_absent and there.isdisjoint({driver, f"{driver}-layers", f"{driver}-images"}):
            continue
        found[driver] = len(images.records), len(containers.records)
    return found
