"""docker's containers on a containerd store: their records are docker's, their layers containerd's.

| snapshot key | what |
| --- | --- |
| `<container ID>` | the writable layer, active |
| `<container ID>-init` | the init layer below it, committed; below that the image's top layer |
| `<container ID>-init-key` | the init layer while it is made |

A lease named by the ID keeps both from containerd's garbage collector. meta.db's own list of containers holds only
those that run now. Source: moby daemon/containerd/image_snapshot.go, daemon/container.go; seen with docker 28 and 29.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from layerscope.model.container import Container, container_without_record
from layerscope.model.digest import ContainerID, ImageID, is_hex64
from layerscope.model.problem import Problem, Severity
from layerscope.stores.containerd.images import StoredImage
from layerscope.stores.containerd.metadata import LeaseRecord
from layerscope.stores.containerd.snapshots import ACTIVE, Snapshot, Snapshots
from layerscope.stores.containerd.stack import Member, top_chain_id
from layerscope.stores.docker.containers import (
    NOT_LOADED,
    ContainerConfig,
    LayersOf,
    image_id_of,
)


class SnapshotJoining(Struct, frozen=True):
    """What docker's containers are joined with; satisfies :class:`layerscope.stores.docker.containers.Joining`.

    ``snapshots`` is None where containerd's root isn't there. ``names_path`` is that of meta.db, ``leases`` None where
    it isn't whole.
    """

    driver: str
    is_held: Callable[[], bool | None]
    snapshots: Snapshots | None
    images: Mapping[ImageID, StoredImage]
    leases: Mapping[str, LeaseRecord] | None
    names_path: str

    def is_mine(self, driver: str | None, container: ContainerID) -> bool:
        """By the recorded driver; without one, by a snapshot of the container's name."""
        if driver:
            return driver == self.driver
        return self.snapshots is not None and container in self.snapshots.by_key

    def has_layer_of(self, container: ContainerID) -> bool:
        """By a snapshot of the container's name."""
        return self.snapshots is not None and container in self.snapshots.by_key

    def layers_of(self, container: ContainerID, config: ContainerConfig, problems: list[Problem]) -> LayersOf:
        """By the snapshot of the container's name and its parents; without it, by the image."""
        path = f"containers/{container}/config.v2.json"
        image_id = image_id_of(config)
        image = self.images.get(image_id) if image_id else None
        top = image.image.chain_ids[-1] if image and image.image.chain_ids else None
        if self.snapshots is None:
            what = "has its layers in containerd's root, which was not found"
            problems.append(Problem(path, what, "its files and its size can't be shown", "--containerd-root PATH"))
            return LayersOf(None, None, None)
        if image_id and image is None:
            what = f"was made from the image {image_id}, which has no name any more"
            effect = "its layers are known from the snapshot of its writable layer"
            problems.append(Problem(path, what, effect, severity=Severity.NOTE))
        stack = self.snapshots.chain(container)
        problems.extend(problem for snapshot in stack for problem in snapshot.problems)
        if not stack:
            problems.append(self._missing(container))
            return LayersOf(None, None, top)
        problems.extend(self._oddities(container, stack[-1]))
        init = next((one for one in stack if one.key == f"{container}-init"), None)
        chain = top_chain_id([Member(one.key, one) for one in stack])
        return LayersOf(stack[-1].cache_id, init.cache_id if init else None, chain)

    def _missing(self, container: ContainerID) -> Problem:
        assert self.snapshots is not None
        if f"{container}-init-key" in self.snapshots.by_key:
            what = f"has no snapshot {container} yet: the container is being made, or its making was interrupted"
            return Problem(self.names_path, what, NOT_LOADED, severity=Severity.WARNING)
        what = f"has no snapshot {container} of {self.driver}: the container's writable layer"
        return Problem(self.names_path, what, f"{NOT_LOADED}; its changes are not shown")

    def _oddities(self, container: ContainerID, top: Snapshot) -> Iterator[Problem]:
        assert self.snapshots is not None
        if top.kind and top.kind != ACTIVE:
            what = f"says that the snapshot {container} is {top.kind}, expected active"
            yield Problem(self.snapshots.path, what, "docker can't start it", severity=Severity.WARNING)
        if self.leases is not None and container not in self.leases:
            what = f"has no lease {container}, which would keep the container's layers"
            effect = f"{NOT_LOADED}; containerd's garbage collector removes its layers"
            yield Problem(self.names_path, what, effect, severity=Severity.WARNING)


def nameless_containers(snapshots: Snapshots, driver: str) -> tuple[Container, ...]:
    """What containerd's half alone tells of docker's containers, their IDs and their layers; by ID."""
    found = []
    for key, snapshot in sorted(snapshots.by_key.items()):
        if not is_hex64(key) or snapshot.kind not in (ACTIVE, ""):
            continue
        stack = snapshots.chain(key)
        init = next((one for one in stack if one.key == f"{key}-init"), None)
        found.append(
            container_without_record(
                ContainerID(key),
                driver,
                snapshot.cache_id,
                init_id=init.cache_id if init else None,
                chain_id=top_chain_id([Member(one.key, one) for one in stack]),
                problems=tuple(problem for one in stack for problem in one.problems),
            )
        )
    return tuple(found)
