"""What lies at a path: which engine's root, which storage drivers' worlds, and which other roots inside it.

docker keeps one tree of records per storage driver, ``image/<driver>/``, and shows only that of the driver it runs:
images and containers of another driver are hidden, not broken. With user namespaces its whole state lies one level
deeper, in ``<uid>.<gid>/``. Nothing is recognised by modes, they changed too often.
Source: moby daemon/graphdriver/driver.go; seen with 20.10.24, 26.1.5, 28.5.2, 29.
"""

from __future__ import annotations

import errno
import os
import re
import stat as modes
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import PermissionDenied, RootError, UnsupportedError, UsageError
from layerscope.hostfs import Directory
from layerscope.model.digest import is_hex64
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import Kind
from layerscope.stores.records.files import RUN_AS_ROOT, Fault, list_directory, read_bytes, shown
from layerscope.stores.records.json_record import LIMIT, parse

if TYPE_CHECKING:
    from pathlib import Path

GRAPH_DRIVERS = ("overlay2", "overlay", "fuse-overlayfs", "btrfs", "zfs", "aufs", "devicemapper", "vfs")
"""docker's own, in the order in which one wins where two have equally many images and containers."""
_REMAPPED = re.compile(r"[0-9]{1,10}\.[0-9]{1,10}")
_RECORDS = {"imagedb", "layerdb", "repositories.json"}
_SHARED_LISTS = ("-layers", "-images", "-containers")
_PODMAN_HOME = ("containers", "storage")
_LAYOUT = ("index.json", "manifest.json", "oci-layout")
_MANAGED = "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db"
_OWN_CONTAINERD = "containerd/daemon (a containerd root of its own)"


class World(Struct, frozen=True):
    """One driver's images and containers: how many records there are of each, readable or not."""

    driver: str
    images: int
    containers: int


class Detection(Struct, frozen=True):
    """What was found in one directory.

    ``worlds``: graph drivers with records, the default one first; :meth:`joined` adds others. ``remapped``: names of
    directories inside that are roots of their own, for user namespaces. ``rootless``: it was most likely written by a
    daemon without privilege. ``other_worlds``: drivers of containers that no graph driver's records here belong to, as
    in a containerd store. ``found``: some of its entries. ``faults``: what can't be read. ``is_docker``: docker's own
    rule for several drivers holds. ``shares_storage``: it is a root of containers/storage, and ``worlds`` its drivers.
    """

    worlds: tuple[World, ...]
    remapped: tuple[str, ...]
    rootless: bool
    other_worlds: tuple[World, ...]
    features: tuple[str, ...]
    found: tuple[str, ...]
    faults: tuple[Problem, ...]
    is_docker: bool = True
    shares_storage: bool = False

    @property
    def default_driver(self) -> str | None:
        """The driver to read if nobody chooses one."""
        return self.worlds[0].driver if self.worlds else None

    @property
    def drivers(self) -> tuple[str, ...]:
        """The drivers of ``worlds``, in their order."""
        return tuple(world.driver for world in self.worlds)

    @property
    def other_drivers(self) -> tuple[str, ...]:
        """The drivers of ``other_worlds`` that are in none of the worlds, in their order."""
        return tuple(world.driver for world in self.other_worlds if world.driver not in self.drivers)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What can't be read, and what is hidden behind the default."""
        hidden = _hidden(self.worlds, self.other_drivers)
        return (*self.faults, *(hidden if self.is_docker else (replace(one, path="", effect="") for one in hidden)))

    @property
    def hints_at_containerd(self) -> bool:
        """Whether anything here speaks of containerd: only then is a containerd store looked for."""
        return self._has_strange_containers or any("containerd" in feature for feature in self.features)

    @property
    def has_own_containerd_only(self) -> bool:
        """Whether all that hints at it is a containerd of the daemon's own, which it starts for graph drivers, too."""
        hints = [feature for feature in self.features if "containerd" in feature]
        return hints == [_OWN_CONTAINERD] and bool(self.worlds) and not self._has_strange_containers

    @property
    def _has_strange_containers(self) -> bool:
        return any(world.driver not in GRAPH_DRIVERS for world in self.other_worlds)

    def joined(self, worlds: Iterable[World]) -> Detection:
        """The same with other stores' worlds among its own; a driver that has one here already keeps it."""
        more = [world for world in worlds if world.driver not in self.drivers]
        return replace(self, worlds=tuple(sorted((*self.worlds, *more), key=_rank)))


class _Driven(msgspec.Struct, rename="pascal"):
    """Of a container's config: its driver."""

    driver: str | None = None


