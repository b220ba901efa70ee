"""Image configs: ``image/<driver>/imagedb/content/sha256/<hex>`` and the links in ``imagedb/metadata``.

The image ID is the SHA-256 of the config's bytes and the file's name; docker compares the two at each read and hides an
image where they differ, where ``rootfs`` is missing, or whose layers aren't all there. ``metadata/sha256/<hex>/parent``
names the image that a commit or a build step started from; other images have none.
Source: moby image/fs.go, image/store.go, image/image.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.digest import ChainID, DiffID, ImageID, chain_ids, digest_of, hex_of, is_digest, is_hex64
from layerscope.model.problem import Problem, Severity
from layerscope.stores.docker.json_record import LIMIT, parse
from layerscope.stores.docker.record import MISSING, Fault, list_directory, read_bytes, read_line, shown
from layerscope.stores.moment import nanoseconds

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


def read_configs(imagedb: Directory, path: str) -> tuple[dict[ImageID, ConfigRecord], tuple[Problem, ...]]:
    """All configs below ``imagedb`` (its path below the root is ``path``) by image ID, and what else lies there."""
    content = imagedb.enter("content").enter("sha256")
    entries = list_directory(content)
    if isinstance(entries, Fault):
        return {}, () if entries.absent else (entries.problem(f"{path}/content/sha256", "no image can be read"),)
    records: dict[ImageID, ConfigRecord] = {}
    problems: list[Problem] = []
    misnamed: list[ConfigRecord] = []
    for name, _kind in entries:
        place = f"{path}/content/sha256/{name}"
        if name.startswith(".tmp-"):
            what = "is a config that is being written, or whose writing was interrupted"
            problems.append(Problem(place, what, severity=Severity.NOTE))
            continue
        data = read_bytes(content, name, LIMIT)
        if data == MISSING:
            continue
        if is_hex64(name):
            image = ImageID(f"sha256:{name}")
            records[image] = config_record(image, place, data)
        elif isinstance(data, bytes):
            misnamed.append(config_record(ImageID(digest_of(data)), place, data))
        else:
            problems.append(data.problem(place, severity=Severity.WARNING))
    for record in misnamed:
        what = f"is no image ID; the bytes are those of {record.id}"
        wrong_name = Problem(record.path, what, "docker skips this file", severity=Severity.ERROR)
        if record.id in records or not record.raw:
            problems.append(replace(wrong_name, severity=Severity.WARNING))
        else:
            records[record.id] = replace(record, problems=(wrong_name, *record.problems))
    problems.extend(_link_parents(records, imagedb.enter("metadata").enter("sha256"), f"{path}/metadata/sha256"))
    return records, tuple(problems)


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


def _link_parents(records: dict[ImageID, ConfigRecord], metadata: Directory, path: str) -> Iterator[Problem]:
    """Put the recorded parents on ``records``; links that lead back to where they began are cut."""
    entries = list_directory(metadata)
    if isinstance(entries, Fault):
        if not entries.absent:
            yield entries.problem(path, "which image came from which is unknown", severity=Severity.WARNING)
        return
    for name, kind in entries:
        image = ImageID(f"sha256:{name}")
        if image not in records:
            if kind == "d":
                yield Problem(f"{path}/{name}", "belongs to no image", severity=Severity.NOTE)
            continue
        text = read_line(metadata.enter(name), "parent")
        if isinstance(text, str) and is_digest(text.strip()):
            records[image] = replace(records[image], parent=ImageID(text.strip()))
        elif text != MISSING:
            fault = text if isinstance(text, Fault) else Fault(f"holds {shown(text)}, expected sha256:<64 digits>")
            effect = "what it was made from is unknown"
            problem = fault.problem(f"{path}/{name}/parent", effect, severity=Severity.WARNING)
            records[image] = replace(records[image], problems=(*records[image].problems, problem))
    for image in _in_circles(records):
        what = "names a parent that comes from this image itself"
        problem = Problem(f"{path}/{hex_of(image)}/parent", what, "the link is not followed", "", Severity.WARNING)
        record = records[image]
        records[image] = replace(record, parent=None, problems=(*record.problems, problem))


def _in_circles(records: dict[ImageID, ConfigRecord]) -> list[ImageID]:
    """The images whose parents lead back to themselves; each is passed a bounded number of times."""
    circles: list[ImageID] = []
    done: set[ImageID] = set()
    for start in records:
        trail: dict[ImageID, None] = {}
        image: ImageID | None = start
        while image is not None and image in records and image not in done and image not in trail:
            trail[image] = None
            image = records[image].parent
        if image is not None and image in trail:
            walked = list(trail)
            circles.extend(walked[walked.index(image) :])
        done.update(trail)
    return circles
