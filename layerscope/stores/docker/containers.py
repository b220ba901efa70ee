"""Containers: ``containers/<ID>/config.v2.json`` and ``hostconfig.json``, joined with the record of the writable layer.

docker loads a container if its config can be parsed, the ``ID`` in it is the directory's name, ``Driver`` is the
driver it runs, and there is a record in ``layerdb/mounts``; of two with one name it keeps either. ``hostconfig.json``
may be missing, not damaged. All paths in these files are those of the host that wrote them.
Source: moby daemon/container.go ``load``, container/container.go ``FromDisk``, container/state.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.container import UNKNOWN, Container, Mount
from layerscope.model.digest import CacheID, ChainID, ContainerID, ImageID, hex_of, is_digest, is_hex64
from layerscope.model.image import Image, Layer
from layerscope.model.problem import Problem, Severity
from layerscope.stores.docker.layers import Facts, chain_of
from layerscope.stores.docker.logs import find_log
from layerscope.stores.docker.mounts import MountRecord
from layerscope.stores.moment import is_never, nanoseconds, sound_time
from layerscope.stores.records.files import MISSING, Fault, is_gone, list_directory, read_bytes, shown, unique
from layerscope.stores.records.json_record import LIMIT, parse

NOT_LOADED = "docker doesn't load this container"
"""The state of a container whose record doesn't tell it; docker has no word for that."""


class State(msgspec.Struct, rename="pascal"):
    """``State``."""

    running: bool | None = None
    paused: bool | None = None
    restarting: bool | None = None
    removal_in_progress: bool | None = None
    dead: bool | None = None
    exit_code: int | None = None
    started_at: str | None = None
    finished_at: str | None = None


class Settings(msgspec.Struct, rename="pascal"):
    """``Config``: what the container was created with."""

    image: str | None = None
    labels: dict[str, str] | None = None


class MountPoint(msgspec.Struct, rename="pascal"):
    """One of ``MountPoints``."""

    type: str | None = None
    name: str | None = None
    source: str | None = None
    destination: str | None = None
    driver: str | None = None
    rw: bool | None = msgspec.field(name="RW", default=None)


class ImageManifest(msgspec.Struct, rename="camel"):
    """``ImageManifest``: with a containerd store, the manifest whose layers are used."""

    media_type: str | None = None
    digest: str | None = None
    size: int | None = None


class ContainerConfig(msgspec.Struct, rename="pascal"):
    """The fields of ``config.v2.json`` that are read; the whole is kept beside them."""

    id: str | None = msgspec.field(name="ID", default=None)
    name: str | None = None
    created: str | None = None
    path: str | None = None
    args: list[str | None] | None = None
    image: str | None = None
    image_manifest: ImageManifest | None = None
    driver: str | None = None
    log_path: str | None = None
    hostname_path: str | None = None
    state: State | None = None
    config: Settings | None = None
    mount_points: dict[str, MountPoint | None] | None = None


class HostConfig(msgspec.Struct):
    """``hostconfig.json``: only whether it can be read matters here."""


class LayersOf(Struct, frozen=True):
    """Where a container's layers are: names of its writable and its init layer, chain ID of its image's top layer."""

    mount_id: CacheID | None
    init_id: CacheID | None
    chain_id: ChainID | None


class Joining(Protocol):
    """What a store joins containers with."""

    @property
    def driver(self) -> str:
        """Its own storage driver."""

    @property
    def is_held(self) -> Callable[[], bool | None]:
        """Asks whether a daemon is alive, which takes the kernel some 10 ms to tell."""

    def is_mine(self, driver: str | None, container: ContainerID) -> bool:
        """Whether docker, running this driver, would look at the container whose record names ``driver``."""

    def has_layer_of(self, container: ContainerID) -> bool:
        """Whether the records that are read here have the writable layer of a container."""

    def layers_of(self, container: ContainerID, config: ContainerConfig, problems: list[Problem]) -> LayersOf:
        """The layers of a container; what is wrong with them is added to ``problems``."""


class Surroundings(Struct, frozen=True):
    """What the containers of a graph driver are joined with. ``path`` is that of the driver's records.

    ``elsewhere`` are the IDs that have a writable layer under another driver.
    """

    driver: str
    path: str
    images: Mapping[ImageID, Image]
    layers: Mapping[ChainID, Layer]
    facts: Facts
    mounts: Mapping[str, MountRecord]
    elsewhere: frozenset[str]
    is_held: Callable[[], bool | None]

    def is_mine(self, driver: str | None, container: ContainerID) -> bool:
        """By the recorded driver; without one it is aufs' or damaged."""
        if driver:
            return driver == self.driver
        return self.driver == "aufs" or container in self.mounts or container not in self.elsewhere

    def has_layer_of(self, container: ContainerID) -> bool:
        """By the record of the writable layer."""
        return container in self.mounts

    def layers_of(self, container: ContainerID, config: ContainerConfig, problems: list[Problem]) -> LayersOf:
        """By the record of the writable layer, and by the image."""
        chain = _join_layers(container, image_id_of(config), self, problems)
        mount = self.mounts.get(container)
        return LayersOf(mount.mount_id if mount else None, mount.init_id if mount else None, chain)


