"""The blobs of a content store or a layout: one file each, ``<algorithm>/<hex>``, named by the digest of its bytes.

Source: OCI image spec, image-layout.md; containerd plugins/content/local; seen with docker 28 and 29.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.stores.oci.manifest import (
    Blob,
    BlobState,
    Descriptor,
    Document,
    ManifestContent,
    attested_by,
    is_index,
    is_manifest,
    platform_of,
)
from layerscope.stores.records.files import Fault, list_directory, read_bytes, shown
from layerscope.stores.records.image_config import ImageConfig
from layerscope.stores.records.json_record import LIMIT, Parsed, parse

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha384):([0-9a-f]{96})|(sha512):([0-9a-f]{128})")
_ALGORITHMS = ("sha256", "sha384", "sha512")
_MOST_NESTED = 8
_MOST_MANIFESTS = 4096
_MOST_LAYERS = 4096


class HasSize(Protocol):
    """A namespace's record of a blob."""

    @property
    def size(self) -> int | None:
        """The recorded bytes, None if nothing tells."""


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

    def __init__(self, blobs: BlobFiles, records: Mapping[str, HasSize] | None) -> None:
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
            if is_index(descriptor, document):
                if depth < _MOST_NESTED and document.manifests:
                    below = document.manifests[:_MOST_MANIFESTS]
                    pending.extend((one, depth + 1) for one in reversed(below) if one is not None)
            elif is_manifest(descriptor, document):
                found.append(self._manifest(descriptor, blob, document))
        return tuple(found)

    def _manifest(self, descriptor: Descriptor, blob: Blob, document: Document) -> ManifestContent:
        platform, attests = platform_of(descriptor), attested_by(descriptor)
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
