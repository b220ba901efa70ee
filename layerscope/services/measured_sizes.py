"""Images whose layers' sizes no engine has recorded, those of an archive, and their histories, with measured sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from layerscope.analysis.sizes import image_usages
from layerscope.model.digest import ChainID
from layerscope.model.image import HistoryRow, Image
from layerscope.model.subject import ImageUsage, Subject
from layerscope.services.session import Session


def measured_images(session: Session) -> list[ImageUsage]:
    """As ``Session.images``; where sizes aren't recorded, every layer is read through for its own."""
    usages = session.images()
    if not session.measures_images:
        return usages
    sizes = measured_layers(session, (usage.image for usage in usages))
    images = [_sized(usage.image, sizes) for usage in usages]
    layers = {chain: replace(layer, size=sizes.get(chain)) for chain, layer in session.store.layers().items()}
    return image_usages(images, session.store.containers(), layers)


def measured_layers(session: Session, images: Iterable[Image]) -> dict[ChainID, int | None]:
    """The bytes that each layer of ``images`` adds, None where that can't be read; nothing where sizes are recorded."""
    sizes: dict[ChainID, int | None] = {}
    for image in images if session.measures_images else ():
        if not image.broken and not sizes.keys() >= set(image.chain_ids):
            found = session.stack(Subject(image, None), counts=False)
            sizes |= {one.level.chain_id: one.size for one in found if one.level.chain_id is not None}
    return sizes


def measured_history(session: Session, subject: Subject) -> list[HistoryRow]:
    """As ``Session.history``; where sizes aren't recorded, layers are read through for them."""
    rows = session.history(subject)
    if not session.measures_images or all(row.size is not None for row in rows):
        return rows
    sizes = {found.level.number: found.size for found in session.stack(subject, counts=False)}
    return [replace(row, size=sizes.get(row.level)) if row.size is None and row.level else row for row in rows]


def _sized(image: Image, sizes: Mapping[ChainID, int | None]) -> Image:
    own = [sizes.get(chain) for chain in image.chain_ids]
    known = [size for size in own if size is not None]
    return replace(image, size=sum(known)) if own and len(known) == len(own) else image
