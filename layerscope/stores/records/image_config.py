"""Image configs, as every engine keeps them: JSON whose SHA-256 is the image ID of the graph drivers.

docker hides an image whose config has another digest than its name, or no ``rootfs``, or layers that aren't all there.
Source: OCI image spec, config.md; moby image/image.go, image/store.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from layerscope.model.digest import ChainID, DiffID, ImageID, chain_ids, digest_of, is_digest
from layerscope.model.problem import Problem, Severity
from layerscope.stores.moment import nanoseconds
from layerscope.stores.records.files import Fault, shown
from layerscope.stores.records.json_record import parse

HIDDEN = "docker hides this image"
_MOST_LAYERS = 1000
"""docker makes chains of at most 125 layers; what a config names beyond this is not looked at."""


class HistoryEntry(msgspec.Struct):
    """One row of ``history``."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class RootFilesystem(msgspec.Struct):
    """``rootfs``: the diff IDs, base first. Each is looked at by itself."""

    diff_ids: list[Any] | None = None


class ImageConfig(msgspec.Struct):
    """The fields of a config that are read; the whole is kept beside it."""

    created: str | None = None
    author: str | None = None
    architecture: str | None = None
    os: str | None = None
    docker_version: str | None = None
    rootfs: RootFilesystem | None = None
    history: list[HistoryEntry | None] | None = None


class ConfigRecord(Struct, frozen=True):
    """One config and its parent. ``diff_ids`` end before the first that isn't one. ``path`` is the file's."""

    id: ImageID
    path: str
    config: ImageConfig
    raw: dict[str, Any]
    diff_ids: tuple[DiffID, ...]
    chain_ids: tuple[ChainID, ...]
    parent: ImageID | None = None
    problems: tuple[Problem, ...] = ()


def config_record(image: ImageID, path: str, data: bytes | Fault) -> ConfigRecord:
    """The config that lies at ``path``, as far as it can be read; it should have the digest ``image``."""
    if isinstance(data, Fault):
        return ConfigRecord(image, path, ImageConfig(), {}, (), (), problems=(data.problem(path, HIDDEN),))
    problems: list[Problem] = []
    record = parse(data, ImageConfig)
    config = record.typed
    computed = digest_of(data)
    if record.faults:
        severity = Severity.ERROR if record.refused else Severity.WARNING
        problems.append(Problem(path, record.what, HIDDEN if record.refused else "", severity=severity))
    if computed != image:
        problems.append(Problem(path, f"was changed: its digest is {computed}, expected {image}", HIDDEN))
    if config.rootfs is None and not (record.refused and not record.raw):
        problems.append(Problem(path, "has no rootfs, so names no layers", HIDDEN))
    diff_ids = tuple(_valid_diff_ids(config, path, problems))
    for place, time in _times(config):
        if time is not None and nanoseconds(time) is None:
            problems.append(Problem(path, f"has {shown(time)} for {place}, expected an RFC 3339 time", HIDDEN))
            break
    return ConfigRecord(image, path, config, record.raw, diff_ids, chain_ids(diff_ids), problems=tuple(problems))


def _times(config: ImageConfig) -> Iterator[tuple[str, str | None]]:
    yield "created", config.created
    for number, entry in enumerate(config.history or (), 1):
        if entry is not None:
            yield f"created of history row {number}", entry.created


def _valid_diff_ids(config: ImageConfig, path: str, problems: list[Problem]) -> Iterator[DiffID]:
    diff_ids = (config.rootfs.diff_ids if config.rootfs else None) or ()
    for number, diff_id in enumerate(diff_ids, 1):
        if not is_digest(diff_id):
            what = f"has {shown(diff_id)} for the diff ID of layer {number}, expected sha256:<64 digits>"
            problems.append(Problem(path, what, f"{HIDDEN}; the layers below are shown"))
            return
        if number > _MOST_LAYERS:
            what = f"names {len(diff_ids)} layers, docker makes at most 125"
            problems.append(Problem(path, what, f"the first {_MOST_LAYERS} are shown"))
            return
        yield DiffID(diff_id)
