"""Images: configs, names and layers joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from layerscope.model.digest import ChainID, ImageID, hex_of
from layerscope.model.image import HistoryRow, Image, Layer
from layerscope.model.problem import Problem, Severity
from layerscope.stores.docker.layers import Facts
from layerscope.stores.docker.references import References
from layerscope.stores.moment import nanoseconds, sound_time
from layerscope.stores.records.files import unique
from layerscope.stores.records.history import join_history
from layerscope.stores.records.image_config import HIDDEN, ConfigRecord, ImageConfig


def layer_facts(records: Iterable[ConfigRecord]) -> Facts:
    """What the configs say of each chain ID they name: its parent and its diff ID."""
    facts = {}
    for record in records:
        parent: ChainID | None = None
        for chain, diff_id in zip(record.chain_ids, record.diff_ids, strict=True):
            facts[chain] = (parent, diff_id)
            parent = chain
    return facts


def join_images(
    records: Mapping[ImageID, ConfigRecord], references: References, layers: Mapping[ChainID, Layer], path: str
) -> tuple[Image, ...]:
    """All images, newest first, then by ID; those that only a name speaks of are among them, broken.

    ``path`` is that of the driver's records below the root.
    """
    images = [_join(record, references, layers, path) for record in records.values()]
    images.extend(_missing(image, references, path) for image in references.images() - set(records))
    return tuple(sorted(images, key=lambda image: (-(nanoseconds(image.created) or 0), image.id)))


def _missing(image: ImageID, references: References, path: str) -> Image:
    names = ", ".join(references.names_of(image))
    what = f"is missing, though it has a name: {names}"
    place = f"{path}/imagedb/content/sha256/{hex_of(image)}"
    problem = Problem(place, what, "docker hides the name", "the name stays until it is given to another image")
    return _image(ConfigRecord(image, place, ImageConfig(), {}, (), ()), references, (), None, (problem,))


def _join(record: ConfigRecord, references: References, layers: Mapping[ChainID, Layer], path: str) -> Image:
    problems = list(record.problems)
    size: int | None = 0
    for chain in record.chain_ids:
        layer = layers.get(chain)
        if layer is None:
            place = f"{path}/layerdb/sha256/{hex_of(chain)}"
            problems.append(
                Problem(place, "is missing: the record of a layer", f"{HIDDEN}; the levels below are shown")
            )
        elif layer.problems:
            problems.extend(problem for problem in layer.problems if problem.severity == Severity.ERROR)
        size = None if size is None or layer is None or layer.size is None else size + layer.size
    if len(record.chain_ids) < len((record.config.rootfs.diff_ids if record.config.rootfs else None) or ()):
        size = None
    if record.config.rootfs is None:
        size = None
    history = join_history(record, layers, problems)
    return _image(record, references, history, size, unique(problems))


def _image(
    record: ConfigRecord,
    references: References,
    history: tuple[HistoryRow, ...],
    size: int | None,
    problems: tuple[Problem, ...],
) -> Image:
    config = record.config
    return Image(
        id=record.id,
        repo_tags=references.tags.get(record.id, ()),
        repo_digests=references.digests.get(record.id, ()),
        parent=record.parent,
        created=sound_time(config.created),
        architecture=config.architecture or "",
        os=config.os or "linux",
        author=config.author or "",
        diff_ids=record.diff_ids,
        chain_ids=record.chain_ids,
        history=history,
        size=size,
        config=record.raw,
        problems=problems,
    )
