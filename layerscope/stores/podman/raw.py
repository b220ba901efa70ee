"""The engine's own records of one image or container, joined into one value and otherwise untouched.

JSON records are their parsed value, None where they can't be read; layers go base first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.image import Image
from layerscope.stores.podman.big_data import file_name, read_item
from layerscope.stores.podman.record_list import HasID
from layerscope.stores.records.files import Fault, read_bytes
from layerscope.stores.records.json_record import LIMIT, parse

if TYPE_CHECKING:
    from layerscope.stores.podman.store import PodmanStore

_USERDATA = ("config.json", "state.json", "buildah.json")


def image_records(store: PodmanStore, image: Image) -> dict[str, object]:
    """Record, configuration, manifests and layers of an image."""
    one = store.stored_image(image.id)
    if one is None:
        return {"id": image.id}
    folder = one.folder
    names = one.raw.get("big-data-names")
    keys = [key for key in names if isinstance(key, str)] if isinstance(names, list) else []
    return {
        "id": image.id,
        "path": folder.path,
        "record": dict(one.raw),
        "config": dict(image.config) or None,
        "items": [{"key": key, "file": file_name(key), "content": _item(folder, key)} for key in keys],
        "layers": [dict(layer.raw) for layer in one.layers],
    }


def _item(folder: Directory, key: str) -> object:
    if not key.startswith("manifest"):
        return None
    data = read_item(folder, key)
    return None if isinstance(data, Fault) else parse(data, HasID).raw or None


def container_records(store: PodmanStore, container: Container) -> dict[str, object]:
    """Record, podman's own two records, what lies in its folder, and its layers."""
    folder = store.folder("containers").enter(container.id)
    userdata = folder.enter("userdata")
    record = store.container_record(container.id)
    libpod = store.libpod
    return {
        "id": container.id,
        "path": folder.path,
        "record": record,
        "database": libpod.path or None,
        "libpod": libpod.raw(container.id),
        "userdata": {name: _file(userdata, name) for name in _USERDATA},
        "layers": [dict(layer.raw) for layer in store.stored_layers.chain(container.mount_id)],
    }


def _file(folder: Directory, name: str) -> object:
    data = read_bytes(folder, name, LIMIT)
    return None if isinstance(data, Fault) else parse(data, HasID).raw or None
