"""Layers that a content store keeps as they were pulled, mostly compressed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerscope.analysis.verify.blob import BlobRecord
from layerscope.errors import CommitError, CorruptError
from layerscope.formats.blocks.compression import decompressed
from layerscope.lab.archive.saving import ImageBytes
from layerscope.model.digest import DiffID, ImageID, hex_of, is_digest
from layerscope.model.image import Image
from layerscope.services.saving.config import diff_ids_of, measured, read_config
from layerscope.services.verify.content import blob_record
from layerscope.stores.containerd.images import StoredImage
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.oci.content import Content
from layerscope.stores.oci.manifest import Blob, BlobState, ManifestContent

_PIECE = 1 << 20
_PULL = "pull the image again"


def blob_image(store: ContainerdStore, image: Image) -> ImageBytes:
    """An image of a content store: of several platforms the one that is shown.

    Raises:
        CommitError: a blob of it isn't here.
    """
    doing = f"cannot save {hex_of(image.id)[:12]}"
    content = store.content
    stored = next((one for one in store.stored_images if one.image.id == image.id), None)
    if content is None or stored is None:
        raise CommitError(f"{doing}: its bytes are in containerd's root, which isn't here")
    manifest = _shown(stored, content)
    if manifest is None or manifest.config is None:
        raise CommitError(f"{doing}: {_missing(stored, content)}")
    identity = manifest.config.digest
    if not is_digest(identity):
        raise CommitError(f"{doing}: its config is named {identity[:100]}, which is no image ID")

    def config() -> bytes:
        return read_config(image.id, content.bytes_of(identity))

    diff_ids = diff_ids_of(image.id, config(), len(manifest.layers))
    layers = tuple(
        _layer(store, content, diff_id, blob) for diff_id, blob in zip(diff_ids, manifest.layers, strict=True)
    )
    return ImageBytes(ImageID(identity), config, diff_ids, layers)


def _shown(stored: StoredImage, content: Content) -> ManifestContent | None:
    """The manifest that the image's layers, history and configuration were told of; of equal ones a whole one."""
    found = []
    for manifest in stored.manifests:
        if manifest.attests is None and manifest.config is not None and stored.image.config:
            config = content.config(manifest.config.digest)
            if config is not None and config.raw == stored.image.config:
                found.append(manifest)
    return next((manifest for manifest in found if manifest.available), found[0] if found else None)


def _missing(stored: StoredImage, content: Content) -> str:
    """Which blob nothing can be told without."""
    named = [str(stored.image.id)]
    for manifest in stored.manifests:
        if manifest.attests is None:
            named += [manifest.blob.digest, *([manifest.config.digest] if manifest.config else ())]
    lost = next((digest for digest in named if digest not in content.files), None)
    if lost is None:
        return "none of its manifests has a config that can be read"
    return f"its blob {lost} is not in the store; {_PULL}"


def _layer(store: ContainerdStore, content: Content, diff_id: DiffID, blob: Blob) -> _BlobLayer:
    if blob.digest not in content.files:
        if blob.state is BlobState.LOST:
            why = "has a record, but no file"
        else:
            why = "is not in the store: it was thrown away once it was unpacked, or never pulled"
        raise CommitError(f"cannot save the layer {diff_id}: its blob {blob.digest} {why}; {_PULL}")
    return _BlobLayer(blob_record(store, content, blob.digest), diff_id, blob.size or None)


class _BlobLayer:
    """See :class:`layerscope.lab.archive.saving.LayerBytes`."""

    def __init__(self, blob: BlobRecord, diff_id: DiffID, stored_size: int | None) -> None:
        self._blob = blob
        self._diff_id = diff_id
        self._stored_size = stored_size

    def size(self) -> int:
        """Nothing tells but the bytes themselves: they are read through."""
        return measured(self, self._diff_id)

    def pieces(self) -> Iterator[bytes]:
        """The blob, decompressed. One of another length than it should have isn't read: a sparse file has no end."""
        with self._blob.open_blob() as file:
            length = os.fstat(file.fileno()).st_size
            if self._stored_size not in (None, length):
                raise CorruptError(f"its blob {self._blob.digest} has {length} bytes, expected {self._stored_size}")
            plain = decompressed(file)[1]
            while piece := plain.read(_PIECE):
                yield piece

    def explain(self, found: str) -> str:
        """The blob was changed, or never was that layer's."""
        return f"its blob {self._blob.digest} holds another tar, of digest {found}; {_PULL}"
