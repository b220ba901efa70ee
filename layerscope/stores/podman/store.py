"""The records of one driver in a root of containers/storage, each kind read when it is first asked for.

Layers come first: what lies below one is told by them alone. Images are joined from their list, their configurations
and the layers; containers from their list, podman's database and the layers. No layer's own directory is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.hostfs.owner_map import OwnerMap, OwnerRange, Ranges, sound_ranges
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, ImageID
from layerscope.model.image import Image, Layer
from layerscope.model.level import Absence, Level, Role
from layerscope.model.problem import Problem
from layerscope.model.root import Daemon
from layerscope.model.subject import ImageUsage
from layerscope.model.volume import Volume
from layerscope.stores.base import StoreFacts
from layerscope.stores.podman import whole
from layerscope.stores.podman.additional import find_others
from layerscope.stores.podman.containers import Around, ContainerRecord, join_containers, read_container_list
from layerscope.stores.podman.images import ImageFields, StoredImage, join_images, read_image_list
from layerscope.stores.podman.layers import IDMap, Layers, StoredLayer, read_layers
from layerscope.stores.podman.libpod import LibpodRecords, read_libpod
from layerscope.stores.podman.record_list import RecordList
from layerscope.stores.podman.usage import image_usages
from layerscope.stores.podman.volumes import read_volumes
from layerscope.stores.records.files import read_line, shown, unique

if TYPE_CHECKING:
    from layerscope.model.ledger import Ledger
    from layerscope.model.reclaim import Removable
    from layerscope.stores.claims import ClaimedTree

MADE_BY_STARTS = frozenset(
    {
        "dev",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "run",
        "run/.containerenv",
        "run/notify",
        "run/podman-init",
        "run/secrets",
        "sys",
    }
)
"""What podman leaves out of its list of changes, since the start of any container makes it.

