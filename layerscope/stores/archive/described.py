"""What an archive says that it holds: for each image the file of its config, the files of its layers, its names.

``manifest.json`` (docker save) counts before ``index.json`` (OCI layout) where there are both, as for docker.

| file | content |
| --- | --- |
| ``manifest.json`` | ``[{"Config": name, "RepoTags": [reference …] or null, "Layers": [name …], "Parent": ID}]`` |
| ``index.json`` | an OCI index: ``{"manifests": [descriptor …]}`` |
| ``blobs/sha256/<hex>`` | an index, a manifest, a config, or a layer |

An OCI name is the annotation ``io.containerd.image.name``, else ``org.opencontainers.image.ref.name``, which may be a
tag alone. Sources: docker image spec v1.2; OCI image-layout.md, image-index.md, annotations.md.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from layerscope.model.digest import ImageID, is_digest
from layerscope.model.problem import Problem, Severity
from layerscope.stores.archive.archive import Archive
from layerscope.stores.oci.content import Content
from layerscope.stores.oci.manifest import Descriptor, Document, ManifestContent
from layerscope.stores.records.files import Fault, shown
from layerscope.stores.records.json_record import parse

SAVED, INDEX = "manifest.json", "index.json"
BLOBS = "blobs"
_LIMIT = 16 << 20
_MOST_IMAGES = 1000
_MOST_LAYERS = 1000
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Described(Struct, frozen=True):
    """One image as the archive describes it. ``layers`` base first; ``manifest`` is the digest of an OCI manifest."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]
    parent: ImageID | None = None
    manifest: str = ""
    platform: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


class _Saved(msgspec.Struct, rename="pascal"):
    """One image of ``manifest.json``."""

    config: str | None = None
    repo_tags: list[str | None] | None = None
    layers: list[str | None] | None = None
    parent: str | None = None


class _List(msgspec.Struct):
    """A list, put into an object so that it is read as other records are."""

    images: list[_Saved | None] | None = None


def described(archive: Archive, problems: list[Problem]) -> list[Described] | None:
    """The images of an archive, in its order; None where nothing describes any. What is wrong goes to ``problems``."""
    faults: list[Problem] = []
    found = _saved(archive, faults)
    if found is None:
        found = _laid_out(archive, faults)
    problems.extend(faults)
    return found


# ---------------------------------------------------------------------- docker save
def _saved(archive: Archive, problems: list[Problem]) -> list[Described] | None:
    data = archive.read(SAVED, _LIMIT)
    if isinstance(data, Fault):
        if not data.absent:
            problems.append(data.problem(SAVED, "names of images may be unknown"))
        return None
    told = parse(b'{"images":' + data + b"}", _List)
    if told.faults:
        problems.append(Problem(SAVED, told.what, "names of images may be unknown"))
    if told.typed.images is None:
        return None
    raw = told.raw.get("images")
    found = []
    for number, (entry, record) in enumerate(zip(told.typed.images, raw or (), strict=False), 1):
        if number > _MOST_IMAGES:
            problems.append(Problem(SAVED, f"names more than {_MOST_IMAGES} images", "the others are not shown"))
            break
        if entry is None or not entry.config:
            problems.append(Problem(SAVED, f"image {number} has no config", "it is not shown"))
            continue
        layers = (entry.layers or [])[:_MOST_LAYERS]
        found.append(
            Described(
                entry.config,
                tuple(layer or "" for layer in layers),
                tuple(name for name in entry.repo_tags or () if name),
                ImageID(entry.parent) if is_digest(entry.parent) and entry.parent else None,
                record=record if isinstance(record, dict) else {},
            )
        )
    return found


# ---------------------------------------------------------------------- OCI layout
class ArchivedBlobs:
    """The blobs of an archive, for who reads indexes and manifests."""

    path = BLOBS

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def names(self, algorithm: str) -> list[str] | Fault:
        """The blobs of one algorithm."""
        return self._archive.members.names(f"{BLOBS}/{algorithm}")

    def read(self, algorithm: str, name: str) -> bytes | Fault:
        """All bytes of a small one."""
        return self._archive.read(f"{BLOBS}/{algorithm}/{name}", _LIMIT)


def _laid_out(archive: Archive, problems: list[Problem]) -> list[Described] | None:
    data = archive.read(INDEX, _LIMIT)
    if isinstance(data, Fault):
        if not data.absent:
            problems.append(data.problem(INDEX, "names of images may be unknown"))
        return None
    told = parse(data, Document)
    if told.faults:
        problems.append(Problem(INDEX, told.what, "names of images may be unknown"))
    if told.typed.manifests is None:
        return None
    content = Content(ArchivedBlobs(archive), None)
    found: list[Described] = []
    for target in told.typed.manifests[:_MOST_IMAGES]:
        if target is not None:
            found.extend(images_of(target, content, problems))
    problems.extend(content.problems)
    return found


def images_of(target: Descriptor, content: Content, problems: list[Problem]) -> Iterator[Described]:
    """The images of one target, one for each platform that is here; this machine's, or the first, has the name."""
    manifests = [one for one in content.manifests(target) if one.attests is None]
    here = [one for one in manifests if one.config is not None]
    for manifest in manifests:
        if manifest not in here:
            _tell_absent(manifest, alone=len(manifests) == 1, content=content, problems=problems)
    machine = platform.machine()
    wanted = f"linux/{_MACHINES.get(machine, machine)}"
    chosen = next((one for one in here if one.platform.startswith(wanted)), here[0] if here else None)
    if not manifests and target.digest not in content.files:
        path = content.path_of(target.digest or "")
        problems.append(Problem(path, "is missing, and is what the index names", "this image can't be shown"))
    for manifest in here:
        assert manifest.config is not None
        yield Described(
            blob_name(manifest.config.digest),
            tuple(blob_name(layer.digest) for layer in manifest.layers),
            _names(target) if manifest is chosen else (),
            manifest=manifest.blob.digest,
            platform=manifest.platform,
        )


def _tell_absent(manifest: ManifestContent, *, alone: bool, content: Content, problems: list[Problem]) -> None:
    path = content.path_of(manifest.blob.digest)
    if alone or manifest.blob.digest in content.files:
        what = "names no config" if manifest.blob.digest in content.files else "is missing: the manifest of an image"
        problems.append(Problem(path, what, "this image can't be shown"))
    else:
        what = f"is not in the archive: the image for {shown(manifest.platform)}"
        problems.append(Problem(path, what, "only other platforms are shown", severity=Severity.NOTE))


def _names(target: Descriptor) -> tuple[str, ...]:
    notes = target.annotations or {}
    return tuple(dict.fromkeys(notes[key] for key in _NAMES if notes.get(key)))[:1]


def blob_name(digest: str) -> str:
    """Where a blob lies."""
    algorithm, _, name = digest.partition(":")
    return f"{BLOBS}/{algorithm}/{name}"


def id_in_name(config: str) -> ImageID | None:
    """The image ID that the name of a config says."""
    digest = f"sha256:{config.rpartition('/')[2].removesuffix('.json')}"
    return ImageID(digest) if is_digest(digest) else None
