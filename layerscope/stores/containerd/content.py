"""Blobs: ``io.containerd.content.v1.content/blobs/<algorithm>/<hex>``, one file each, named by the digest of its bytes.

An image's target is an index (a list of manifests, one for each platform) or a single manifest, which names a config
and layers. Most of them may be absent: platforms that were not wanted, content that was thrown away once unpacked.
Manifests that describe others ("attestations") are told by an annotation, or by the platform ``unknown``.

| state of a blob | means |
| --- | --- |
| present | the namespace has a record, and there is a file |
| absent | the namespace has no record: normal |
| lost | a record without a file: damage |

Source: OCI image spec, image-index.md and manifest.md; moby daemon/containerd/image_manifest.go; containerd
plugins/content/local; seen with docker 28 and 29.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.stores.containerd.metadata import BlobRecord
from layerscope.stores.docker.image_config import ImageConfig
from layerscope.stores.docker.json_record import LIMIT, Parsed, parse
from layerscope.stores.docker.record import Fault, list_directory, read_bytes, shown

FOLDER = "io.containerd.content.v1.content"
_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha384):([0-9a-f]{96})|(sha512):([0-9a-f]{128})")
_ALGORITHMS = ("sha256", "sha384", "sha512")
_INDEX = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_MANIFEST = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_ATTESTATION_TYPE = "vnd.docker.reference.type"
_ATTESTED = "vnd.docker.reference.digest"
_MOST_NESTED = 8
_MOST_MANIFESTS = 4096
_MOST_LAYERS = 4096


class Platform(msgspec.Struct):
    """``platform`` of a descriptor."""

    architecture: str | None = None
    os: str | None = None
    variant: str | None = None


class Descriptor(msgspec.Struct, rename="camel"):
    """One reference to a blob."""

    media_type: str | None = None
    digest: str | None = None
    size: int | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Document(msgspec.Struct, rename="camel"):
    """An index (``manifests``) or a manifest (``config``, ``layers``)."""

    media_type: str | None = None
    manifests: list[Descriptor | None] | None = None
    config: Descriptor | None = None
    layers: list[Descriptor | None] | None = None


class BlobState(StrEnum):
    """See the table above."""

    PRESENT = "present"
    ABSENT = "absent"
    LOST = "lost"


class Blob(Struct, frozen=True):
    """One reference, with what is known of its bytes. ``size`` is the recorded one, else the reference's."""

    digest: str
    media_type: str
    size: int
    state: BlobState


class ManifestContent(Struct, frozen=True):
    """One manifest of a target, with everything it names.

    ``platform`` is ``os/architecture[/variant]``, "" where nothing tells. ``attests``: the digest of the manifest that
    it describes ("" if that isn't told), None for an image's own. ``available``: manifest, config and layers are all
    present. ``parts``: the manifest, its config, its layers; without the manifest's own bytes only itself.
    """

    blob: Blob
    platform: str
    attests: str | None
    config: Blob | None
    layers: tuple[Blob, ...]

    @property
    def parts(self) -> tuple[Blob, ...]:
        """The manifest itself first, then its config, then the layers, base first."""
        return (self.blob, *((self.config,) if self.config else ()), *self.layers)

    @property
    def counted(self) -> tuple[Blob, ...]:
        """The parts that docker counts: those that the namespace has a record of, if it has one of the manifest."""
        if self.blob.state is BlobState.ABSENT:
            return ()
        return tuple(blob for blob in self.parts if blob.state is not BlobState.ABSENT)

    @property
    def available(self) -> bool:
        """Whether all of it is there."""
        return self.config is not None and all(blob.state is BlobState.PRESENT for blob in self.parts)


class BlobFiles(Protocol):
    """Where the bytes of blobs lie: ``<path>/<algorithm>/<hex>``, whatever holds them."""

    @property
    def path(self) -> str:
        """The folder of all blobs."""

    def names(self, algorithm: str) -> list[str] | Fault:
        """The files of one algorithm."""

    def read(self, algorithm: str, name: str) -> bytes | Fault:
        """All bytes of a small one."""


