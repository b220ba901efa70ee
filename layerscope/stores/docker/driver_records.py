"""What is read of one storage driver's records, and from where.

A store asks for each kind once and keeps the answer. What a later kind is read with is passed in: the facts of image
configs for layers, and everything else for containers.
"""

from __future__ import annotations

from typing import Protocol

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import ImageID
from layerscope.model.problem import Problem
from layerscope.stores.docker.containers import Surroundings, read_containers
from layerscope.stores.docker.image_database import read_configs
from layerscope.stores.docker.layers import Facts, LayerRecords, read_layers
from layerscope.stores.docker.mounts import MountRecord, read_mounts
from layerscope.stores.docker.orphans import claim_guesses
from layerscope.stores.docker.references import References, read_references
from layerscope.stores.records.files import Fault, list_directory
from layerscope.stores.records.image_config import ConfigRecord


class DriverRecords(Protocol):
    """The records of one storage driver, or those that one question needs. No method raises for a damaged record."""

    def configs(self) -> tuple[dict[ImageID, ConfigRecord], tuple[Problem, ...]]:
        """Image configs by image ID, and what else lies among them."""

    def references(self) -> References:
        """The images' names."""

    def mounts(self) -> tuple[dict[str, MountRecord], tuple[Problem, ...]]:
        """The records of writable layers by name, and what else lies among them."""

    def mounts_elsewhere(self) -> frozenset[str]:
        """The names in other drivers' mount records."""

    def layers(self, facts: Facts) -> LayerRecords:
        """Read-only layers; ``facts`` is what image configs say of them."""

    def containers(self, around: Surroundings) -> tuple[tuple[Container, ...], tuple[Problem, ...]]:
        """Containers, newest first, then by ID, and what else lies among them."""


class AllRecords:
    """Everything that a root has of ``driver``."""

    def __init__(self, root: Directory, driver: str) -> None:
        self._root = root
        self._driver = driver
        self._place = f"image/{driver}"
        self._directory = root.enter("image").enter(driver)

    def configs(self) -> tuple[dict[ImageID, ConfigRecord], tuple[Problem, ...]]:
        """All of ``imagedb``."""
        return read_configs(self._directory.enter("imagedb"), f"{self._place}/imagedb")

    def references(self) -> References:
        """All of ``repositories.json``."""
        return read_references(self._directory, self._place)

    def mounts(self) -> tuple[dict[str, MountRecord], tuple[Problem, ...]]:
        """All of ``layerdb/mounts``."""
        return read_mounts(self._directory.enter("layerdb"), f"{self._place}/layerdb")

    def mounts_elsewhere(self) -> frozenset[str]:
        """Of all other drivers below ``image/``."""
        drivers = list_directory(self._root.enter("image"))
        names: set[str] = set()
        for driver, kind in [] if isinstance(drivers, Fault) else drivers:
            if kind == "d" and driver != self._driver:
                entries = list_directory(self._root.descend(f"image/{driver}/layerdb/mounts"))
                names.update(() if isinstance(entries, Fault) else (name for name, _kind in entries))
        return frozenset(names)

    def layers(self, facts: Facts) -> LayerRecords:
        """All of ``layerdb/sha256``."""
        return read_layers(self._directory.enter("layerdb"), f"{self._place}/layerdb", facts)

    def containers(self, around: Surroundings) -> tuple[tuple[Container, ...], tuple[Problem, ...]]:
        """All of ``containers/`` that is this driver's."""
        found, problems = read_containers(self._root, around)
        return claim_guesses(found, self._root, around), problems