def read_containers(root: Directory, around: Joining) -> tuple[tuple[Container, ...], tuple[Problem, ...]]:
    """All containers of one driver, newest first, then by ID; and what else lies in ``containers/``."""
    folder = root.enter("containers")
    entries = list_directory(folder)
    if isinstance(entries, Fault):
        return (), () if entries.absent else (entries.problem("containers", "no container can be read"),)
    problems: list[Problem] = []
    found: list[Container] = []
    for name, kind in entries:
        if kind == "d" and is_hex64(name):
            directory = folder.enter(name)
            container = read_container(directory, ContainerID(name), around, problems)
            directory.close()
            if container is not None and not (container.problems and is_gone(folder, name)):
                found.append(container)
        else:
            what = "is no container's directory" if kind == "d" else "is not a directory"
            problems.append(Problem(f"containers/{name}", what, "docker skips it", severity=Severity.WARNING))
    return tuple(sorted(_with_name_clashes(found), key=_newest_first)), tuple(problems)


def _newest_first(container: Container) -> tuple[int, str]:
    return -(nanoseconds(container.created) or 0), container.id


def _with_name_clashes(containers: Iterable[Container]) -> list[Container]:
    found = list(containers)
    times = Counter(container.name for container in found if container.name)
    for place, container in enumerate(found):
        if times[container.name] > 1:
            what = f"has the name {shown(container.name)}, as {times[container.name] - 1} more container has"
            effect = "docker loads only one of them, at random"
            clash = Problem(f"containers/{container.id}/config.v2.json", what, effect, severity=Severity.WARNING)
            found[place] = replace(container, problems=(*container.problems, clash))
    return found


def read_container(
    directory: Directory, container: ContainerID, around: Joining, strays: list[Problem]
) -> Container | None:
    """None for a container of another driver; one whose writable layer is here nevertheless is told in ``strays``."""
    path = f"containers/{container}/config.v2.json"
    problems: list[Problem] = []
    data = read_bytes(directory, "config.v2.json", LIMIT)
    raw: dict[str, Any] = {}
    config = ContainerConfig()
    if isinstance(data, Fault):
        problems.append(data.problem(path, f"{NOT_LOADED}; its name, image and state are unknown"))
    else:
        record = parse(data, ContainerConfig)
        config, raw = record.typed, record.raw
        if record.faults:
            severity = Severity.ERROR if record.refused else Severity.WARNING
            problems.append(Problem(path, record.what, NOT_LOADED if record.refused else "", severity=severity))
    if not around.is_mine(config.driver, container):
        if around.has_layer_of(container):
            what = f"names the driver {shown(config.driver or '')}, but its writable layer is one of {around.driver}"
            strays.append(Problem(path, what, "docker skips it, and so it isn't listed"))
        return None
    if raw and config.id != container:
        what = f"has the ID {shown(config.id or '')}, expected the directory's name"
        problems.append(Problem(path, what, NOT_LOADED))
    _check_host_config(directory, container, problems)
    state = config.state or State()
    for time in (config.created, state.started_at, state.finished_at):
        if time is not None and nanoseconds(time) is None:
            problems.append(Problem(path, f"has {shown(time)}, expected an RFC 3339 time", NOT_LOADED))
    log_path, log_size = find_log(directory, container, config.log_path, problems)
    image_id = image_id_of(config)
    if image_id is None and config.image:
        what = f"has the image {shown(config.image)}, expected sha256:<64 digits>"
        problems.append(Problem(path, what, severity=Severity.WARNING))
    layers = around.layers_of(container, config, problems)
    word = state_word(state) if config.state else UNKNOWN
    if word in ("dead", "removing"):
        what = "is being removed" if around.is_held() else "was being removed, which didn't end"
        problems.append(Problem(path, what, "parts of it may be gone", severity=Severity.WARNING))
    settings = config.config or Settings()
    return Container(
        id=container,
        name=(config.name or "").removeprefix("/"),
        image=settings.image or config.image or "",
        image_id=image_id,
        command=_command(config),
        created=sound_time(config.created),
        started_at=sound_time(state.started_at),
        finished_at=sound_time(state.finished_at),
        state=word,
        unclean=bool(state.running) and around.is_held() is False,
        exit_code=state.exit_code,
        driver=config.driver or around.driver,
        log_path=log_path,
        log_size=log_size,
        mounts=tuple(_mounts(config, container)),
        labels=settings.labels or {},
        mount_id=layers.mount_id,
        init_id=layers.init_id,
        chain_id=layers.chain_id,
        config=raw,
        problems=unique(problems),
    )