class BlobFolder:
    """The blobs in a folder."""

    def __init__(self, folder: Directory) -> None:
        self._folder = folder

    @property
    def path(self) -> str:
        """The folder's path."""
        return self._folder.path

    def names(self, algorithm: str) -> list[str] | Fault:
        """The files of one algorithm."""
        entries = list_directory(self._folder.enter(algorithm))
        return entries if isinstance(entries, Fault) else [name for name, kind in entries if kind == "f"]

    def read(self, algorithm: str, name: str) -> bytes | Fault:
        """All bytes of a small one."""
        return read_bytes(self._folder.enter(algorithm), name, LIMIT)


class Content:
    """The blobs of a containerd root as one namespace sees them, or those of an image layout.

    ``records`` are those of the namespace; None where there are none (lost, or never kept), then every file counts as
    present.
    """

    def __init__(self, blobs: BlobFiles, records: Mapping[str, BlobRecord] | None) -> None:
        self._blobs = blobs
        self._records = records
        self._documents: dict[str, Document] = {}
        self._configs: dict[str, Parsed[ImageConfig] | None] = {}
        self._faults: dict[str, list[Problem]] = {}
        self.files = self._list_files()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with anything that was read until now."""
        return tuple(problem for faults in self._faults.values() for problem in faults)

    def faults_of(self, digest: str) -> tuple[Problem, ...]:
        """What is wrong with the bytes of a blob that was read."""
        return tuple(self._faults.get(digest, ()))

    def _list_files(self) -> frozenset[str]:
        """The digests that have a file."""
        found: set[str] = set()
        for algorithm in _ALGORITHMS:
            names = self._blobs.names(algorithm)
            if isinstance(names, Fault):
                if not names.absent:
                    path = f"{self._blobs.path}/{algorithm}"
                    self._tell(algorithm, names.problem(path, "no blob of it can be read"))
                continue
            found.update(f"{algorithm}:{name}" for name in names)
        return frozenset(found)

    def _tell(self, about: str, problem: Problem) -> None:
        self._faults.setdefault(about, []).append(problem)

    @property
    def path(self) -> str:
        """The folder of all blobs."""
        return self._blobs.path

    def path_of(self, digest: str) -> str:
        """Where a blob lies, as problems tell it; the folder of all for what isn't a digest."""
        match = _DIGEST.fullmatch(digest)
        return f"{self._blobs.path}/{digest.replace(':', '/')}" if match else self._blobs.path

    def recorded_size(self, digest: str) -> int | None:
        """The bytes that a blob has by the namespace's record of it; None if nothing tells."""
        record = self._records.get(digest) if self._records is not None else None
        return None if record is None else record.size

    def state(self, digest: str) -> BlobState:
        """Whether a blob is there."""
        if self._records is None:
            return BlobState.PRESENT if digest in self.files else BlobState.ABSENT
        if digest not in self._records:
            return BlobState.ABSENT
        return BlobState.PRESENT if digest in self.files else BlobState.LOST

    def blob(self, descriptor: Descriptor | None) -> Blob | None:
        """What a reference leads to; None for one without a valid digest."""
        digest = descriptor.digest if descriptor else None
        if descriptor is None or digest is None or not _DIGEST.fullmatch(digest):
            return None
        recorded = self.recorded_size(digest)
        size = descriptor.size if recorded is None else recorded
        return Blob(digest, descriptor.media_type or "", max(size or 0, 0), self.state(digest))

    # ------------------------------------------------------------------ what blobs hold
    def bytes_of(self, digest: str) -> bytes | None:
        """The bytes of a small blob, whatever they are; None if they can't be had."""
        data = self._bytes_of(digest)
        return None if isinstance(data, Fault) else data

    def _bytes_of(self, digest: str) -> bytes | Fault:
        algorithm, _, name = digest.partition(":")
        return self._blobs.read(algorithm, name)

    def _read(self, digest: str) -> bytes | None:
        """The bytes of a small blob; None (told) if they can't be had."""
        algorithm, _, name = digest.partition(":")
        data = self._bytes_of(digest)
        path = self.path_of(digest)
        if isinstance(data, Fault):
            self._tell(digest, data.problem(path, "what it describes is unknown"))
            return None
        computed = hashlib.new(algorithm, data).hexdigest()
        if computed != name:
            what = f"was changed: its digest is {algorithm}:{computed}"
            self._tell(digest, Problem(path, what, "what it says now is shown"))
        return data

    def document(self, digest: str) -> Document:
        """The index or manifest ``digest``; an empty one where it can't be had."""
        if digest not in self._documents:
            document = Document()
            if self.state(digest) is BlobState.PRESENT:
                data = self._read(digest)
                document = self._parsed(digest, data).typed if data is not None else document
            self._documents[digest] = document
        return self._documents[digest]

    def _parsed(self, digest: str, data: bytes) -> Parsed[Document]:
        record = parse(data, Document)
        self._tell_faults(digest, record.faults, record.what, record.refused)
        return record

    def config(self, digest: str) -> Parsed[ImageConfig] | None:
        """The image config ``digest``, None where it can't be had."""
        if digest not in self._configs:
            record = None
            if self.state(digest) is BlobState.PRESENT:
                data = self._read(digest)
                if data is not None:
                    record = parse(data, ImageConfig)
                    self._tell_faults(digest, record.faults, record.what, record.refused)
            self._configs[digest] = record
        return self._configs[digest]

    def _tell_faults(self, digest: str, faults: tuple[str, ...], what: str, refused: bool) -> None:
        if faults:
            severity = Severity.ERROR if refused else Severity.WARNING
            self._tell(digest, Problem(self.path_of(digest), what, severity=severity))

    # ------------------------------------------------------------------ from a target to its manifests
    def manifests(self, target: Descriptor) -> tuple[ManifestContent, ...]:
        """Every manifest below ``target``, in the order of its index, those whose bytes aren't here included."""
        found: list[ManifestContent] = []
        pending: list[tuple[Descriptor, int]] = [(target, 0)]
        # Counted by what is looked at: an index that names itself would have no end.
        looked_at = 0
        while pending and looked_at < _MOST_MANIFESTS:
            looked_at += 1
            descriptor, depth = pending.pop()
            blob = self.blob(descriptor)
            if blob is None:
                what = f"refers to {shown(descriptor.digest or '')}, which is no digest"
                about = target.digest or ""
                self._tell(about, Problem(self.path_of(about), what, severity=Severity.WARNING))
                continue
            document = self.document(blob.digest)
            if _is_index(descriptor, document):
                if depth < _MOST_NESTED and document.manifests:
                    below = document.manifests[:_MOST_MANIFESTS]
                    pending.extend((one, depth + 1) for one in reversed(below) if one is not None)
            elif descriptor.media_type in _MANIFEST or document.config is not None:
                found.append(self._manifest(descriptor, blob, document))
        return tuple(found)

    def _manifest(self, descriptor: Descriptor, blob: Blob, document: Document) -> ManifestContent:
        annotations = descriptor.annotations or {}
        platform = _platform(descriptor.platform)
        attests = None
        if _ATTESTATION_TYPE in annotations or platform == "unknown/unknown":
            attests = annotations.get(_ATTESTED, "")
        config = self.blob(document.config)
        if not platform and config is not None and attests is None:
            told = self.config(config.digest)
            if told is not None and told.typed.architecture:
                platform = f"{told.typed.os or 'linux'}/{told.typed.architecture}"
        layers = (self.blob(one) for one in (document.layers or ())[:_MOST_LAYERS])
        return ManifestContent(blob, platform, attests, config, tuple(layer for layer in layers if layer))


def is_blob_digest(text: str) -> bool:
    """Whether ``text`` may name a blob."""
    return _DIGEST.fullmatch(text) is not None


def _is_index(descriptor: Descriptor, document: Document) -> bool:
    if descriptor.media_type in _MANIFEST:
        return False
    return descriptor.media_type in _INDEX or document.manifests is not None


def _platform(platform: Platform | None) -> str:
    if platform is None or not (platform.os or platform.architecture):
        return ""
    parts = (platform.os or "linux", platform.architecture or "?", platform.variant or "")
    return "/".join(part for part in parts if part)
