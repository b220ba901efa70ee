"""The images of an archive: their configs joined with the layers that are there.

A layer's size isn't recorded anywhere, so it is unknown until somebody reads the tar through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from layerscope.formats.reference import familiar_name, parse_reference
from layerscope.model.digest import CacheID, ChainID, ImageID, digest_of, is_hex64
from layerscope.model.image import Image, Layer
from layerscope.model.problem import Problem, Severity
from layerscope.stores.archive.archive import Archive
from layerscope.stores.archive.described import Described, id_in_name
from layerscope.stores.archive.members import clean
from layerscope.stores.moment import nanoseconds, sound_time
from layerscope.stores.records.files import Fault, fault_of, unique
from layerscope.stores.records.history import join_history
from layerscope.stores.records.image_config import ConfigRecord, ImageConfig, config_record
from layerscope.stores.records.json_record import LIMIT

_REFUSED = "docker load refuses the archive"


class ArchivedImage(Struct, frozen=True):
    """An image, and its layers (base first) by their cache IDs."""

    image: Image
    cache_ids: tuple[CacheID, ...]
    described: tuple[Described, ...]


class ArchivedImages(Struct, frozen=True):
    """All images and their layers. ``members``: where each layer's tar lies, or should; ``missing``: why it doesn't."""

    images: tuple[ArchivedImage, ...]
    layers: Mapping[ChainID, Layer]
    members: Mapping[CacheID, str]
    missing: Mapping[CacheID, str]


class _Reading:
    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.layers: dict[ChainID, Layer] = {}
        self.members: dict[CacheID, str] = {}
        self.missing: dict[CacheID, str] = {}

    def layer(self, name: str) -> CacheID:
        """The cache ID of the layer whose tar an image calls ``name``."""
        try:
            return self._known_as(self.archive.members.find(name).name)
        except OSError as error:
            cache_id = self._known_as(clean(name))
            fault = fault_of(error)
            self.missing[cache_id] = "is missing: the tar of a layer" if fault.absent else fault.what
            return cache_id

    def _known_as(self, member: str) -> CacheID:
        """The digest or ID in the member's name, where no other has it, too; else the name."""
        parts = (part.removesuffix(".tar") for part in reversed(member.split("/")))
        cache_id = CacheID(next((part for part in parts if is_hex64(part)), member))
        if self.members.setdefault(cache_id, member) != member:
            cache_id = CacheID(member)
            self.members[cache_id] = member
        return cache_id


def read_images(archive: Archive, described: Iterable[Described]) -> ArchivedImages:
    """The described images, newest first, then by ID; descriptions of one image are joined."""
    reading = _Reading(archive)
    found: dict[ImageID, ArchivedImage] = {}
    for one in described:
        read = _read(one, reading)
        known = found.get(read.image.id)
        found[read.image.id] = read if known is None else _joined(known, read)
    images = sorted(found.values(), key=lambda one: (-(nanoseconds(one.image.created) or 0), one.image.id))
    return ArchivedImages(tuple(images), reading.layers, reading.members, reading.missing)


def _joined(known: ArchivedImage, again: ArchivedImage) -> ArchivedImage:
    tags = tuple(dict.fromkeys((*known.image.repo_tags, *again.image.repo_tags)))
    return replace(known, image=replace(known.image, repo_tags=tags), described=(*known.described, *again.described))


def _read(one: Described, reading: _Reading) -> ArchivedImage:
    path = clean(one.config)
    data = reading.archive.read(one.config, LIMIT)
    named = id_in_name(one.config)
    # docker takes the digest of the bytes that are there.
    computed = ImageID(digest_of(data if isinstance(data, bytes) else one.config.encode("utf-8", "surrogateescape")))
    record = _config(computed if isinstance(data, bytes) else named or computed, path, data)
    problems = list(record.problems)
    if isinstance(data, bytes) and named not in (None, computed):
        what = f"was changed: its digest is {computed}, not its name"
        problems.append(Problem(path, what, "what it says now is shown", severity=Severity.WARNING))
    cache_ids = tuple(reading.layer(layer) for layer in one.layers)
    if record.raw and len(cache_ids) != len(record.diff_ids):
        what = f"names {len(record.diff_ids)} layers, but the archive has {len(cache_ids)} for this image"
        problems.append(Problem(path, what, _REFUSED))
    _add_layers(record, cache_ids, reading)
    history = join_history(record, reading.layers, problems)
    config = record.config
    image = Image(
        id=record.id,
        repo_tags=tuple(dict.fromkeys(_familiar(name) for name in one.names)),
        repo_digests=(),
        parent=one.parent,
        created=sound_time(config.created),
        architecture=config.architecture or "",
        os=config.os or "linux",
        author=config.author or "",
        diff_ids=record.diff_ids,
        chain_ids=record.chain_ids,
        history=history,
        size=None if cache_ids else 0,
        config=record.raw,
        problems=unique(problems),
    )
    return ArchivedImage(image, cache_ids, (one,))


def _familiar(name: str) -> str:
    """A name as docker shows it after loading; what is a tag alone stays so."""
    parts = parse_reference(name) if ":" in name or "/" in name else None
    if parts is None or parts[1] is None or parts[2] is not None:
        return name
    return f"{familiar_name(parts[0])}:{parts[1]}"


def _config(image: ImageID, path: str, data: bytes | Fault) -> ConfigRecord:
    if isinstance(data, Fault):
        problem = data.problem(path, "the image's history and configuration can't be shown")
        return ConfigRecord(image, path, ImageConfig(), {}, (), (), problems=(problem,))
    record = config_record(image, path, data)
    return replace(record, problems=tuple(replace(problem, effect=_REFUSED) for problem in record.problems))


def _add_layers(record: ConfigRecord, cache_ids: tuple[CacheID, ...], reading: _Reading) -> None:
    parent: ChainID | None = None
    for chain, diff_id, cache_id in zip(record.chain_ids, record.diff_ids, cache_ids, strict=False):
        why, member = reading.missing.get(cache_id), reading.members[cache_id]
        problems = () if why is None else (Problem(member, why, "the files of this layer can't be shown"),)
        layer = Layer(chain, diff_id, parent, cache_id, None, member, problems)
        known = reading.layers.get(chain)
        if known is None or (known.problems and not problems):
            reading.layers[chain] = layer
        parent = chain
