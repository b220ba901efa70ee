"""What the records of a root tell at once: the list of containers and images, and the header's numbers."""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.root import Daemon
from layerscope.services import Session
from layerscope.services.lab.marker import is_lab
from layerscope.tui.sources.entities import EntityRow, entity_rows


class Records(Struct, frozen=True):
    """The rows of the list, how many containers and (not intermediate) images there are, the recorded bytes of all
    layers together (None: none is recorded, as in archives), whether a daemon holds the root, whether it is a lab that
    this user may change."""

    rows: tuple[EntityRow, ...]
    containers: int
    images: int
    layer_bytes: int | None
    daemon: Daemon
    writable: bool = False


def read_records(session: Session) -> Records:
    """Read the records, nothing else: no layer is looked into."""
    containers, images = session.containers(sizes=False), session.images()
    sizes = [layer.size for layer in session.store.layers().values() if layer.size is not None]
    return Records(
        tuple(entity_rows(containers, images)),
        len(containers),
        sum(not usage.intermediate for usage in images),
        sum(sizes) if sizes else None,
        session.daemon(),
        is_lab(session),
    )
