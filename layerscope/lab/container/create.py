"""Making a container: init layer, writable layer, volumes, their records, the container's own directory; never started.

The working directory is made if it is missing, as docker does. Order as docker's: directories, then the volumes, then
``layerdb/mounts/<ID>``, then ``containers/<ID>``. Source: moby daemon/create.go,
layer/layer_store.go ``CreateRWLayer``; seen with 20.10.24.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from layerscope.errors import CommitError, UsageError
from layerscope.lab.container.config import container_config, host_config
from layerscope.lab.container.directories import open_overlay
from layerscope.lab.container.init_layer import fill_init_layer
from layerscope.lab.container.run_config import RunConfig, merged, started
from layerscope.lab.container.volumes import make_working_directory, stage_volumes
from layerscope.lab.layer.new import MOST_LAYERS, make_layer_directory, recorded_cache_id
from layerscope.lab.root.records import stage_container, stage_mount
from layerscope.lab.root.root import LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ContainerID
from layerscope.model.image import Image

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HOST_NAME_LENGTH = 12
_NOTHING: Mapping[str, str] = MappingProxyType({})
_FIRST_WORDS = (
    "amber",
    "brisk",
    "calm",
    "deft",
    "early",
    "faint",
    "gentle",
    "humble",
    "ivory",
    "jolly",
    "keen",
    "lucid",
)
_LAST_WORDS = (
    "acorn",
    "basin",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "inlet",
    "juniper",
    "kelp",
    "larch",
)


def create_container(
    root: LabRoot,
    image: Image,
    typed: str,
    name: str = "",
    command: Sequence[str] = (),
    network: str = "default",
    *,
    host_name: str = "",
    labels: Mapping[str, str] = _NOTHING,
    volumes: Mapping[str, str] = _NOTHING,
) -> ContainerID:
    """A new container.

    Args:
        root: where.
        image: what it is made of.
        typed: the image's name as the user typed it; docker keeps that.
        name: the container's; "" makes one up.
        command: what it would run; empty takes the image's.
        network: docker's name of its network.
        host_name: what it calls itself; "" takes the beginning of its ID.
        labels: its own, beside the image's.
        volumes: names of volumes by the path where each is mounted; one that isn't there is made.

    Raises:
        UsageError: the name isn't one that docker takes, or a volume's isn't.
        CommitError: the name is in use, the image is broken, or the disk said no.
    """
    containers = root.store().containers()
    name = free_name(name, containers)
    doing = f"cannot create {name}"
    if image.broken or not image.config:
        raise CommitError(f"{doing}: the image {typed} is broken; layerscope doctor tells more")
    if len(image.chain_ids) > MOST_LAYERS:
        raise CommitError(f"{doing}: {typed} has {len(image.chain_ids)} layers, docker takes at most {MOST_LAYERS}")
    identity = ContainerID(root.disk.new_id())
    mount_id = CacheID(root.disk.new_id())
    init_id = CacheID(f"{mount_id}-init")
    top = image.chain_ids[-1] if image.chain_ids else None
    parent = recorded_cache_id(root.disk, top) if top else None
    if top is not None and parent is None:
        raise CommitError(f"{doing}: the directory of the image's top layer isn't recorded")
    config = created_config(identity, typed, command, image.config.get("config") or {}, host_name, labels)
    with Transaction(root.disk, doing) as transaction:
        transaction.note("container", identity)
        make_layer_directory(transaction, init_id, parent)
        with open_overlay(root, init_id) as overlay:
            fill_init_layer(overlay)
        make_layer_directory(transaction, mount_id, init_id)
        with open_overlay(root, mount_id) as overlay:
            config = {**config, "WorkingDir": make_working_directory(overlay, config.get("WorkingDir") or "")}
            mounted = stage_volumes(root, transaction, overlay, config.get("Volumes") or {}, volumes)
        stage_mount(transaction, identity, mount_id, init_id, top)
        created = root.disk.now()
        text = container_config(
            identity, name, image.id, created, config, network, image.os or "linux", mounted, set(volumes.values())
        )
        files = (("hostconfig.json", host_config(network, volumes)), ("config.v2.json", text))
        stage_container(transaction, identity, files)
        transaction.publish()
    return identity


def created_config(
    identity: ContainerID,
    typed: str,
    command: Sequence[str],
    image_config: Mapping[str, Any],
    host_name: str = "",
    labels: Mapping[str, str] = _NOTHING,
) -> RunConfig:
    """The ``Config`` of a new container, as docker's client and daemon make it of an image's."""
    own = {
        "Hostname": host_name or identity[:_HOST_NAME_LENGTH],
        "AttachStdout": True,
        "AttachStderr": True,
        "Cmd": list(command) or None,
        "Image": typed,
        "Labels": dict(labels),
    }
    return started(merged(own, image_config))


def free_name(name: str, containers: Sequence[Container]) -> str:
    """``name`` without its slash if nobody has it, one made up for "".

    Raises:
        UsageError: docker takes no such name.
        CommitError: another container has it.
    """
    taken = {container.name: container.id for container in containers}
    if not name:
        for _ in range(1000):
            made = f"{secrets.choice(_FIRST_WORDS)}_{secrets.choice(_LAST_WORDS)}"
            if made not in taken:
                return made
        return f"container_{secrets.token_hex(6)}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r:.100} is no container name: expected [a-zA-Z0-9][a-zA-Z0-9_.-]+")
    name = name.removeprefix("/")
    if name in taken:
        raise CommitError(
            f"cannot create {name}: the container {taken[name][:12]} has this name; remove it (layerscope rm {name}), "
            "or take another name"
        )
    return name
