"""Images: ``<driver>-images/images.json``, each joined with its configuration and its layers.

| field | content |
| --- | --- |
| `id` | 64 digits: the digest of the configuration; of a list of manifests, that of the list |
| `digest` | of the manifest |
| `names`, `names-history` | references in full, those that it has and those that it had |
| `layer` | ID of the top layer; absent for an image without layers |
| `mapped-layers` | copies of the top layer whose owners are shifted |
| `big-data-names`, `-sizes`, `-digests` | configuration (``sha256:<id>``), ``manifest``, ``manifest-<digest>`` … |
| `created` | the time in the configuration |

The bytes of an image are those of its layers' tars and of its items, so a manifest counts twice. Which image came from
which isn't recorded: one that has all of another's layers, and its history with one row more, is taken for its child.
Source: containers/storage images.go, store.go ``ImageSize``; containers/common libimage layer_tree.go, oci.go; seen
with podman 4.3 and 5.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, ChainID, DiffID, ImageID, chain_ids, digest_of, is_digest, is_hex64
from layerscope.model.image import HistoryRow, Image
from layerscope.model.problem import Problem, Severity
from layerscope.stores.moment import nanoseconds, sound_time
from layerscope.stores.podman.big_data import file_name, read_item
from layerscope.stores.podman.layers import Layers, StoredLayer
from layerscope.stores.podman.lineage import find_parents
from layerscope.stores.podman.record_list import HasID, Listed, RecordList, read_list
from layerscope.stores.records.files import Fault, shown, unique
from layerscope.stores.records.image_config import HistoryEntry, ImageConfig
from layerscope.stores.records.json_record import parse

_UNREADABLE = "its history, and what it runs, are unknown"
_NO_ENTRY = HistoryEntry()
_MOST_NAMED = 1000
"""Diff IDs of one configuration that are looked at; containers/storage mounts at most 500 layers."""


class ImageFields(HasID, rename="kebab"):
    """The fields that are read."""

    digest: str | None = None
    names: list[str | None] | None = None
    names_history: list[str | None] | None = None
    layer: str | None = None
    mapped_layers: list[str | None] | None = None
    big_data_names: list[str | None] | None = None
    big_data_sizes: dict[str, int] | None = None
    big_data_digests: dict[str, str] | None = None
    created: str | None = None


class StoredImage(Struct, frozen=True):
    """An image with what only this store tells of it.

    ``layers`` are its stack, base first, as far as there are records; ``counted`` those and its shifted copies, each
    once; ``item_bytes`` the sum of its items; ``raw`` the whole record; ``folder`` holds its items.
    """

    image: Image
    layers: tuple[StoredLayer, ...]
    counted: tuple[StoredLayer, ...]
    item_bytes: int
    raw: Mapping[str, Any]
    is_list: bool
    folder: Directory


def read_image_list(folder: Directory) -> RecordList[ImageFields]:
    """The records of all images; ``folder`` is ``<driver>-images``."""
    return read_list(folder, "images", ImageFields, "images are missing")


def join_images(lists: Iterable[tuple[Directory, RecordList[ImageFields]]], layers: Layers) -> tuple[StoredImage, ...]:
    """All images, newest first, then by ID. Of two records with one ID in ``lists`` (with folders) the first counts."""
    records: dict[str, tuple[Directory, Listed[ImageFields]]] = {}
    for folder, listed in lists:
        for key, record in listed.records.items():
            records.setdefault(key, (folder, record))
    found = [_join(folder, record, layers) for folder, record in records.values()]
    parents = find_parents([one.image for one in found], {one.image.id: _top(one) for one in found}, layers)
    joined = [replace(one, image=replace(one.image, parent=parents.get(one.image.id))) for one in found]
    return tuple(sorted(joined, key=lambda one: (-(nanoseconds(one.image.created) or 0), one.image.id)))


def _top(one: StoredImage) -> CacheID | None:
    return one.layers[-1].id if one.layers else None


def _join(folder: Directory, record: Listed[ImageFields], layers: Layers) -> StoredImage:
    fields = record.fields
    problems = record.problems("image", "parts of what is shown may be missing")
    top = _layer_id(fields.layer, record, problems)
    stack = layers.chain(top)
    missing = layers.missing_below(top)
    if missing is not None:
        what = f"image {record.id[:12]} stands on the layer {missing}, which has no record"
        problems.append(Problem(record.path, what, "podman can't use it; the levels above are shown"))
    problems.extend(problem for layer in stack for problem in layer.problems if problem.severity == Severity.ERROR)
    for layer in stack:
        if layer.incomplete:
            what = f"layer {layer.id[:12]} is marked as incomplete: its writing was interrupted"
            problems.append(Problem(layer.path, what, "podman removes it; its files may be in part"))
    is_list, config, raw = _configuration(folder, record, problems)
    diff_ids = _diff_ids(config, record, stack, missing, problems)
    whole = missing is None and len(stack) == len(diff_ids)
    chain = tuple(layer.chain_id for layer in stack) if whole else chain_ids(diff_ids)
    counted = _counted(top, fields, record, layers, problems)
    item_bytes = sum((fields.big_data_sizes or {}).values())
    unknown = missing is not None or any(layer.size is None for layer in counted)
    size = None if unknown else item_bytes + sum(layer.size or 0 for layer in counted)
    created = fields.created if nanoseconds(fields.created) is not None else config.created
    tags, digests = _names(fields)
    image = Image(
        id=ImageID(f"sha256:{record.id}"),
        repo_tags=tags,
        repo_digests=digests,
        parent=None,
        created=sound_time(created),
        architecture=config.architecture or "",
        os=config.os or ("" if is_list else "linux"),
        author=config.author or "",
        diff_ids=diff_ids,
        chain_ids=chain,
        history=_history(config, diff_ids, chain, stack if whole else (), record, problems),
        size=size,
        config=raw,
        problems=unique(problems),
    )
    return StoredImage(image, stack, counted, item_bytes, record.raw, is_list, folder.enter(record.id))


def _layer_id(text: str | None, record: Listed[ImageFields], problems: list[Problem]) -> CacheID | None:
    if not text:
        return None
    if is_hex64(text):
        return CacheID(text)
    what = f"image {record.id[:12]} has the layer {shown(text)}, expected 64 hexadecimal digits"
    problems.append(Problem(record.path, what, "its files are not shown"))
    return None


def _counted(
    top: CacheID | None, fields: ImageFields, record: Listed[ImageFields], layers: Layers, problems: list[Problem]
) -> tuple[StoredLayer, ...]:
    """The layers that count for its size, each once: its stack, and those of its shifted copies."""
    found = {layer.id: layer for layer in layers.chain(top)}
    for text in fields.mapped_layers or ():
        copy = _layer_id(text, record, problems)
        found.update({layer.id: layer for layer in layers.chain(copy)})
    return tuple(found.values())


# ---------------------------------------------------------------------- configuration
def _configuration(
    folder: Directory, record: Listed[ImageFields], problems: list[Problem]
) -> tuple[bool, ImageConfig, dict[str, Any]]:
    """Whether it is a list of manifests, its configuration, and the whole of that."""
    own = folder.enter(record.id)
    key = f"sha256:{record.id}"
    path = f"{own.path}/{file_name(key)}"
    if key not in (record.fields.big_data_names or ()) and "manifest" in (record.fields.big_data_names or ()):
        manifest = read_item(own, "manifest")
        if isinstance(manifest, bytes) and isinstance(parse(manifest, HasID).raw.get("manifests"), list):
            return True, ImageConfig(), {}
    data = read_item(own, key)
    if isinstance(data, Fault):
        problems.append(data.problem(path, f"the configuration of image {record.id[:12]}: {_UNREADABLE}"))
        return False, ImageConfig(), {}
    parsed = parse(data, ImageConfig)
    if parsed.faults:
        problems.append(Problem(path, parsed.what, _UNREADABLE if not parsed.raw else ""))
    if digest_of(data) != key:
        what = f"was changed: its digest is {digest_of(data)}, expected {key}"
        problems.append(Problem(path, what, "podman refuses the image"))
    if "manifest" not in (record.fields.big_data_names or ()):
        what = f"image {record.id[:12]} has no manifest: its making was interrupted"
        hint = f"podman rmi {record.id[:12]}"
        problems.append(Problem(record.path, what, "podman images fails as long as it is there", hint))
    return False, parsed.typed, parsed.raw


def _diff_ids(
    config: ImageConfig,
    record: Listed[ImageFields],
    stack: tuple[StoredLayer, ...],
    missing: CacheID | None,
    problems: list[Problem],
) -> tuple[DiffID, ...]:
    """As the configuration has them; where it can't be read, or has another number of them, as the layers have them.

    Those of layers that were pulled in parts are known from the configuration only.
    """
    named = (config.rootfs.diff_ids if config.rootfs else None) or []
    valid = [DiffID(text) for text in named[:_MOST_NAMED] if is_digest(text)]
    recorded = [layer.diff_id for layer in stack]
    if missing is not None and len(valid) == len(named) and len(valid) > len(stack):
        return tuple(valid)
    if len(valid) == len(named) == len(stack):
        for number, (told, own) in enumerate(zip(valid, recorded, strict=True), 1):
            if own is not None and told != own:
                what = f"image {record.id[:12]}: layer {number} has the diff ID {own}, its configuration says {told}"
                problems.append(Problem(record.path, what, severity=Severity.WARNING))
        return tuple(valid)
    if config.rootfs is not None:
        what = f"image {record.id[:12]} has {len(stack)} layers, its configuration names {len(named)}"
        problems.append(Problem(record.path, what, "what is recorded of its layers is shown"))
    return tuple(own or DiffID(layer.chain_id) for own, layer in zip(recorded, stack, strict=True))


def _history(
    config: ImageConfig,
    diff_ids: tuple[DiffID, ...],
    chain: tuple[ChainID, ...],
    stack: tuple[StoredLayer, ...],
    record: Listed[ImageFields],
    problems: list[Problem],
) -> tuple[HistoryRow, ...]:
    """Oldest first. Each row that isn't empty takes the next layer; layers without a row get a bare one at the end.

    podman counts from the newest row and the top layer on, so where there are fewer rows than layers the lowest layers
    have none: those rows are made up, too.
    """
    entries = [entry or _NO_ENTRY for entry in config.history or ()]
    filled = sum(not entry.empty_layer for entry in entries)
    if filled > len(chain) and not problems:
        what = f"image {record.id[:12]} has {filled} history rows with a layer, but {len(chain)} layers"
        problems.append(Problem(record.path, what, "podman history fails on it", severity=Severity.WARNING))
    entries = [_NO_ENTRY] * (len(chain) - filled) + entries
    rows: list[HistoryRow] = []
    taken = 0
    for entry in entries:
        has_layer = not entry.empty_layer and taken < len(chain)
        layer = stack[taken] if has_layer and stack else None
        taken += has_layer
        rows.append(
            HistoryRow(
                created=sound_time(entry.created),
                created_by=entry.created_by or "",
                comment=entry.comment or "",
                author=entry.author or "",
                empty_layer=bool(entry.empty_layer),
                size=0 if entry.empty_layer else layer.size if layer else None,
                level=taken if has_layer else None,
                diff_id=diff_ids[taken - 1] if has_layer else None,
                chain_id=chain[taken - 1] if has_layer else None,
                cache_id=layer.id if layer else None,
            )
        )
    return tuple(rows)


# ---------------------------------------------------------------------- names
def _names(fields: ImageFields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """References with a tag, in their order, and with a digest: each repository with each manifest's digest."""
    names = [name for name in fields.names or () if name]
    tags = tuple(name for name in names if "@" not in name and ":" in name.rpartition("/")[2])
    items = fields.big_data_digests or {}
    found = [fields.digest, *(digest for key, digest in items.items() if key.startswith("manifest"))]
    digests = [digest for digest in dict.fromkeys(found) if digest and is_digest(digest)]
    canonical = {f"{_repository(name)}@{digest}" for name in names for digest in digests}
    return tags, tuple(sorted(canonical))


def _repository(name: str) -> str:
    plain = name.partition("@")[0]
    folder, slash, last = plain.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"
