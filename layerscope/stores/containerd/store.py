"""The records of a containerd store, each kind read when it is first asked for.

Names (meta.db) and the snapshotter's records are joined first; images are described by blobs; docker's containers come
from docker's half, others from meta.db. No layer's own directory is looked at, except that the folders are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, DiffID, ImageID, is_digest
from layerscope.model.image import Image, Layer
from layerscope.model.level import Absence, Level, Role
from layerscope.model.problem import Problem
from layerscope.model.root import Daemon
from layerscope.model.subject import ImageUsage
from layerscope.model.volume import Volume
from layerscope.stores.base import StoreFacts
from layerscope.stores.containerd import raw, whole
from layerscope.stores.containerd.bare import BareAround, read_bare_containers
from layerscope.stores.containerd.containers import SnapshotJoining, nameless_containers
from layerscope.stores.containerd.folders import CONTENT
from layerscope.stores.containerd.halves import Halves
from layerscope.stores.containerd.images import Around, StoredImage, read_images
from layerscope.stores.containerd.metadata import ContainerRecord, Namespace
from layerscope.stores.containerd.snapshots import COMMITTED, Snapshots, read_snapshots
from layerscope.stores.containerd.stack import Member, image_stack, levels_of
from layerscope.stores.containerd.usage import image_usages
from layerscope.stores.docker.containers import read_containers
from layerscope.stores.docker.liveness import Liveness, find_liveness
from layerscope.stores.docker.volumes import DATABASE_LIMIT, VolumeRecords, read_volumes
from layerscope.stores.oci.content import BlobFolder, Content
from layerscope.stores.records.files import Fault, read_bytes, unique

if TYPE_CHECKING:
    from layerscope.model.ledger import Ledger
    from layerscope.model.reclaim import Removable
    from layerscope.stores.claims import ClaimedTree
    from layerscope.stores.docker.buildkit import BuildCacheRecord


class ContainerdStore:
    """The records of one namespace and one snapshotter (``driver``).

    Satisfies :class:`layerscope.stores.base.Store`, and the abilities ``TellsOfRoot``, ``TwoRoots``, ``CountsImages``.
    """

    name = "containerd"

    def __init__(self, halves: Halves, driver: str) -> None:
        self.halves = halves
        self.driver = driver

    # ------------------------------------------------------------------ what a store answers
    def images(self) -> tuple[Image, ...]:
        """All images of the namespace, newest first, then by ID."""
        return tuple(one.image for one in self.stored_images)

    def containers(self) -> tuple[Container, ...]:
        """All containers of this snapshotter, newest first, then by ID."""
        return self._containers[0]

    def layers(self) -> Mapping[ChainID, Layer]:
        """The unpacked layers: committed snapshots that are named by a chain ID."""
        return self._layers

    def volumes(self) -> tuple[Volume, ...]:
        """docker's volumes, by name."""
        return self._volumes.volumes

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong, each once; reads what has not been read yet."""
        found = list(whole.half_problems(self))
        found += [problem for image in self.images() for problem in image.problems]
        found += [problem for container in self.containers() for problem in container.problems]
        found += [problem for layer in self.layers().values() for problem in layer.problems]
        found += [problem for snapshot in self.snapshots.by_key.values() for problem in snapshot.problems]
        found += self._images[1]
        found += self._containers[1]
        found += whole.problems(self)
        found += self.build_records[1]
        found += self._volumes.problems
        return unique(found)

    def places(self, container: Container) -> tuple[str, str]:
        """``containers/<id>`` of docker's half ("" for a bare one's), and the snapshotter's list of snapshots."""
        snapshots = self.snapshots
        return (f"containers/{container.id}" if self.halves.is_docker else ""), snapshots.path if snapshots else ""

    def levels(self, subject: Image | Container) -> tuple[Level, ...]:
        """The stack of an image or container, base first, ``path`` unset; hidden init layers are levels."""
        if isinstance(subject, Image):
            return tuple(self._levels(image_stack(subject.chain_ids, self.snapshots), subject))
        image = self._by_id.get(subject.image_id or ImageID(""))
        key = self.snapshot_key(subject)
        chain = self.snapshots.chain(key)
        if chain:
            stack: tuple[Member, ...] = tuple(Member(one.key, one) for one in chain[:-1])
        else:
            stack = image_stack(image.image.chain_ids, self.snapshots) if image else ()
        levels = self._levels(stack, image.image if image else None)
        own = Level(len(levels) + 1, Role.RW, subject.mount_id)
        if subject.mount_id is None:
            own = replace(own, absence=self._absence(key, self.namespace.containers.get(subject.id)))
        return (*levels, own)

    def records(self, subject: Image | Container) -> dict[str, object]:
        """The engine's own records of an image or container, joined, read anew."""
        if isinstance(subject, Container):
            return raw.container_records(self, subject)
        return raw.image_records(self, subject)

    def build_cache(self) -> frozenset[CacheID]:
        """The folders that BuildKit's leases keep, with everything below them."""
        held: set[CacheID] = set()
        for lease in self.namespace.leases.values():
            if "containerd.io/gc.flat" in lease.labels:
                for snapshotter, key in lease.snapshots:
                    if snapshotter == self.driver:
                        held.update(one.cache_id for one in self.snapshots.chain(key) if one.cache_id is not None)
        return frozenset(held)

    @cached_property
    def build_records(self) -> tuple[tuple[BuildCacheRecord, ...], tuple[Problem, ...]]:
        """BuildKit's own list of its cache, by id, and what is wrong with it; empty where nothing was built."""
        from layerscope.stores.docker.buildkit import read_records

        if self.halves.docker is None:
            return (), ()
        path, name = f"buildkit/containerd-{self.driver}", "metadata_v2.db"
        data = read_bytes(self.halves.docker.descend(path), name, DATABASE_LIMIT)
        return read_records(None if isinstance(data, Fault) else data, f"{path}/{name}")

    def tar_split(self, chain_id: ChainID) -> BinaryIO | None:
        """None: containerd keeps the compressed tar itself, or nothing."""
        return None

    # ------------------------------------------------------------------ abilities
    def image_usages(self) -> list[ImageUsage]:
        """Every image with its shared and unique bytes, as the docker that wrote the root counts them."""
        return image_usages(self.stored_images, self.containers(), self.snapshots, whole.shares_blobs(self))

    def facts(self) -> StoreFacts:
        """What there is beside images, containers and layers."""
        return whole.facts(self)

    def daemon(self) -> Daemon:
        """Whether docker or containerd holds its half now."""
        return whole.daemon(self)

    def claimed_trees(self) -> tuple[ClaimedTree, ...]:
        """Both halves, with everything that a record, a database or a mount claims in them; records are read anew."""
        from layerscope.stores.containerd.claims import containerd_trees

        return containerd_trees(self)

    def removable(self, ledger: Ledger) -> Removable:
        """What docker, Kubernetes or ctr could remove, and what keeps each part from containerd's garbage collector."""
        from layerscope.stores.containerd.removable import removable

        return removable(self, ledger)

    @property
    def layer_root(self) -> Directory | None:
        """containerd's root."""
        return self.halves.containerd.directory if self.halves.containerd else None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where both halves lie on the host."""
        halves = (self.halves.docker_path, self.halves.containerd.path if self.halves.containerd else None)
        return tuple(path for path in halves if path is not None)

    def close(self) -> None:
        """Give the descriptors back."""
        self.halves.close()

    # ------------------------------------------------------------------ what only these records tell
    @property
    def stored_images(self) -> tuple[StoredImage, ...]:
        """The images with what their sizes are made of."""
        return self._images[0]

    def snapshot_key(self, container: Container) -> str:
        """The key of a container's writable snapshot."""
        record = None if self.halves.docker else self.namespace.containers.get(container.id)
        return record.snapshot_key if record and record.snapshot_key else container.id

    @cached_property
    def namespace(self) -> Namespace:
        """The names, labels and references of the namespace; none where they can't be read."""
        found = self.halves.containerd
        return found.metadata.namespace(self.halves.namespace) if found else Namespace(self.halves.namespace, None)

    @cached_property
    def snapshots(self) -> Snapshots:
        """The snapshots by key; none without containerd's half."""
        found = self.halves.containerd
        if found is None:
            return Snapshots(self.driver, "", {}, (), frozenset(), True, ())
        return read_snapshots(found.directory, self.driver, found.metadata, self.halves.namespace)

    @cached_property
    def content(self) -> Content | None:
        """The blobs, None without containerd's half."""
        found = self.halves.containerd
        if found is None:
            return None
        blobs = BlobFolder(found.directory.enter(CONTENT).enter("blobs"))
        return Content(blobs, self.namespace.blobs if found.metadata.sound else None)

    @cached_property
    def liveness(self) -> Liveness | None:
        """Whether a docker daemon holds its half; None without it."""
        if self.halves.docker is None or self.halves.docker_path is None:
            return None
        return find_liveness(self.halves.docker, self.halves.docker_path)

    @cached_property
    def containerd_liveness(self) -> Liveness | None:
        """Whether a containerd holds its half; None without it."""
        return whole.containerd_liveness(self)

    # ------------------------------------------------------------------ each kind of record, once
    @cached_property
    def _plain_layers(self) -> dict[ChainID, Layer]:
        """The layers, without what image configurations tell of them."""
        found = {}
        for key, snapshot in self.snapshots.by_key.items():
            if not is_digest(key) or snapshot.kind not in (COMMITTED, ""):
                continue
            below = self.snapshots.chain(key)[:-1]
            parent = next((ChainID(one.key) for one in reversed(below) if is_digest(one.key)), None)
            problems = snapshot.problems
            layer = Layer(ChainID(key), None, parent, snapshot.cache_id, snapshot.size, self.names_path, problems)
            found[layer.chain_id] = layer
        return found

    @property
    def names_path(self) -> str:
        """Where meta.db lies."""
        return self.halves.containerd.metadata.path if self.halves.containerd else ""

    @cached_property
    def _images(self) -> tuple[tuple[StoredImage, ...], tuple[Problem, ...]]:
        if self.content is None:
            return (), ()
        around = Around(self.content, self.snapshots, self._plain_layers, self.names_path, self.halves.is_docker)
        records = list(self.namespace.images.values())
        known = {record.digest for record in records}
        found = self.halves.containerd
        if found is not None and not found.metadata.sound and self.halves.docker is not None:
            records.extend(one for one in whole.recorded_targets(self.halves.docker) if one.digest not in known)
        return read_images(records, around)

    @cached_property
    def _by_id(self) -> dict[ImageID, StoredImage]:
        return {one.image.id: one for one in self.stored_images}

    @cached_property
    def _diff_ids(self) -> dict[ChainID, DiffID]:
        """The diff ID of each chain ID, as every image tells it."""
        return {
            chain: diff_id
            for one in self.stored_images
            for chain, diff_id in zip(one.chain_ids, one.diff_ids, strict=True)
        }

    @cached_property
    def _commands(self) -> dict[ChainID, str]:
        """The command behind each chain ID, by the oldest image that has it."""
        return {row.chain_id: row.created_by for image in self.images() for row in image.history if row.chain_id}

    @cached_property
    def _layers(self) -> dict[ChainID, Layer]:
        return {chain: replace(layer, diff_id=self._diff_ids.get(chain)) for chain, layer in self._plain_layers.items()}

    def _levels(self, stack: tuple[Member, ...], image: Image | None) -> list[Level]:
        commands = self._commands
        if image is not None:
            commands = {**commands, **{row.chain_id: row.created_by for row in image.history if row.chain_id}}
        missing = any(member.snapshot is None for member in stack)
        return levels_of(stack, self._diff_ids, commands, self._absence() if missing else None)

    def _absence(self, key: str | None = None, record: ContainerRecord | None = None) -> Absence:
        """Why a layer, or the writable layer ``key`` of a container, has no snapshot."""
        from layerscope.stores.containerd.absence import NOT_FOUND, container_absence, layer_absence

        if self.halves.containerd is None:
            return NOT_FOUND
        if key is None:
            return layer_absence(self.snapshots, self.halves.is_docker)
        return container_absence(self.snapshots, key, None if self.halves.docker else record)

    @cached_property
    def _containers(self) -> tuple[tuple[Container, ...], tuple[Problem, ...]]:
        found, docker = self.halves.containerd, self.halves.docker
        if docker is not None:
            around = SnapshotJoining(
                driver=self.driver,
                is_held=lambda: self.liveness.held if self.liveness else None,
                snapshots=self.snapshots if found else None,
                images=self._by_id,
                leases=self.namespace.leases if found and found.metadata.sound else None,
                names_path=self.names_path,
            )
            return read_containers(docker, around)
        if self.halves.is_docker:
            return nameless_containers(self.snapshots, self.driver), ()
        assert found is not None
        bare = BareAround(
            root=found.directory,
            path=self.names_path,
            namespace=self.halves.namespace,
            driver=self.driver,
            snapshots=self.snapshots,
            images=self.namespace.images,
            is_held=lambda: self.containerd_liveness.held if self.containerd_liveness else None,
        )
        return read_bare_containers(self.namespace.containers.values(), bare), ()

    @cached_property
    def _volumes(self) -> VolumeRecords:
        if self.halves.docker is None or self.halves.docker_path is None:
            return VolumeRecords((), ())
        return read_volumes(self.halves.docker, self.halves.docker_path)