def is_archive(path: Path | str) -> bool:
    """Whether what lies at ``path`` is to be opened as an image archive: a file, or a folder with an image layout."""
    try:
        if modes.S_ISDIR(os.stat(path).st_mode):
            layout = any(os.path.isfile(os.path.join(path, name)) for name in _LAYOUT)
            return layout and not os.path.isdir(os.path.join(path, "image"))
        return True
    except OSError:
        return False


def open_directory(path: Path | str) -> Directory:
    """The directory at ``path`` on the host.

    Raises:
        PermissionDenied: it is there, but this user may not read it.
        RootError: it is not there, or not a directory.
    """
    try:
        directory = Directory.open_root(path)
        directory.scan()
    except OSError as error:
        place = shown(path, 300)
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PermissionDenied(f"cannot open {place}: permission denied; {RUN_AS_ROOT}") from None
        if error.errno == errno.ENOENT:
            raise RootError(f"cannot open {place}: there is no such directory") from None
        if error.errno == errno.ENOTDIR:
            raise RootError(f"cannot open {place}: it is not a directory") from None
        raise RootError(f"cannot open {place}: {error.strerror or error}") from None
    return directory


def detect(root: Directory, path: Path | str) -> Detection:
    """What lies in ``root``, whose path on the host is ``path``.

    Raises:
        RootError: it can't be listed; PermissionDenied: this user may not list it.
    """
    entries = list_directory(root)
    if isinstance(entries, Fault):
        kind_of_error = PermissionDenied if entries.denied else RootError
        raise kind_of_error(f"cannot read {shown(path, 300)}: it {entries.what}")
    names = [name for name, kind in entries if kind == "d"]
    problems: list[Problem] = []
    images = _image_counts(root, problems)
    containers = _container_counts(root, tuple(images))
    worlds = [World(driver, count, containers.get(driver, 0)) for driver, count in images.items()]
    shares_storage = not worlds and any(name.endswith(_SHARED_LISTS) for name in names)
    if shares_storage:
        from layerscope.stores.podman.worlds import driver_counts

        worlds = [World(driver, *counts) for driver, counts in driver_counts(root).items()]
        shares_storage = bool(worlds)
    return Detection(
        worlds=tuple(sorted(worlds, key=_rank)),
        remapped=tuple(name for name in names if _is_remapped(root, name)),
        rootless=_is_rootless(root, path),
        other_worlds=tuple(World(name, 0, count) for name, count in sorted(containers.items()) if name not in images),
        features=tuple(_features(root, dict(entries), bool(worlds))),
        found=tuple(name for name, _kind in entries[:8]),
        faults=tuple(problems),
        is_docker=not shares_storage,
        shares_storage=shares_storage,
    )


def choose_driver(detection: Detection, path: Path | str, wanted: str | None = None) -> str:
    """The driver to read: the wanted one, else the default.

    Raises:
        UsageError: the wanted one has no records here.
        UnsupportedError: it is a docker root, of a kind that holds no graph driver's records.
        PermissionDenied: the records are there, but this user may not read them.
        RootError: it is no docker root.
    """
    place = shown(path, 300)
    if wanted is not None and detection.worlds:
        if wanted in detection.drivers:
            return wanted
        there = ", ".join(detection.drivers)
        raise UsageError(f"{place} has no records of the driver {shown(wanted)}; it has {there}")
    if detection.default_driver is not None:
        return detection.default_driver
    denied = [problem.path for problem in detection.problems if problem.hint == RUN_AS_ROOT]
    if denied:
        raise PermissionDenied(f"cannot read {', '.join(denied)} in {place}: permission denied; {RUN_AS_ROOT}")
    if detection.remapped:
        inside = ", ".join(os.path.join(path, name) for name in detection.remapped)
        raise RootError(f"{place} only holds roots of remapped user namespaces; open one of them: {inside}")
    if any(feature.startswith("graph/") for feature in detection.features):
        raise UnsupportedError(f"{place} is a docker root from before 1.10, which is not supported")
    if detection.features:
        raise UnsupportedError(f"{place} holds no graph driver's records; found {'; '.join(detection.features)}")
    found = ", ".join(shown(name) for name in detection.found) or "nothing"
    raise RootError(f"{place} is not a docker data root: found {found}; expected image/<driver>, containers, volumes")


