"""What ``docker system df -v`` would say of an opened root.

Source: moby daemon/disk_usage.go, volume/service/service.go ``LocalVolumesSize``; cli/command/formatter/disk_usage.go.
"""

from __future__ import annotations

from collections import Counter

from layerscope.analysis.sizes import walked_size
from layerscope.model.docker_df import CacheUsage, DiskUsage, VolumeUsage
from layerscope.services.session import Session
from layerscope.stores.docker.buildkit import BuildCacheRecord, shared_records
from layerscope.stores.docker.store import DockerStore


def disk_usage(session: Session) -> DiskUsage:
    """Measure volumes and writable layers, and join them with what is recorded."""
    images = tuple(one for one in session.images() if not one.intermediate and not one.image.broken)
    return DiskUsage(images, tuple(session.containers()), _volumes(session), _build_cache(session))


def _volumes(session: Session) -> tuple[VolumeUsage, ...]:
    """docker lists local volumes without options only: where others have their bytes is their driver's business."""
    links = Counter(
        name
        for container in session.store.containers()
        for name in {mount.name for mount in container.mounts if mount.type == "volume"}
    )
    found: list[VolumeUsage] = []
    for volume in session.store.volumes():
        if volume.path is None or volume.options or volume.driver != "local":
            continue
        size: int | None = None
        try:
            size = walked_size(session.root.descend(volume.path))
        except OSError:
            pass
        found.append(VolumeUsage(volume.name, links[volume.name], size))
    return tuple(found)


def _build_cache(session: Session) -> tuple[CacheUsage, ...]:
    store = session.store
    if not isinstance(store, DockerStore):
        return ()
    records = store.build_claims.records
    shared = shared_records(records, {chain for image in store.images() for chain in image.chain_ids})
    found = [
        CacheUsage(
            id=one.id,
            type=one.type,
            size=one.size if one.size is not None else _layer_size(store, one),
            created_at=one.created_at,
            last_used_at=one.last_used_at,
            usage_count=one.usage_count,
            shared=one.id in shared,
        )
        for one in records
    ]
    return tuple(sorted(found, key=lambda one: (one.last_used_at is not None, one.last_used_at or 0, one.id)))


def _layer_size(store: DockerStore, record: BuildCacheRecord) -> int | None:
    """What BuildKit would find: the layer's recorded size."""
    layer = store.layers().get(record.chain_id) if record.chain_id is not None else None
    return layer.size if layer is not None else None
