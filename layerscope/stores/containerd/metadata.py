"""containerd's ``io.containerd.metadata.v1.bolt/meta.db``: names, labels and references, namespace by namespace.

| below `v1/<namespace>/` | holds |
| --- | --- |
| `images/<name>/` | `createdat`, `updatedat`, `target/{digest,mediatype,size}`, `labels/` |
| `content/blob/<digest>/` | `size`, `createdat`, `updatedat`, `labels/` |
| `snapshots/<snapshotter>/<key>/` | `name` (the snapshotter's own key), `parent` (a key beside this one), `labels/` |
| `containers/<id>/` | `image`, `snapshotter`, `snapshotKey`, `spec`, `extensions/`, `labels/`, `createdat` |
| `leases/<id>/` | `labels/`, `snapshots/<snapshotter>/<key>`, `content/<digest>` |

Sizes are signed varints, times Go's binary form, `spec` and each of `extensions` a protobuf Any, all else is text; a
map without members has no bucket. Blobs are stored once for all namespaces, snapshots once for each.
Source: containerd core/metadata/buckets.go, boltutil/helpers.go; seen with 1.6 and 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Bucket
from layerscope.formats.protobuf_any import parse_any
from layerscope.hostfs import Directory
from layerscope.model.problem import Problem
from layerscope.stores.containerd.database import (
    OpenedDatabase,
    bucket_at,
    buckets_in,
    open_database,
    size_of,
    text_of,
    texts_in,
    time_of,
    value_in,
)
from layerscope.stores.containerd.folders import METADATA

FILE = "meta.db"


class ImageRecord(Struct, frozen=True):
    """One name of an image and what it means. ``size`` is that of the index or manifest itself, in bytes."""

    name: str
    digest: str
    media_type: str
    size: int | None
    created: str | None
    labels: Mapping[str, str]


class BlobRecord(Struct, frozen=True):
    """One blob that this namespace knows. ``size`` in bytes, None if its record is damaged."""

    digest: str
    size: int | None
    labels: Mapping[str, str]


class SnapshotRecord(Struct, frozen=True):
    """One snapshot by the name that its user gave it; ``name`` is the snapshotter's, ``parent`` a key or ""."""

    key: str
    name: str
    parent: str
    labels: Mapping[str, str]


class ContainerRecord(Struct, frozen=True):
    """One container; ``spec`` and ``extensions`` hold JSON, as bytes (empty: none, or not readable)."""

    id: str
    image: str
    snapshotter: str
    snapshot_key: str
    created: str | None
    runtime: str
    labels: Mapping[str, str]
    spec: bytes
    extensions: Mapping[str, bytes]


class LeaseRecord(Struct, frozen=True):
    """What a lease keeps: ``snapshots`` are pairs of snapshotter and key, ``content`` digests of blobs."""

    id: str
    labels: Mapping[str, str]
    snapshots: frozenset[tuple[str, str]]
    content: frozenset[str] = frozenset()


class NamespaceCounts(Struct, frozen=True):
    """How many records of each kind a namespace has; ``images`` counts different targets."""

    images: int
    containers: int
    blobs: int
    snapshots: Mapping[str, int]


class Namespace:
    """The records of one namespace, each kind read when it is first asked for."""

    def __init__(self, name: str, bucket: Bucket | None) -> None:
        self.name = name
        self._bucket = bucket

    @cached_property
    def images(self) -> dict[str, ImageRecord]:
        """By name."""
        return {name: _image(name, bucket) for name, bucket in buckets_in(bucket_at(self._bucket, b"images"))}

    @cached_property
    def blobs(self) -> dict[str, BlobRecord]:
        """By digest."""
        found = {}
        for digest, bucket in buckets_in(bucket_at(self._bucket, b"content", b"blob")):
            found[digest] = BlobRecord(digest, size_of(value_in(bucket, b"size")), _labels(bucket))
        return found

    @cached_property
    def snapshots(self) -> dict[str, dict[str, SnapshotRecord]]:
        """By snapshotter, then by key."""
        snapshotters = buckets_in(bucket_at(self._bucket, b"snapshots"))
        return {
            snapshotter: {key: _snapshot(key, one) for key, one in buckets_in(bucket)}
            for snapshotter, bucket in snapshotters
        }

    @cached_property
    def containers(self) -> dict[str, ContainerRecord]:
        """By ID. docker keeps only those here that run now."""
        return {id_: _container(id_, bucket) for id_, bucket in buckets_in(bucket_at(self._bucket, b"containers"))}

    @cached_property
    def leases(self) -> dict[str, LeaseRecord]:
        """By ID."""
        return {id_: _lease(id_, bucket) for id_, bucket in buckets_in(bucket_at(self._bucket, b"leases"))}

    def counts(self) -> NamespaceCounts:
        """What there is."""
        return NamespaceCounts(
            images=len({image.digest for image in self.images.values()}),
            containers=len(self.containers),
            blobs=len(self.blobs),
            snapshots={name: len(keys) for name, keys in self.snapshots.items() if keys},
        )


