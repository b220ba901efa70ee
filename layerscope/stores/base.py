"""What every engine's records answer, whatever their format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable

from msgspec import Struct, field

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.hostfs import Directory
    from layerscope.hostfs.owner_map import OwnerMap
    from layerscope.model.container import Container
    from layerscope.model.digest import CacheID, ChainID
    from layerscope.model.image import Image, Layer
    from layerscope.model.level import Level
    from layerscope.model.problem import Problem
    from layerscope.model.root import Daemon
    from layerscope.model.subject import ImageUsage
    from layerscope.model.volume import Volume


@runtime_checkable
class Store(Protocol):
    """The records of one engine in one root. Each kind is read once, when it is first asked for.

    No method raises for a damaged record: the good ones are given, the damage is among ``problems``. Paths are
    relative to the store's root, without a leading slash.
    """

    @property
    def name(self) -> str:
        """``docker``, ``containerd``, ``podman`` …"""

    @property
    def driver(self) -> str:
        """The storage driver whose layers these records name."""

    def images(self) -> tuple[Image, ...]:
        """All images, broken ones included, newest first, then by ID."""

    def containers(self) -> tuple[Container, ...]:
        """All containers of this driver, broken ones included, newest first, then by ID."""

    def layers(self) -> Mapping[ChainID, Layer]:
        """All read-only layers that have a record, those no image uses included."""

    def volumes(self) -> tuple[Volume, ...]:
        """All volumes, by name."""

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with any record, each once: those of single records, then those of the store."""

    def build_cache(self) -> frozenset[CacheID]:
        """The cache IDs that a build cache keeps alive, whether or not an image has them too."""

    def tar_split(self, chain_id: ChainID) -> BinaryIO | None:
        """The record of a layer's tar, gzip-compressed (``formats.tarsplit``), None if there is none to be read."""

    def levels(self, subject: Image | Container) -> tuple[Level, ...]:
        """The stack of an image or container, base first, ``path`` unset: where files lie is the driver's knowledge.

        A container has its init level, if there is one, and its writable level on top. A level whose directory isn't
        recorded (or whose record is damaged) is there with ``cache_id`` None.
        """

    def records(self, subject: Image | Container) -> dict[str, object]:
        """The engine's own records of an image or container, joined, read anew."""


class StoreFacts(Struct, frozen=True):
    """What a store tells of its root as a whole.

    ``engine`` says in one line which engine wrote it. ``other_root`` is the path of the half that isn't the opened
    root; ``namespace`` the one that is read, ``namespaces`` all that there are. Each "" or empty where there is none.
    """

    engine: str
    features: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    other_root: str = ""
    namespace: str = ""
    namespaces: tuple[str, ...] = ()


@runtime_checkable
class TellsOfRoot(Protocol):
    """A store that can tell of its root as a whole."""

    def facts(self) -> StoreFacts:
        """What there is beside images, containers and layers."""

    def daemon(self) -> Daemon:
        """Whether an engine holds the root now."""


@runtime_checkable
class TwoRoots(Protocol):
    """A store whose layers' files don't lie below the opened root, or not only its."""

    @property
    def layer_root(self) -> Directory | None:
        """The directory that the storage driver's layers lie below; None if it was not found."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths on the host of every directory that belongs to the store."""

    def close(self) -> None:
        """Give the descriptors back."""


@runtime_checkable
class SeveralRoots(Protocol):
    """A store with read-only layers beside the opened root, too."""

    @property
    def more_layer_roots(self) -> tuple[Directory, ...]:
        """The roots that layers are looked for in after the opened one, in this order."""


@runtime_checkable
class SharesStorage(Protocol):
    """A store of containers/storage: its drivers have docker's names, and rules of their own.

    ``left_out_of_changes`` are the paths, without leading slash, that its engine never lists as changed.
    """

    @property
    def left_out_of_changes(self) -> frozenset[str]:
        """What the start of any container makes."""

    def base_size(self, container: Container) -> int | None:
        """What is added to the bytes of a container's writable layer for the size of its file system; None: unknown."""


@runtime_checkable
class ShiftsOwners(Protocol):
    """A store whose records tell of layers that have owners of their own on disk."""

    def owner_maps(self) -> Mapping[CacheID, OwnerMap]:
        """How owners are mapped in such layers, from the IDs that the store's engine sees."""


@runtime_checkable
class PullsInParts(Protocol):
    """A store whose engine may make a layer's files one by one, by a list of them, instead of unpacking a tar."""

    def pulled_in_parts(self) -> frozenset[CacheID]:
        """The layers that were made so: their directories and symlinks have times of the pull."""


@runtime_checkable
class NamesPlaces(Protocol):
    """A store that keeps containers elsewhere than docker's graph drivers do."""

    def places(self, container: Container) -> tuple[str, str]:
        """A container's folder, and the record that claims its layers, relative to the root."""


@runtime_checkable
class WithoutRoot(Protocol):
    """A store that is no data root: nothing in it can be given back, and what lies around it isn't its own."""

    without_root: str
    """What it is instead, in a few words."""


@runtime_checkable
class LiesAnywhere(Protocol):
    """A store whose layers lie anywhere on the host: their paths are absolute."""

    @property
    def host(self) -> Directory:
        """The top of the host's files."""


@runtime_checkable
class CountsImages(Protocol):
    """A store whose engine has a rule of its own for what images share."""

    def image_usages(self) -> list[ImageUsage]:
        """Every image with its shared and unique bytes, newest first, then by ID."""


@runtime_checkable
class SharesWithUnlisted(Protocol):
    """A store whose engine may count intermediate images, too, when it says what images share."""

    @property
    def shares_with_unlisted(self) -> bool:
        """Whether it does."""
