"""The rows of the list of containers and images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from layerscope.model.digest import hex_of
from layerscope.model.subject import ContainerUsage, ImageUsage, Subject
from layerscope.tui.glyphs import dot_of

Kind = Literal["heading", "gap", "container", "image"]


class EntityRow(Struct, frozen=True):
    """One line. ``dot`` names a status dot; ``size`` is in bytes (None: not known yet); names are raw, not escaped."""

    kind: Kind
    name: str = ""
    note: str = ""
    dot: str = ""
    size: int | None = None
    subject: Subject | None = None
    damaged: bool = False

    @property
    def key(self) -> str:
        """What tells the subject of this row from all others ("" if it has none)."""
        return "" if self.subject is None else subject_key(self.subject)


def subject_key(subject: Subject) -> str:
    """What tells a subject from all others of its root; its cut doesn't count."""
    if subject.container is not None:
        return f"container:{subject.container.id}"
    assert subject.image is not None
    return f"image:{subject.image.id}"


def entity_rows(containers: Sequence[ContainerUsage], images: Sequence[ImageUsage]) -> list[EntityRow]:
    """Containers, images, and intermediate images, in the order given, each group below its heading."""
    groups = (
        ("CONTAINERS", [_container_row(usage) for usage in containers]),
        ("IMAGES", [_image_row(usage) for usage in images if not usage.intermediate]),
        ("INTERMEDIATE", [_image_row(usage) for usage in images if usage.intermediate]),
    )
    rows: list[EntityRow] = []
    for heading, group in groups:
        if group:
            rows += [EntityRow("gap")] if rows else []
            rows += [EntityRow("heading", heading, f"{len(group):,}"), *group]
    return rows


def _container_row(usage: ContainerUsage) -> EntityRow:
    container = usage.container
    return EntityRow(
        "container",
        container.name or container.id[:12],
        container.image or (hex_of(container.image_id)[:12] if container.image_id else ""),
        dot_of(container.state),
        usage.size_rw,
        Subject(None, container),
        bool(container.problems),
    )


def _image_row(usage: ImageUsage) -> EntityRow:
    image = usage.image
    count = len(image.chain_ids)
    layers = "1 layer" if count == 1 else f"{count} layers"
    if image.repo_tags:
        more = len(image.repo_tags) - 1
        name, note = image.repo_tags[0], f"{layers}, {more + 1} names" if more else layers
    elif image.repo_digests:
        name, note = image.repo_digests[0].partition("@")[0], layers
    else:
        name, note = hex_of(image.id)[:12], layers
    dot = "dangling" if usage.dangling else "image"
    return EntityRow("image", name, note, dot, image.size, Subject(image, None), image.broken)


def first_subject(rows: Iterable[EntityRow]) -> int:
    """The row to begin with: the first that has a subject (0 if none has)."""
    return next((index for index, row in enumerate(rows) if row.subject is not None), 0)