def is_loaded(container: Container) -> bool:
    """Whether docker loads a container, so that it can be removed."""
    return not any(problem.effect.startswith(NOT_LOADED) for problem in container.problems)


def image_id_of(config: ContainerConfig) -> ImageID | None:
    """The image that the name meant when the container was made, None if that isn't recorded."""
    return ImageID(config.image) if config.image and is_digest(config.image) else None


def _check_host_config(directory: Directory, container: ContainerID, problems: list[Problem]) -> None:
    data = read_bytes(directory, "hostconfig.json", LIMIT)
    path = f"containers/{container}/hostconfig.json"
    effect = f"{NOT_LOADED}; it is shown without its host settings"
    if isinstance(data, Fault):
        if data != MISSING:
            problems.append(data.problem(path, effect))
        return
    record = parse(data, HostConfig)
    if record.faults:
        severity = Severity.ERROR if record.refused else Severity.WARNING
        problems.append(Problem(path, record.what, effect if record.refused else "", severity=severity))


def _join_layers(
    container: ContainerID, image_id: ImageID | None, around: Surroundings, problems: list[Problem]
) -> ChainID | None:
    """The chain ID of the image's top layer: as the writable layer's record has it, else as the image has it."""
    mount = around.mounts.get(container)
    image = around.images.get(image_id) if image_id else None
    top = image.chain_ids[-1] if image and image.chain_ids else None
    if image_id and (image is None or not image.config):
        what = f"was made from the image {image_id}, which is gone or can't be read"
        effect = "its layers are known from the record of its writable layer"
        path = f"containers/{container}/config.v2.json"
        problems.append(Problem(path, what, effect, severity=Severity.NOTE))
    if mount is None:
        what = "is missing: the record of the container's writable layer"
        effect = f"{NOT_LOADED}; its changes are not shown"
        problems.append(Problem(f"{around.path}/layerdb/mounts/{container}", what, effect))
        chain = top
    else:
        problems.extend(mount.problems)
        chain = mount.parent
        if chain is None and any(problem.path == f"{mount.path}/parent" for problem in mount.problems):
            chain = top
        elif chain != top and top is not None:
            what = f"names {chain or 'no layer'} below the writable layer, its image's top layer is {top}"
            effect = "the image's is shown" if chain is None else "the named one is shown"
            problems.append(Problem(f"{mount.path}/parent", what, effect, severity=Severity.WARNING))
            chain = chain or top
    for link in chain_of(chain, around.layers, around.facts):
        layer = around.layers.get(link)
        if layer is None:
            place = f"{around.path}/layerdb/sha256/{hex_of(link)}"
            problems.append(Problem(place, "is missing: the record of a layer", NOT_LOADED))
        else:
            problems.extend(problem for problem in layer.problems if problem.severity == Severity.ERROR)
    return chain


def state_word(state: State) -> str:
    """docker's word for a state (moby container/state.go ``StateString``)."""
    if state.running:
        return "paused" if state.paused else "restarting" if state.restarting else "running"
    if state.removal_in_progress:
        return "removing"
    if state.dead:
        return "dead"
    return "created" if is_never(state.started_at) else "exited"


def _command(config: ContainerConfig) -> str:
    """Path and arguments as docker joins them: an argument with a blank gets quotes, nothing else is escaped."""
    arguments = [argument or "" for argument in config.args or ()]
    return " ".join([config.path or "", *(f"'{text}'" if " " in text else text for text in arguments)])


def _mounts(config: ContainerConfig, container: ContainerID) -> Iterable[Mount]:
    """By destination. Records older than 1.13 have no type: those with a driver are volumes, the others binds.

    The source of a local volume may be left out: it is then where that host's root had it.
    """
    origin = _origin(config, container)
    for destination, point in sorted((config.mount_points or {}).items()):
        if point is not None:
            is_local = point.driver == "local" and point.name and origin is not None
            yield Mount(
                type=point.type or ("volume" if point.driver else "bind"),
                name=point.name or "",
                source=point.source or (f"{origin}/volumes/{point.name}/_data" if is_local else ""),
                destination=point.destination or destination,
                rw=bool(point.rw),
            )


def _origin(config: ContainerConfig, container: ContainerID) -> str | None:
    """The path that the root had on its own host, from a path of this container that a start recorded."""
    for path in (config.log_path, config.hostname_path):
        origin, found, _ = (path or "").rpartition(f"/containers/{container}/")
        if found:
            return origin
    return None