# ---------------------------------------------------------------------- worlds
def _image_counts(root: Directory, problems: list[Problem]) -> dict[str, int]:
    """How many image configs each driver has. A directory without records (``image/`` of newer engines) is none."""
    folder = root.enter("image")
    entries = list_directory(folder)
    if isinstance(entries, Fault):
        if not entries.absent:
            problems.append(entries.problem("image", "images and layers can't be read"))
        return {}
    counts: dict[str, int] = {}
    for driver, kind in entries:
        if kind != "d":
            continue
        records = list_directory(folder.enter(driver))
        if isinstance(records, Fault):
            problems.append(records.problem(f"image/{driver}", "images and layers of this driver can't be read"))
        elif _RECORDS & {name for name, _kind in records}:
            configs = list_directory(folder.descend(f"{driver}/imagedb/content/sha256"))
            counts[driver] = 0 if isinstance(configs, Fault) else sum(is_hex64(name) for name, _kind in configs)
    return counts


def _container_counts(root: Directory, drivers: tuple[str, ...]) -> Counter[str]:
    """How many containers each driver has, by the driver in their configs; drivers without images included.

    With one driver's records and as many writable layers as containers no config is read.
    """
    folder = root.enter("containers")
    entries = list_directory(folder)
    if isinstance(entries, Fault):
        return Counter()
    names = [name for name, kind in entries if kind == "d" and is_hex64(name)]
    if len(drivers) == 1:
        mounts = list_directory(root.descend(f"image/{drivers[0]}/layerdb/mounts"))
        if not isinstance(mounts, Fault) and set(names) <= {name for name, _kind in mounts}:
            return Counter({drivers[0]: len(names)})
    counts: Counter[str] = Counter()
    for name in names:
        data = read_bytes(folder.enter(name), "config.v2.json", LIMIT)
        driver = None if isinstance(data, Fault) else parse(data, _Driven).typed.driver
        if driver:
            counts[driver] += 1
        elif len(drivers) == 1:
            counts[drivers[0]] += 1
    return counts


def _rank(world: World) -> tuple[int, int, int, str]:
    """Most images first, then most containers, then by preference."""
    driver = world.driver
    preference = GRAPH_DRIVERS.index(driver) if driver in GRAPH_DRIVERS else len(GRAPH_DRIVERS)
    return -world.images, -world.containers, preference, driver


def _hidden(worlds: tuple[World, ...], others: tuple[str, ...]) -> Iterable[Problem]:
    if len(worlds) > 1:
        known = (f"{world.driver} ({world.images} images, {world.containers} containers)" for world in worlds)
        what = f"holds records of more than one driver: {', '.join(known)}; without a choice the first is shown"
        effect = "docker shows only those of the driver it runs"
        yield Problem("image", what, effect, "--driver NAME", Severity.NOTE)
    if others:
        what = f"holds containers of other drivers: {', '.join(shown(name) for name in others)}"
        effect = "they are not shown among those of a graph driver"
        yield Problem("containers", what, effect, severity=Severity.NOTE)


# ---------------------------------------------------------------------- other things a root may be
def is_namespace(name: str) -> bool:
    """Whether a root's name is that of a remapped user namespace: ``<uid>.<gid>``."""
    return _REMAPPED.fullmatch(name) is not None


def _is_remapped(root: Directory, name: str) -> bool:
    """Whether a directory is a root of its own: of a remapped user namespace, with a root's entries."""
    if not is_namespace(name):
        return False
    inside = list_directory(root.enter(name))
    return isinstance(inside, Fault) or bool({"image", "containers", "volumes"} & {entry for entry, _kind in inside})


def _is_rootless(root: Directory, path: Path | str) -> bool:
    """By where it lies, or by its owner: the daemon's user (of a remapped root, the user that root is mapped to)."""
    parts = os.fspath(path).split("/")
    if parts[-3:] == [".local", "share", "docker"] or parts[-4:] == [".local", "share", *_PODMAN_HOME]:
        return True
    try:
        return root.stat_self().st_uid != 0 and not is_namespace(parts[-1])
    except OSError:
        return False


def _features(root: Directory, entries: dict[str, Kind], has_worlds: bool) -> list[str]:
    names = {name for name, kind in entries.items() if kind == "d"}
    features = []
    if "graph" in names and any(name.startswith(("repositories-", "linkgraph.db")) for name in entries):
        features.append("graph/ (a root from before 1.10)")
    if _is_file(root, _MANAGED):
        features.append(_OWN_CONTAINERD)
    snapshotters = list_directory(root.enter("rootfs"))
    if not isinstance(snapshotters, Fault):
        features.extend(f"rootfs/{name} (containerd image store)" for name, kind in snapshotters if kind == "d")
    if _is_file(root, "buildkit/history_c8d.db"):
        features.append("buildkit/history_c8d.db (containerd image store)")
    if not has_worlds and any(name.startswith("io.containerd.") for name in names):
        features.append("io.containerd.* (a containerd root)")
    return features


def _is_file(root: Directory, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        return modes.S_ISREG(root.descend(folder).stat(name).st_mode)
    except OSError:
        return False
