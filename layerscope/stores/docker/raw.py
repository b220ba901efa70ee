"""docker's own records of one thing, joined into one value and otherwise untouched.

Keys are the files' names. A JSON record is its parsed value, or its text where it isn't JSON; a one-line record is
its text without white space around it; None stands for a file that is missing or can't be read.
"""

from __future__ import annotations

import msgspec

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import hex_of
from layerscope.model.image import Image
from layerscope.stores.records.files import Fault, read_bytes, read_line
from layerscope.stores.records.json_record import LIMIT, parse

_SHOWN_TEXT = 4096


class _Anything(msgspec.Struct):
    """A record of which nothing is demanded."""


def image_records(root: Directory, place: str, image: Image) -> dict[str, object]:
    """Config, metadata, names and chain records (base first) of an image; ``place`` is ``image/<driver>``."""
    name = hex_of(image.id)
    directory = root.descend(place)
    metadata = directory.descend(f"imagedb/metadata/sha256/{name}")
    return {
        "id": image.id,
        "path": f"{place}/imagedb/content/sha256/{name}",
        "config": _json(directory.descend("imagedb/content/sha256"), name),
        "metadata": {key: _line(metadata, key) for key in ("parent", "lastUpdated")},
        "references": [*image.repo_tags, *image.repo_digests],
        "layers": [_layer(directory, place, hex_of(chain)) for chain in image.chain_ids],
    }


def _layer(directory: Directory, place: str, name: str) -> dict[str, object]:
    folder = directory.descend(f"layerdb/sha256/{name}")
    lines = {key: _line(folder, key) for key in ("diff", "parent", "cache-id", "size")}
    return {"chain-id": f"sha256:{name}", "path": f"{place}/layerdb/sha256/{name}", **lines}


def container_records(root: Directory, place: str, container: Container) -> dict[str, object]:
    """Config, host config and mount record of a container; ``place`` is ``image/<driver>``."""
    directory = root.descend(f"containers/{container.id}")
    mount = f"layerdb/mounts/{container.id}"
    folder = root.descend(f"{place}/{mount}")
    return {
        "id": container.id,
        "path": f"containers/{container.id}",
        "config.v2.json": _json(directory, "config.v2.json"),
        "hostconfig.json": _json(directory, "hostconfig.json"),
        "mount": {"path": f"{place}/{mount}", **{key: _line(folder, key) for key in ("mount-id", "init-id", "parent")}},
    }


def _line(directory: Directory, name: str) -> str | None:
    text = read_line(directory, name)
    return None if isinstance(text, Fault) else text.strip()


def _json(directory: Directory, name: str) -> object:
    data = read_bytes(directory, name, LIMIT)
    if isinstance(data, Fault):
        return None
    return parse(data, _Anything).raw or data[:_SHOWN_TEXT].decode("utf-8", "replace")
