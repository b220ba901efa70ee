"""docker's records of one storage driver in one root, each kind read when it is first asked for.

What not every question needs is imported when it is asked for, so that a program of one question starts sooner.

Who needs whom: image configs say what each chain ID must hold, so they are read before the layers; images are joined
from configs, names and layers; containers from images, layers and mount records. No layer's own directory is looked at.
"""

from __future__ import annotations

import math
import time
from collections import ChainMap
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, ImageID, hex_of
from layerscope.model.image import Image, Layer
from layerscope.model.level import Level, Role
from layerscope.model.problem import Problem, Severity
from layerscope.model.volume import Volume
from layerscope.stores.docker.containers import Surroundings
from layerscope.stores.docker.driver_records import AllRecords, DriverRecords
from layerscope.stores.docker.images import join_images, layer_facts
from layerscope.stores.docker.layers import Facts, LayerRecords, chain_of
from layerscope.stores.docker.mounts import MountRecord
from layerscope.stores.docker.orphans import orphan_problems
from layerscope.stores.docker.references import References
from layerscope.stores.docker.volumes import DATABASE_LIMIT, VolumeRecords, read_volumes
from layerscope.stores.records.files import MISSING, Fault, list_directory, read_bytes, unique
from layerscope.stores.records.image_config import ConfigRecord

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.model.ledger import Ledger
    from layerscope.model.reclaim import Removable
    from layerscope.stores.claims import ClaimedTree
    from layerscope.stores.docker.buildkit import BuildKitClaims
    from layerscope.stores.docker.engine import EngineTraces
    from layerscope.stores.docker.liveness import Liveness

_BUILDKIT_FILES = ("metadata_v2.db", "snapshots.db", "containerdmeta.db")
_SETTLED_SECONDS = 600.0
"""How old a lease of BuildKit is that never gets a record any more: it gets it within moments."""