Source: podman libpod/diff.go ``initInodes``.
"""


class PodmanStore:
    """The records of ``driver`` in ``root``, which lies at ``path`` on the host.

    Satisfies :class:`layerscope.stores.base.Store`, and the abilities ``TellsOfRoot``, ``CountsImages``,
    ``SharesStorage``, ``ShiftsOwners``, ``PullsInParts``, ``NamesPlaces``, ``Claims``, ``Removals``, ``TwoRoots`` and
    ``SeveralRoots``.
    """

    name = "podman"
    left_out_of_changes = MADE_BY_STARTS

    def __init__(self, root: Directory, path: Path, driver: str, rootless: bool = False) -> None:
        self.root = root
        self.path = path
        self.driver = driver
        self.others, self._others_told = find_others(path)
        self.rootless = rootless

    # ------------------------------------------------------------------ what a store answers
    def images(self) -> tuple[Image, ...]:
        """All images, broken and nameless ones included, newest first, then by ID."""
        return tuple(one.image for one in self.stored_images)

    def containers(self) -> tuple[Container, ...]:
        """All containers of this driver, broken ones included, newest first, then by ID."""
        return self._containers

    def layers(self) -> Mapping[ChainID, Layer]:
        """All layers that came from a tar, or that another stands on; shifted copies included."""
        return self._layers

    def volumes(self) -> tuple[Volume, ...]:
        """All volumes, by name."""
        return self._volumes[0]

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong, each once; reads what has not been read yet."""
        found = [*self._others_told, *self.image_list.problems]
        found += self.container_list.problems
        found += self.stored_layers.problems
        found += self.libpod.problems
        found += [problem for image in self.images() for problem in image.problems]
        found += [problem for container in self.containers() for problem in container.problems]
        found += [problem for layer in self.stored_layers.by_id.values() for problem in layer.problems]
        found += whole.problems(self)
        found += self._volumes[1]
        return unique(found)

    def build_cache(self) -> frozenset[CacheID]:
        """None: Buildah's cache is images without a name."""
        return frozenset()

    def tar_split(self, chain_id: ChainID) -> BinaryIO | None:
        """``<driver>-layers/<layer ID>.tar-split.gz``."""
        layer = self._layers.get(chain_id)
        if layer is None or layer.cache_id is None:
            return None
        for folder in self._folders("layers"):
            try:
                return folder.open(f"{layer.cache_id}.tar-split.gz")
            except OSError:
                continue
        return None

    def levels(self, subject: Image | Container) -> tuple[Level, ...]:
        """The stack of an image or container, base first, ``path`` unset."""
        if isinstance(subject, Image):
            one = self.stored_image(subject.id)
            return self._levels(one.layers if one else (), subject)
        chain = self.stored_layers.chain(subject.mount_id)
        image = self.stored_image(subject.image_id) if subject.image_id else None
        below = chain[:-1] if chain else image.layers if image else ()
        levels = self._levels(below, image.image if image else None)
        absence = self._absence(subject) if subject.mount_id is None else None
        return (*levels, Level(len(levels) + 1, Role.RW, subject.mount_id, absence=absence))

    def _absence(self, container: Container) -> Absence | None:
        """Why a container has no layer."""
        recorded = self.libpod.containers.get(container.id)
        if recorded is None or not recorded.typed.rootfs:
            return None
        what = f"has no layer: the container was made on the directory {shown(recorded.typed.rootfs, 200)} of its host"
        return Absence(what, "look at that directory")

    def records(self, subject: Image | Container) -> dict[str, object]:
        """The engine's own records of an image or container, joined, read anew."""
        from layerscope.stores.podman import raw

        if isinstance(subject, Container):
            return raw.container_records(self, subject)
        return raw.image_records(self, subject)

    # ------------------------------------------------------------------ abilities
    def image_usages(self) -> list[ImageUsage]:
        """Every image with its shared and unique bytes, as podman counts them."""
        return image_usages(self.stored_images, self.containers())

    def base_size(self, container: Container) -> int | None:
        """The size of a container's image; of its layers where the image is gone."""
        image = self.stored_image(container.image_id) if container.image_id else None
        if image is not None:
            return image.image.size
        sizes = [layer.size for layer in self.stored_layers.chain(container.mount_id)[:-1]]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def places(self, container: Container) -> tuple[str, str]:
        """``<driver>-containers/<id>``, and ``containers.json`` or ``volatile-containers.json`` in that folder."""
        folder = self.folder("containers")
        record = self.container_list.records.get(container.id)
        return folder.enter(container.id).path, record.path if record else f"{folder.path}/containers.json"

    def owner_maps(self) -> Mapping[CacheID, OwnerMap]:
        """How owners are shifted in layers whose record says so: those of containers in a user namespace of their own.

        In a rootless root the IDs on the outer side are those in the namespace that the engine works in.
        """
        return self._owner_maps

    def pulled_in_parts(self) -> frozenset[CacheID]:
        """The layers whose files a pull made one by one; it leaves directories and symlinks with times of its own."""
        return self._pulled_in_parts

    def facts(self) -> StoreFacts:
        """What there is beside images, containers and layers."""
        return whole.facts(self)

    def claimed_trees(self) -> tuple[ClaimedTree, ...]:
        """The root, with everything that a record, a database or a mount claims in it; records are read anew."""
        from layerscope.stores.podman.claims import podman_tree

        return (podman_tree(self.root, self.path, self.rootless),)

    def removable(self, ledger: Ledger) -> Removable:
        """What podman could remove of this driver's world, and what keeps each part."""
        from layerscope.stores.podman.removable import removable

        return removable(self, ledger)

    def daemon(self) -> Daemon:
        """Whether containers of this root run here now."""
        return whole.daemon(self.path, self.rootless)

    @property
    def layer_root(self) -> Directory:
        """The opened root, which has the writable layers; the others have only images."""
        return self.root

    @property
    def more_layer_roots(self) -> tuple[Directory, ...]:
        """The additional image stores."""
        return tuple(other.directory for other in self.others)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the root and its additional stores lie on the host."""
        return (self.path, *(other.path for other in self.others))

    def close(self) -> None:
        """Give the descriptors of additional stores back."""
        for other in self.others:
            other.directory.close()

    # ------------------------------------------------------------------ what only these records tell
    def folder(self, kind: str) -> Directory:
        """The folder of ``layers``, ``images`` or ``containers``."""
        return self.root.enter(f"{self.driver}-{kind}")

    def _folders(self, kind: str) -> list[Directory]:
        """The folders of a kind: the root's, then those of additional stores."""
        name = f"{self.driver}-{kind}"
        return [root.enter(name) for root in (self.root, *self.more_layer_roots)]

    def stored_image(self, image: ImageID) -> StoredImage | None:
        """An image with its layers."""
        return self._by_id.get(image)

    def container_record(self, container: str) -> dict[str, object] | None:
        """A container's record in the list, whole."""
        record = self.container_list.records.get(container)
        return dict(record.raw) if record else None

    @cached_property
    def stored_layers(self) -> Layers:
        """All layers, of images and of containers."""
        return read_layers(*self._folders("layers"))

    @cached_property
    def image_list(self) -> RecordList[ImageFields]:
        """The list of images."""
        return read_image_list(self.folder("images"))

    @cached_property
    def container_list(self) -> RecordList[ContainerRecord]:
        """The list of containers."""
        return read_container_list(self.folder("containers"))

    @cached_property
    def stored_images(self) -> tuple[StoredImage, ...]:
        """The images with their layers."""
        own, *others = self._folders("images")
        lists = [(own, self.image_list), *((folder, read_image_list(folder)) for folder in others)]
        return join_images(lists, self.stored_layers)

    @cached_property
    def libpod(self) -> LibpodRecords:
        """podman's own records."""
        return read_libpod(self.root, self.container_list.records)

    @cached_property
    def has_mount_program(self) -> bool:
        """Whether the layers were last mounted by fuse-overlayfs."""
        return read_line(self.root.enter(self.driver), ".has-mount-program") == "true"

    @cached_property
    def _owner_maps(self) -> dict[CacheID, OwnerMap]:
        return {
            layer.id: OwnerMap(_ranges(layer.user_map), _ranges(layer.group_map))
            for layer in self.stored_layers.by_id.values()
            if layer.id_map
        }

    @cached_property
    def _pulled_in_parts(self) -> frozenset[CacheID]:
        return frozenset(layer.id for layer in self.stored_layers.by_id.values() if layer.pulled_in_parts)

    @cached_property
    def _by_id(self) -> dict[ImageID, StoredImage]:
        return {one.image.id: one for one in self.stored_images}

    @cached_property
    def _layers(self) -> dict[ChainID, Layer]:
        stored = self.stored_layers.by_id
        parents = {layer.parent for layer in stored.values() if layer.parent}
        found = {}
        for layer in stored.values():
            if (layer.committed or layer.id in parents) and not layer.incomplete:
                below = stored.get(layer.parent) if layer.parent else None
                found[layer.chain_id] = replace(layer.as_layer, parent=below.chain_id if below else None)
        return found

    @cached_property
    def _commands(self) -> dict[ChainID, str]:
        """The command behind each chain ID, by the oldest image that has it."""
        return {row.chain_id: row.created_by for image in self.images() for row in image.history if row.chain_id}

    def _levels(self, layers: tuple[StoredLayer, ...], image: Image | None) -> tuple[Level, ...]:
        own = {row.chain_id: row.created_by for row in image.history if row.chain_id} if image else {}
        return tuple(
            Level(
                number=number,
                role=Role.IMAGE,
                cache_id=layer.id,
                chain_id=layer.chain_id,
                diff_id=layer.diff_id,
                size=layer.size,
                created_by=own.get(layer.chain_id) or self._commands.get(layer.chain_id, ""),
            )
            for number, layer in enumerate(layers, 1)
        )

    @cached_property
    def _containers(self) -> tuple[Container, ...]:
        around = Around(
            driver=self.driver,
            folder=self.folder("containers"),
            images={one.image.id: one.image for one in self.stored_images},
            layers=self.stored_layers,
            libpod=self.libpod,
            held=self.daemon().held,
        )
        return join_containers(self.container_list.records, around)

    @cached_property
    def _volumes(self) -> tuple[tuple[Volume, ...], tuple[Problem, ...]]:
        return read_volumes(self.root, self.path, self.libpod)


def _ranges(recorded: tuple[IDMap, ...]) -> Ranges:
    return sound_ranges(
        OwnerRange(one.container_id, one.host_id, one.size)
        for one in recorded
        if one.container_id is not None and one.host_id is not None and one.size is not None
    )
