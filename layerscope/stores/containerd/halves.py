"""What a containerd store is made of in one place: docker's half, containerd's half, one namespace.

A docker root without containerd's half, and a containerd root without docker's, are shown as far as they go.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from msgspec import Struct

from layerscope.errors import UsageError
from layerscope.hostfs import Directory
from layerscope.stores.containerd.locate import (
    DOCKER_NAMESPACE,
    ContainerdRoot,
    find_containerd,
    find_docker,
    is_containerd_root,
    open_containerd_root,
)
from layerscope.stores.detect import GRAPH_DRIVERS, Detection, World, detect
from layerscope.stores.records.files import Fault, list_directory, shown

_SNAPSHOTTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USUAL = "overlayfs"
_KUBERNETES = "k8s.io"


class Halves(Struct, frozen=True):
    """Both halves, each None where it isn't there, and the namespace that is read.

    ``tried`` are the places where containerd's half was looked for, each with why it isn't there. ``worlds`` are the
    snapshotters that have something in the namespace.
    """

    docker: Directory | None
    docker_path: Path | None
    containerd: ContainerdRoot | None
    namespace: str
    tried: tuple[str, ...]
    worlds: tuple[World, ...]

    @property
    def drivers(self) -> tuple[str, ...]:
        """The snapshotters of ``worlds``."""
        return tuple(world.driver for world in self.worlds)

    def close(self) -> None:
        """Give the descriptors of both back."""
        for directory in (self.containerd.directory if self.containerd else None, self.docker):
            if directory is not None:
                directory.close()

    @property
    def is_docker(self) -> bool:
        """Whether the namespace is docker's own."""
        return is_docker_namespace(self.namespace)


def is_docker_namespace(name: str) -> bool:
    """Whether a namespace is docker's: ``moby``, or that of a root with user namespaces."""
    return name == DOCKER_NAMESPACE or name.startswith(f"{DOCKER_NAMESPACE}-")


def find_halves(
    root: Directory, path: Path, detection: Detection, containerd_root: Path | None = None, namespace: str | None = None
) -> Halves | None:
    """The halves of the store at ``path``, None if nothing there speaks of a containerd store.

    Args:
        root: The directory that the user opened, at ``path`` on the host.
        detection: What was found there.
        containerd_root: Where containerd's half is; None: it is looked for.
        namespace: The namespace to read; None: docker's, else Kubernetes', else the one with most images.

    Raises:
        RootError: ``containerd_root`` is no containerd root.
        UsageError: there is no such namespace, or ``containerd_root`` has no meaning here.
    """
    if not detection.worlds and is_containerd_root(root):
        if containerd_root is not None:
            raise UsageError(f"{shown(path, 300)} is a containerd root itself; --containerd-root goes with docker's")
        return _from_containerd(open_containerd_root(root, path), namespace)
    if not detection.worlds and not _has_traces(detection) and not _looks_like_docker(root):
        return None
    if containerd_root is None and not _has_traces(detection):
        if namespace is not None:
            raise UsageError(f"{shown(path, 300)} has no containerd store, so no namespace {shown(namespace)}")
        return None
    found, tried = find_containerd(root, path, containerd_root)
    chosen = _checked(namespace, found) or (found.namespace if found else DOCKER_NAMESPACE)
    docker = root if is_docker_namespace(chosen) else None
    worlds = _worlds(found, chosen, detection if docker else None, root)
    return Halves(docker, path if docker else None, found, chosen, tried, worlds)


def _has_traces(detection: Detection) -> bool:
    """Whether a docker root ever used a containerd store."""
    traces = any("containerd/" in feature or "containerd image store" in feature for feature in detection.features)
    return traces or any(world.driver not in GRAPH_DRIVERS for world in detection.other_worlds)


def _looks_like_docker(root: Directory) -> bool:
    entries = list_directory(root)
    names = set() if isinstance(entries, Fault) else {name for name, _ in entries}
    return len(names & {"containers", "volumes", "image", "buildkit", "network", "engine-id"}) > 1


def _from_containerd(found: ContainerdRoot, namespace: str | None) -> Halves:
    chosen = _checked(namespace, found) or _default_namespace(found)
    docker = find_docker(found) if is_docker_namespace(chosen) else None
    if docker is None:
        return Halves(None, None, found, chosen, (), _worlds(found, chosen, None, None))
    # Opened anew: its paths are now told as those of a root beside the one whose records are read.
    inside = Path(os.path.abspath(found.path)).is_relative_to(docker[1])
    proved, _ = find_containerd(*docker, wanted=None if inside else found.path)
    return Halves(*docker, proved, chosen, (), _worlds(proved, chosen, detect(*docker), docker[0]))


def _checked(namespace: str | None, found: ContainerdRoot | None) -> str | None:
    if namespace is not None and (found is None or namespace not in found.metadata.namespaces):
        there = ", ".join(shown(name) for name in found.metadata.namespaces) if found else ""
        raise UsageError(f"there is no namespace {shown(namespace)}; there is {there or 'none'}")
    return namespace


def _default_namespace(found: ContainerdRoot) -> str:
    counts = {name: found.metadata.namespace(name).counts() for name in found.metadata.namespaces}
    for name in (*sorted(filter(is_docker_namespace, counts)), _KUBERNETES):
        if name in counts and (counts[name].images or counts[name].snapshots):
            return name
    return max(counts, key=lambda name: (counts[name].images, sum(counts[name].snapshots.values())), default="moby")


def _worlds(
    found: ContainerdRoot | None, namespace: str, detection: Detection | None, docker: Directory | None
) -> tuple[World, ...]:
    """One world for each snapshotter that has snapshots or containers; without any, an empty one."""
    images = 0
    containers: dict[str, int] = {}
    names: dict[str, None] = {}
    if found is not None:
        records = found.metadata.namespace(namespace)
        images = records.counts().images
        names.update(dict.fromkeys(records.counts().snapshots))
        if not found.metadata.sound:
            names.update(dict.fromkeys(found.snapshotters))
        if detection is None:
            for container in records.containers.values():
                containers[container.snapshotter] = containers.get(container.snapshotter, 0) + 1
    for world in detection.other_worlds if detection else ():
        if world.driver not in GRAPH_DRIVERS or (found is not None and world.driver in found.snapshotters):
            containers[world.driver] = world.containers
    names.update(dict.fromkeys(containers))
    valid = [name for name in names if _SNAPSHOTTER.fullmatch(name)]
    graph = detection is not None and detection.worlds
    if not valid and not graph:
        valid = _mounted(docker) or [_USUAL]
    return tuple(World(name, images, containers.get(name, 0)) for name in valid)


def _mounted(docker: Directory | None) -> list[str]:
    """The snapshotters that docker has mount points for."""
    entries = list_directory(docker.enter("rootfs")) if docker is not None else []
    names = [] if isinstance(entries, Fault) else [name for name, kind in entries if kind == "d"]
    return [name for name in names if _SNAPSHOTTER.fullmatch(name)]
