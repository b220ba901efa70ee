"""What ``docker system df -v`` would say of an opened root.

Source: moby daemon/disk_usage.go, volume/service/service.go ``LocalVolumesSize``; cli/command/formatter/disk_usage.go.
"""

from __future__ import annotations

from collections import Counter

from layerscope.analysis.measuring.sizes import walked_sizes
from layerscope.drivers.base import MeasuresDisk
from layerscope.hostfs import Directory
from layerscope.model.docker_df import CacheUsage, DiskUsage, OtherCount, VolumeUsage
from layerscope.model.subject import ImageUsage
from layerscope.services.session import Session
from layerscope.stores.base import Store
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.containerd.usage import image_usages
from layerscope.stores.containerd.whole import tells_what_is_shared
from layerscope.stores.docker.buildkit import BuildCacheRecord, shared_records
from layerscope.stores.docker.engine import SINCE_24
from layerscope.stores.docker.store import DockerStore


def disk_usage(session: Session) -> DiskUsage:
    """Measure volumes and writable layers, and join them with what is recorded."""
    images = tuple(one for one in session.images() if _is_listed(one))
    volumes, cache = _volumes(session), _build_cache(session)
    return DiskUsage(images, tuple(session.containers()), volumes, cache, 3 if _is_since_24(session.store) else 4)


def other_count(session: Session) -> OtherCount | None:
    """How an engine counts shared sizes that may have written the root, too; None where none counts otherwise.

    Only a containerd store leaves this open: a graph driver's root has traces of each engine that counts in its own
    way.
    """
    store = session.store
    if not isinstance(store, ContainerdStore) or tells_what_is_shared(store):
        return None
    others = image_usages(store.stored_images, store.containers(), store.snapshots, blobs_too=False)
    by_id = {one.image.id: one for one in others}
    pairs = [(one, by_id[one.image.id]) for one in session.images() if _is_listed(one)]
    differing = tuple(pair for pair in pairs if pair[0].shared_size != pair[1].shared_size)
    return OtherCount("29.5 or newer", "24 to 29.4", differing) if differing else None


def _is_listed(usage: ImageUsage) -> bool:
    return not usage.intermediate and not usage.image.broken


def _volumes(session: Session) -> tuple[VolumeUsage, ...]:
    """docker lists local volumes without options only: where others have their bytes is their driver's business.

    podman lists them, too.
    """
    links = Counter(
        name
        for container in session.store.containers()
        for name in {mount.name for mount in container.mounts if mount.type == "volume"}
    )
    listed = [
        volume
        for volume in session.store.volumes()
        if volume.path is not None
        and volume.driver == "local"
        and (not volume.options or session.store.name == "podman")
    ]
    sizes = walked_sizes([_folder(session, volume.path) for volume in listed])
    return tuple(VolumeUsage(volume.name, links[volume.name], size) for volume, size in zip(listed, sizes, strict=True))


def _folder(session: Session, path: str | None) -> Directory | None:
    try:
        return None if path is None else session.root.descend(path)
    except OSError:
        return None


def _build_cache(session: Session) -> tuple[CacheUsage, ...]:
    store = session.store
    if isinstance(store, DockerStore):
        records = store.build_claims.records
        chains = {chain for image in store.images() for chain in image.chain_ids}
    elif isinstance(store, ContainerdStore):
        records = store.build_records[0]
        chains = {chain for image in store.stored_images for chain in image.chain_ids}
    else:
        return ()
    shared = shared_records(records, chains)
    found = [
        CacheUsage(
            id=one.id,
            type=one.type,
            size=one.size if one.size is not None else _size(session, store, one),
            created_at=one.created_at,
            last_used_at=one.last_used_at,
            usage_count=one.usage_count,
            shared=one.id in shared,
        )
        for one in records
    ]
    return tuple(sorted(found, key=lambda one: (one.last_used_at is not None, one.last_used_at or 0, one.id)))


def _size(session: Session, store: DockerStore | ContainerdStore, record: BuildCacheRecord) -> int | None:
    """What BuildKit would find: the recorded size of the layer, or what the snapshot takes on disk."""
    driver = session.contents.driver
    if isinstance(store, DockerStore):
        layer = store.layers().get(record.chain_id) if record.chain_id is not None else None
        if layer is not None or record.cache_id is None or driver is None:
            return layer.size if layer is not None else None
        # A directory with nothing below it, or with what changes only: mounts of a build, and what was sent to it.
        if record.parents and not driver.sizes_by_walk:
            return None
        try:
            return walked_sizes([driver.open_layer(record.cache_id)])[0]
        except OSError:
            return None
    snapshot = store.snapshots.by_key.get(record.cache_id or "")
    if snapshot is None or snapshot.cache_id is None or snapshot.size is not None:
        return None if snapshot is None else snapshot.size
    try:
        return driver.disk_usage(snapshot.cache_id) if isinstance(driver, MeasuresDisk) else None
    except OSError:
        return None


def _is_since_24(store: Store) -> bool:
    """Whether the engine is known to be 24 or newer: its client shows an image's size with three digits."""
    if isinstance(store, DockerStore):
        return SINCE_24 in store.engine.traces
    return isinstance(store, ContainerdStore)
