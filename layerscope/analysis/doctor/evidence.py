"""What the rules look at: the records as they were read, and the root's directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from msgspec import Struct

from layerscope.drivers import Driver
from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID
from layerscope.model.image import Image, Layer
from layerscope.model.problem import Problem, Severity
from layerscope.model.verdict import Verdict


class Evidence(Struct, frozen=True):
    """A docker root. ``driver`` is None where its files can't be read. ``held``: whether a daemon has it now.

    ``unclaimed`` are the layers' directories that no record names, ``unfinished`` those of them that an engine may be
    making or removing now; ``mounted`` the paths below the root where something is mounted. ``strange`` are the paths
    of records that are neither files nor directories, and what each is. ``lost_marks`` and ``verdicts`` are empty where
    that wasn't looked for.
    """

    root: Directory
    driver_name: str
    driver: Driver | None
    images: tuple[Image, ...]
    containers: tuple[Container, ...]
    layers: Mapping[ChainID, Layer]
    unclaimed: tuple[CacheID, ...]
    mounted: frozenset[str]
    held: bool | None
    unseen: tuple[str, ...]
    tar_split: Callable[[ChainID], BinaryIO | None]
    lost_marks: tuple[Problem, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    unfinished: frozenset[CacheID] = frozenset()
    strange: tuple[tuple[str, str], ...] = ()

    @property
    def records(self) -> str:
        """The path of this driver's records."""
        return f"image/{self.driver_name}"


class Sign(Struct, frozen=True):
    """What a rule recognised. ``repair`` and ``severity`` stand for the rule's own where they are set."""

    path: str
    what: str
    repair: str = ""
    severity: Severity | None = None
