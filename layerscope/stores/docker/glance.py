"""What is told at once of a root with thousands of containers: their names, and all of one of them.

To list every container as docker knows it takes the configs of all images and five files of each layer and container;
to name the containers takes one file of each. Only sound records are named here: whoever finds anything else reads
everything.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, ContainerID, ImageID, hex_of, is_digest, is_hex64
from layerscope.model.image import Layer
from layerscope.model.problem import Problem
from layerscope.stores.docker.containers import Settings, State, Surroundings, read_container, state_word
from layerscope.stores.docker.layers import Facts, LayerRecords, read_layer
from layerscope.stores.docker.mounts import MountRecord, read_mount
from layerscope.stores.docker.references import References
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.moment import nanoseconds, sound_time
from layerscope.stores.records.files import Fault, list_directory, read_bytes
from layerscope.stores.records.image_config import ConfigRecord, config_record
from layerscope.stores.records.json_record import LIMIT

_DEEPEST = 256


class Glimpse(Container, frozen=True):
    """A container of which nothing is known but what a list shows: name, image, state and time."""


class _Brief(msgspec.Struct, rename="pascal"):
    """The fields of ``config.v2.json`` that a list shows."""

    id: str = msgspec.field(name="ID")
    name: str
    created: str
    driver: str
    state: State
    image: str | None = None
    config: Settings | None = None


_brief = msgspec.json.Decoder(_Brief).decode


def glimpses(store: DockerStore, least: int) -> tuple[Glimpse, ...] | None:
    """All containers of a store, newest first, then by ID.

    None where there are fewer than ``least``, or a record isn't as docker writes it.
    """
    folder = store.root.enter("containers")
    entries = list_directory(folder)
    if isinstance(entries, Fault) or len(entries) < least:
        return None
    found: list[Glimpse] = []
    for name, kind in entries:
        glimpse = _glimpse(folder, name) if kind == "d" and is_hex64(name) else None
        if glimpse is None:
            return None
        if glimpse.driver == store.driver:
            found.append(glimpse)
    if len({glimpse.name for glimpse in found}) < len(found):
        return None
    return tuple(sorted(found, key=lambda one: (-(nanoseconds(one.created) or 0), one.id)))


def _glimpse(folder: Directory, name: str) -> Glimpse | None:
    directory = folder.enter(name)
    data = read_bytes(directory, "config.v2.json", LIMIT)
    directory.close()
    try:
        brief = None if isinstance(data, Fault) else _brief(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if brief is None or brief.id != name or not brief.driver or nanoseconds(brief.created) is None:
        return None
    return Glimpse(
        id=ContainerID(name),
        name=brief.name.removeprefix("/"),
        image=(brief.config.image if brief.config else None) or brief.image or "",
        image_id=ImageID(brief.image) if brief.image and is_digest(brief.image) else None,
        command="",
        created=sound_time(brief.created),
        started_at=None,
        finished_at=None,
        state=state_word(brief.state),
        unclean=False,
        exit_code=None,
        driver=brief.driver,
        log_path=None,
        log_size=None,
        mounts=(),
        labels={},
        mount_id=None,
        init_id=None,
        chain_id=None,
        config={},
    )


def store_of(glimpse: Glimpse, whole: DockerStore) -> DockerStore:
    """``whole`` as if it held a single container, with its image and their layers: nothing else is read."""
    records = _RecordsOfOne(whole.root, whole.driver, glimpse)
    return DockerStore(whole.root, whole.path, whole.driver, records=records)


class _RecordsOfOne:
    """The records of a container, of its image and of their layers; names of images aren't among them."""

    def __init__(self, root: Directory, driver: str, only: Glimpse) -> None:
        self._root = root
        self._only = only
        self._place = f"image/{driver}"
        self._directory = root.enter("image").enter(driver)

    def configs(self) -> tuple[dict[ImageID, ConfigRecord], tuple[Problem, ...]]:
        """That of the image."""
        image = self._only.image_id
        if image is None:
            return {}, ()
        path = f"imagedb/content/sha256/{hex_of(image)}"
        data = read_bytes(self._directory.descend("imagedb/content/sha256"), hex_of(image), LIMIT)
        return {image: config_record(image, f"{self._place}/{path}", data)}, ()

    def references(self) -> References:
        """None: a container's own record has the name that its image was called by."""
        return References({}, {}, ())

    def mounts(self) -> tuple[dict[str, MountRecord], tuple[Problem, ...]]:
        """That of the container."""
        return {self._only.id: self._mount}, ()

    def mounts_elsewhere(self) -> frozenset[str]:
        """None: a glimpse is of a container that names its driver."""
        return frozenset()

    def layers(self, facts: Facts) -> LayerRecords:
        """Those below the writable layer, from its own parent down."""
        found: dict[ChainID, Layer] = {}
        folder = self._directory.descend("layerdb/sha256")
        above = self._mount.parent
        while above is not None and above not in found and len(found) < _DEEPEST:
            name = hex_of(above)
            directory = folder.enter(name)
            layer = read_layer(directory, above, f"{self._place}/layerdb/sha256/{name}", facts.get(above))
            directory.close()
            found[above] = layer
            above = layer.parent
        return LayerRecords(found, ())

    def containers(self, around: Surroundings) -> tuple[tuple[Container, ...], tuple[Problem, ...]]:
        """The one, unless its driver is another by now."""
        found = read_container(self._root.enter("containers").enter(self._only.id), self._only.id, around, [])
        return (() if found is None else (found,)), ()

    @cached_property
    def _mount(self) -> MountRecord:
        path = f"layerdb/mounts/{self._only.id}"
        return read_mount(self._directory.descend(path), self._only.id, f"{self._place}/{path}")