class DockerStore:
    """The records of the graph driver ``driver`` in ``root``, which lies at ``path`` on the host.

    Satisfies :class:`layerscope.stores.base.Store`. ``now`` is the time in seconds since 1970 by which young records
    are told from old ones. ``records`` is what is read instead of all that the driver has.
    """

    name = "docker"

    def __init__(
        self,
        root: Directory,
        path: Path | str,
        driver: str,
        now: float | None = None,
        records: DriverRecords | None = None,
    ) -> None:
        self.root = root
        self._path = path
        self.driver = driver
        self._now = time.time() if now is None else now
        self._place = f"image/{driver}"
        self._directory = root.enter("image").enter(driver)
        self._records: DriverRecords = records or AllRecords(root, driver)

    @cached_property
    def path(self) -> Path:
        """Where the root lies on the host."""
        from pathlib import Path

        return Path(self._path)

    # ------------------------------------------------------------------ what a store answers
    def images(self) -> tuple[Image, ...]:
        """All images, broken ones and missing ones that have a name included, newest first, then by ID."""
        return self._images

    def containers(self) -> tuple[Container, ...]:
        """All containers of this driver, broken ones included, newest first, then by ID."""
        return self._containers[0]

    def layers(self) -> Mapping[ChainID, Layer]:
        """All read-only layers that have a record."""
        return self._layers.layers

    def volumes(self) -> tuple[Volume, ...]:
        """All volumes, by name."""
        return self._volumes.volumes

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong, each once; reads what has not been read yet."""
        found = [problem for image in self.images() for problem in image.problems]
        found += [problem for container in self.containers() for problem in container.problems]
        found += [problem for layer in self.layers().values() for problem in layer.problems]
        found += self._references_told
        found += self._configs[1]
        found += self._layers.problems
        found += self._mounts[1]
        found += self._containers[1]
        found += orphan_problems(self.orphan_mounts(), self._directory, self._is_held, self._now)
        found += self._volumes.problems
        return unique(found)

    def levels(self, subject: Image | Container) -> tuple[Level, ...]:
        """The stack of an image or container, base first, ``path`` unset."""
        image = subject if isinstance(subject, Image) else self._by_id.get(subject.image_id or ImageID(""))
        if isinstance(subject, Image):
            chain = subject.chain_ids
        else:
            chain = chain_of(subject.chain_id, self.layers(), self._facts)
        own = {} if image is None else {row.chain_id: row.created_by for row in image.history if row.chain_id}
        commands = ChainMap(own, self._commands)
        levels = [self._level(number, link, commands.get(link, "")) for number, link in enumerate(chain, 1)]
        if isinstance(subject, Container):
            if subject.init_id is not None:
                levels.append(Level(len(levels) + 1, Role.INIT, subject.init_id))
            levels.append(Level(len(levels) + 1, Role.RW, subject.mount_id))
        return tuple(levels)

    def records(self, subject: Image | Container) -> dict[str, object]:
        """docker's own records of an image or container, joined, read anew."""
        from layerscope.stores.docker import raw

        if isinstance(subject, Container):
            return raw.container_records(self.root, self._place, subject)
        return raw.image_records(self.root, self._place, subject)

    def build_cache(self) -> frozenset[CacheID]:
        """The directories that a live record of BuildKit claims, those of layers below them included."""
        claims, layers = self.build_claims, self.layers()
        held = set(claims.cache_ids)
        for chain in claims.chain_ids:
            for link in chain_of(chain, layers, self._facts):
                layer = layers.get(link)
                if layer is not None and layer.cache_id is not None:
                    held.add(layer.cache_id)
        return frozenset(held)

    def tar_split(self, chain_id: ChainID) -> BinaryIO | None:
        """``layerdb/sha256/<chain ID>/tar-split.json.gz``."""
        try:
            return self._directory.descend(f"layerdb/sha256/{hex_of(chain_id)}").open("tar-split.json.gz")
        except OSError:
            return None

    def claimed_trees(self) -> tuple[ClaimedTree, ...]:
        """The root, with everything that a record, a database or a mount claims in it; records are read anew."""
        from layerscope.stores.docker.claims import docker_tree

        return (docker_tree(self.root, self.path),)

    def removable(self, ledger: Ledger) -> Removable:
        """What docker could remove of this driver's world, and what keeps each part."""
        from layerscope.stores.docker.removable import removable

        return removable(self, ledger)

    # ------------------------------------------------------------------ what only docker's records tell
    @cached_property
    def build_claims(self) -> BuildKitClaims:
        """BuildKit's records and what they keep alive."""
        from layerscope.stores.docker.buildkit import read_claims

        folder = self.root.enter("buildkit")
        found = (read_bytes(folder, name, DATABASE_LIMIT) for name in _BUILDKIT_FILES)
        metadata, snapshots, leases = (None if data == MISSING else data for data in found)
        settled = math.inf if self.liveness.held is False else self._now - _SETTLED_SECONDS
        return read_claims(metadata, snapshots, leases, settled)

    @cached_property
    def liveness(self) -> Liveness:
        """Whether a daemon holds the root."""
        from layerscope.stores.docker.liveness import find_liveness

        return find_liveness(self.root, self._path)

    def _is_held(self) -> bool | None:
        return self.liveness.held

    @cached_property
    def engine(self) -> EngineTraces:
        """What tells the engine's version."""
        from layerscope.stores.docker.engine import find_engine

        return find_engine(self.root, self.driver, self._configs[0].values())

    @property
    def shares_with_unlisted(self) -> bool:
        """Whether the engine is 23.0 or newer: it counts what images share with intermediate ones, too."""
        from layerscope.stores.docker.engine import SINCE_23

        return SINCE_23 in self.engine.traces

    def mounts(self) -> Mapping[str, MountRecord]:
        """The records of all writable layers by name: a container's ID, or a build's own."""
        return self._mounts[0]

    def orphan_mounts(self) -> tuple[MountRecord, ...]:
        """The records of writable layers whose container is gone, or that never had one, by name."""
        return tuple(record for name, record in self.mounts().items() if name not in self._container_names)

    # ------------------------------------------------------------------ each kind of record, once
    @cached_property
    def _configs(self) -> tuple[dict[ImageID, ConfigRecord], tuple[Problem, ...]]:
        return self._records.configs()

    @cached_property
    def _facts(self) -> Facts:
        return layer_facts(self._configs[0].values())

    @cached_property
    def _references(self) -> References:
        return self._records.references()

    @property
    def _references_told(self) -> tuple[Problem, ...]:
        """A store without images has no names either: nothing is missing then."""
        problems = self._references.problems
        return tuple(problem for problem in problems if self._configs[0] or problem.severity != Severity.NOTE)

    @cached_property
    def _layers(self) -> LayerRecords:
        return self._records.layers(self._facts)

    @cached_property
    def _images(self) -> tuple[Image, ...]:
        return join_images(self._configs[0], self._references, self._layers.layers, self._place)

    @cached_property
    def _by_id(self) -> dict[ImageID, Image]:
        return {image.id: image for image in self._images}

    @cached_property
    def _commands(self) -> dict[ChainID, str]:
        """The command behind each chain ID, by the oldest image that has it."""
        return {row.chain_id: row.created_by for image in self._images for row in image.history if row.chain_id}

    @cached_property
    def _mounts(self) -> tuple[dict[str, MountRecord], tuple[Problem, ...]]:
        return self._records.mounts()

    @cached_property
    def _container_names(self) -> frozenset[str]:
        entries = list_directory(self.root.enter("containers"))
        return frozenset() if isinstance(entries, Fault) else frozenset(name for name, _kind in entries)

    @cached_property
    def _containers(self) -> tuple[tuple[Container, ...], tuple[Problem, ...]]:
        around = Surroundings(
            driver=self.driver,
            path=self._place,
            images=self._by_id,
            layers=self._layers.layers,
            facts=self._facts,
            mounts=self.mounts(),
            elsewhere=self._records.mounts_elsewhere(),
            is_held=self._is_held,
        )
        return self._records.containers(around)

    @cached_property
    def _volumes(self) -> VolumeRecords:
        return read_volumes(self.root, self._path)

    def _level(self, number: int, chain: ChainID, created_by: str) -> Level:
        layer = self.layers().get(chain)
        diff_id = self._facts[chain][1] if chain in self._facts else layer.diff_id if layer else None
        return Level(
            number=number,
            role=Role.IMAGE,
            cache_id=layer.cache_id if layer else None,
            chain_id=chain,
            diff_id=diff_id,
            size=layer.size if layer else None,
            created_by=created_by,
        )
