"""Images whose layers' sizes no engine has recorded, those of an archive, with sizes that are measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from layerscope.analysis.sizes import image_usages
from layerscope.model.digest import ChainID
from layerscope.model.image import Image
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


def _sized(image: Image, sizes: Mapping[ChainID, int | None]) -> Image:
    own = [sizes.get(chain) for chain in image.chain_ids]
    known = [size for size in own if size is not None]
    return replace(image, size=sum(known)) if own and len(known) == len(own) else image
