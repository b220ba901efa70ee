"""What the config of an image to be saved says of its layers, and tars that must be read through to be known."""

from __future__ import annotations

from hashlib import sha256

from layerscope.errors import CommitError, CorruptError
from layerscope.lab.archive.saving import LayerBytes
from layerscope.model.digest import DiffID, ImageID, hex_of, is_digest
from layerscope.stores.records.files import Fault
from layerscope.stores.records.image_config import ImageConfig
from layerscope.stores.records.json_record import parse

_MOST_LAYERS = 1000


def read_config(image: ImageID, data: bytes | Fault | None) -> bytes:
    """The bytes of a config as they were read, if they could be.

    Raises:
        CommitError: they couldn't.
    """
    if isinstance(data, bytes):
        return data
    why = data.what if data is not None else "is missing"
    raise CommitError(f"cannot save {hex_of(image)[:12]}: its config can't be read: it {why}")


def diff_ids_of(image: ImageID, config: bytes, layers: int) -> tuple[DiffID, ...]:
    """All diff IDs of a config, base first.

    Args:
        image: whose config it is, for messages.
        config: its bytes.
        layers: how many layers the store has of it.

    Raises:
        CommitError: one isn't valid, or there are more or less than ``layers``.
    """
    doing = f"cannot save {hex_of(image)[:12]}"
    rootfs = parse(config, ImageConfig).typed.rootfs
    if rootfs is None:
        raise CommitError(f"{doing}: its config names no layers")
    named = rootfs.diff_ids or []
    if len(named) != layers or len(named) > _MOST_LAYERS:
        raise CommitError(f"{doing}: its config names {len(named)} layers, the store has {layers} of it")
    found = [DiffID(text) for text in named if is_digest(text)]
    if len(found) < len(named):
        raise CommitError(f"{doing}: its config has what is no diff ID among those of its layers")
    return tuple(found)


def measured(layer: LayerBytes, diff_id: DiffID) -> int:
    """The bytes of a tar that is read through for that; raises as ``LayerBytes`` does, also where it is another one."""
    size, digest = 0, sha256()
    for piece in layer.pieces():
        size += len(piece)
        digest.update(piece)
    found = f"sha256:{digest.hexdigest()}"
    if found != diff_id:
        raise CorruptError(layer.explain(found))
    return size
