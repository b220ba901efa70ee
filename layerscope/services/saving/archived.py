"""Layers that are tars in an image archive, compressed or not."""

from __future__ import annotations

from collections.abc import Iterator

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.lab.archive.saving import ImageBytes
from layerscope.model.digest import DiffID
from layerscope.model.image import Image
from layerscope.services.saving.config import diff_ids_of, measured, read_config
from layerscope.stores.archive.archive import Archive
from layerscope.stores.archive.store import ArchiveStore

_PIECE = 1 << 20


def archived_image(store: ArchiveStore, image: Image) -> ImageBytes:
    """An image of an archive.

    Raises:
        CommitError: its config can't be read, or the tar of a layer isn't there.
    """

    def config() -> bytes:
        return read_config(image.id, store.config_of(image))

    cache_ids = [level.cache_id for level in store.levels(image) if level.cache_id is not None]
    diff_ids = diff_ids_of(image.id, config(), len(cache_ids))
    layers = []
    for diff_id, cache_id in zip(diff_ids, cache_ids, strict=True):
        member, why = store.members[cache_id], store.missing.get(cache_id)
        if why is not None:
            raise CommitError(f"cannot save the layer {diff_id}: {escape(member)[:200]}: {why}")
        layers.append(_ArchivedLayer(store.archive, member, diff_id))
    return ImageBytes(image.id, config, diff_ids, tuple(layers))


class _ArchivedLayer:
    """See :class:`layerscope.lab.archive.saving.LayerBytes`."""

    def __init__(self, archive: Archive, member: str, diff_id: DiffID) -> None:
        self._archive = archive
        self._member = member
        self._diff_id = diff_id

    def size(self) -> int:
        """That of the member; a compressed one must be read through."""
        if self._archive.form_of(self._member) == "plain":
            return self._archive.members.find(self._member).size
        return measured(self, self._diff_id)

    def pieces(self) -> Iterator[bytes]:
        """The member, decompressed."""
        source, offset = self._archive.decompressed(self._member), 0
        while piece := source.read_at(offset, _PIECE):
            offset += len(piece)
            yield piece

    def explain(self, found: str) -> str:
        """The archive was changed."""
        return f"its tar {escape(self._member)[:200]} was changed, or is cut off: it has the digest {found}"
