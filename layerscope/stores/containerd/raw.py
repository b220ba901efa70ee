"""The engine's own records of one image or container, joined into one value and otherwise untouched.

JSON records are their parsed value, None where they can't be read; snapshots go base first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import asdict

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.image import Image
from layerscope.stores.containerd.metadata import ContainerRecord
from layerscope.stores.containerd.snapshots import Snapshot
from layerscope.stores.containerd.stack import image_stack
from layerscope.stores.oci.manifest import Blob, BlobState
from layerscope.stores.records.files import Fault, read_bytes
from layerscope.stores.records.json_record import LIMIT, parse

if TYPE_CHECKING:
    from layerscope.stores.containerd.store import ContainerdStore


class _Anything(msgspec.Struct):
    """A record of which nothing is demanded."""


def image_records(store: ContainerdStore, image: Image) -> dict[str, object]:
    """Names, index, manifests, configurations, blobs and snapshots of an image."""
    one = next((one for one in store.stored_images if one.image.id == image.id), None)
    if one is None:
        return {"id": image.id}
    blobs = {blob.digest: blob for manifest in one.manifests for blob in manifest.parts}
    targets = {manifest.blob.digest for manifest in one.manifests}
    return {
        "id": image.id,
        "path": store.names_path,
        "namespace": store.halves.namespace,
        "names": [asdict(record) for record in one.records],
        "target": _json(store, image.id),
        "pulled_size": one.pulled_size,
        "manifests": [
            {
                "digest": told.digest,
                "platform": told.platform,
                "attests": told.attests,
                "available": told.available,
                "unpacked": told.unpacked,
                "content_size": told.content_size,
                "unpacked_size": told.unpacked_size,
                "manifest": _json(store, told.digest) if told.digest != image.id else None,
                "config": _json(store, content.config.digest) if content.config else None,
            }
            for told, content in zip(image.manifests or (), one.manifests, strict=True)
        ],
        "blobs": [_blob(store, blob) for digest, blob in blobs.items() if digest not in targets],
        "snapshots": [
            _snapshot(member.snapshot) if member.snapshot else {"key": member.key, "id": None}
            for member in image_stack(image.chain_ids, store.snapshots)
        ],
    }


def _json(store: ContainerdStore, digest: str) -> object:
    """The JSON of a blob, None if it isn't here."""
    content = store.content
    data = content.bytes_of(digest) if content is not None and content.state(digest) is BlobState.PRESENT else None
    return None if data is None else parse(data, _Anything).raw or None


def _blob(store: ContainerdStore, blob: Blob) -> dict[str, object]:
    record = store.namespace.blobs.get(blob.digest)
    return {
        "digest": blob.digest,
        "media_type": blob.media_type,
        "size": blob.size,
        "state": str(blob.state),
        "path": store.content.path_of(blob.digest) if store.content else None,
        "labels": dict(record.labels) if record else {},
    }


def _snapshot(snapshot: Snapshot) -> dict[str, object]:
    return {
        "key": snapshot.key,
        "name": snapshot.stored_key,
        "id": snapshot.cache_id,
        "kind": snapshot.kind,
        "size": snapshot.size,
        "inodes": snapshot.inodes,
        "labels": dict(snapshot.labels),
    }


def container_records(store: ContainerdStore, container: Container) -> dict[str, object]:
    """Configuration and snapshots of a container; of one without docker, its record in meta.db."""
    chain = store.snapshots.chain(store.snapshot_key(container))
    found: dict[str, object] = {
        "id": container.id,
        "path": store.names_path,
        "namespace": store.halves.namespace,
        "snapshotter": store.driver,
        "snapshots": [_snapshot(snapshot) for snapshot in chain],
    }
    record = store.namespace.containers.get(container.id)
    if record is not None:
        found["container"] = _bare(record)
    if store.halves.docker is not None:
        directory = store.halves.docker.enter("containers").enter(container.id)
        found["path"] = f"containers/{container.id}"
        found["config.v2.json"] = _file(directory, "config.v2.json")
        found["hostconfig.json"] = _file(directory, "hostconfig.json")
    return found


def _bare(record: ContainerRecord) -> dict[str, object]:
    return {
        "image": record.image,
        "snapshotter": record.snapshotter,
        "snapshot_key": record.snapshot_key,
        "created": record.created,
        "runtime": record.runtime,
        "labels": dict(record.labels),
        "spec": parse(record.spec, _Anything).raw,
        "extensions": {name: parse(value, _Anything).raw for name, value in record.extensions.items()},
    }


def _file(directory: Directory, name: str) -> object:
    data = read_bytes(directory, name, LIMIT)
    return None if isinstance(data, Fault) else parse(data, _Anything).raw