class Metadata:
    """The whole database; what can't be read of it is missing, and told in ``problems``."""

    def __init__(self, database: OpenedDatabase) -> None:
        self.database = database
        self._read: dict[str, Namespace] = {}

    @property
    def path(self) -> str:
        """Where it lies, as problems tell it."""
        return self.database.path

    @property
    def sound(self) -> bool:
        """Whether every page of it could be read: only then is what isn't in it nowhere."""
        return self.database.sound

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the file."""
        return self.database.problems

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """The names of all namespaces, sorted."""
        return tuple(name for name, _ in buckets_in(bucket_at(self.database.root, b"v1")))

    def namespace(self, name: str) -> Namespace:
        """The records of one namespace; of one that isn't there: none."""
        if name not in self._read:
            bucket = bucket_at(self.database.root, b"v1", name.encode("utf-8", "surrogateescape"))
            self._read[name] = Namespace(name, bucket)
        return self._read[name]


def read_metadata(root: Directory) -> Metadata:
    """The database of the containerd root ``root``."""
    effect = "names of images, blobs and snapshots are unknown; what other records tell is shown"
    return Metadata(open_database(root.enter(METADATA), FILE, effect))


# ---------------------------------------------------------------------- one record
def _labels(bucket: Bucket) -> dict[str, str]:
    return texts_in(bucket_at(bucket, b"labels"))


def _text(bucket: Bucket, key: bytes) -> str:
    return text_of(value_in(bucket, key))


def _image(name: str, bucket: Bucket) -> ImageRecord:
    target = texts_in(bucket_at(bucket, b"target"))
    size = target.get("size", "").encode("utf-8", "surrogateescape")
    return ImageRecord(
        name=name,
        digest=target.get("digest", ""),
        media_type=target.get("mediatype", ""),
        size=size_of(size),
        created=time_of(value_in(bucket, b"createdat")),
        labels=_labels(bucket),
    )


def _snapshot(key: str, bucket: Bucket) -> SnapshotRecord:
    return SnapshotRecord(key, _text(bucket, b"name"), _text(bucket, b"parent"), _labels(bucket))


def _container(id_: str, bucket: Bucket) -> ContainerRecord:
    extensions = texts_in(bucket_at(bucket, b"extensions"))
    return ContainerRecord(
        id=id_,
        image=_text(bucket, b"image"),
        snapshotter=_text(bucket, b"snapshotter"),
        snapshot_key=_text(bucket, b"snapshotKey"),
        created=time_of(value_in(bucket, b"createdat")),
        runtime=texts_in(bucket_at(bucket, b"runtime")).get("name", ""),
        labels=_labels(bucket),
        spec=_inside(value_in(bucket, b"spec")),
        extensions={name: _inside(value.encode("utf-8", "surrogateescape")) for name, value in extensions.items()},
    )


def _inside(data: bytes) -> bytes:
    """The value of an Any; empty if it isn't one."""
    try:
        return parse_any(data).value
    except CorruptError:
        return b""


def _lease(id_: str, bucket: Bucket) -> LeaseRecord:
    held: set[tuple[str, str]] = set()
    for snapshotter, keys in buckets_in(bucket_at(bucket, b"snapshots")):
        held.update((snapshotter, key) for key in texts_in(keys))
    return LeaseRecord(id_, _labels(bucket), frozenset(held), frozenset(texts_in(bucket_at(bucket, b"content"))))
