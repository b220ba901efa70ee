"""A container as its records tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID, ContainerID, ImageID
from layerscope.model.problem import Problem


class Mount(Struct, frozen=True):
    """A volume, bind or tmpfs of a container. ``source`` is a path on the host that ran it ("" if none)."""

    type: str
    name: str
    source: str
    destination: str
    rw: bool


class Container(Struct, frozen=True):
    """One container of a store.

    ``name`` has no leading slash ("" if its record is unreadable). ``image`` is the name as typed, ``image_id`` what
    it meant then. ``mount_id`` and ``init_id`` name the driver's directories of the writable and the init layer (None
    if there is none or it is not recorded), ``chain_id`` is the image's top layer. ``state`` is docker's word;
    ``unclean`` means: recorded as running in a root that no daemon holds. ``log_path`` is relative to the root.
    """

    id: ContainerID
    name: str
    image: str
    image_id: ImageID | None
    command: str
    created: str | None
    started_at: str | None
    finished_at: str | None
    state: str
    unclean: bool
    exit_code: int | None
    driver: str
    log_path: str | None
    log_size: int | None
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]
    mount_id: CacheID | None
    init_id: CacheID | None
    chain_id: ChainID | None
    config: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it has processes, as far as its record tells: only force removes it then."""
        return self.state in _RUNNING and not self.unclean


_RUNNING = {"running", "paused", "restarting"}
UNKNOWN = "unknown"
"""The state of a container whose record doesn't tell it."""


def container_without_record(
    container: ContainerID,
    driver: str,
    mount_id: CacheID | None,
    *,
    name: str = "",
    init_id: CacheID | None = None,
    chain_id: ChainID | None = None,
    problems: tuple[Problem, ...] = (),
) -> Container:
    """A container of which nothing is known but its layers."""
    return Container(
        id=container,
        name=name,
        image="",
        image_id=None,
        command="",
        created=None,
        started_at=None,
        finished_at=None,
        state=UNKNOWN,
        unclean=False,
        exit_code=None,
        driver=driver,
        log_path=None,
        log_size=None,
        mounts=(),
        labels={},
        mount_id=mount_id,
        init_id=init_id,
        chain_id=chain_id,
        config={},
        problems=problems,
    )
