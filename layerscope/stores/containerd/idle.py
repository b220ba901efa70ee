"""Whether the containerd that a docker daemon started for itself keeps nothing for it.

A daemon without a containerd of the system's starts its own, below the data root, whichever way it stores images; with
graph drivers the database there has leases, and containers that run, but no image and no snapshot. That is told here
with little effort, so that such a root needn't be looked at as one with two halves.
"""

from __future__ import annotations

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Database
from layerscope.hostfs import Directory
from layerscope.stores.records.files import Fault, read_bytes

_DATABASE = "containerd/daemon/io.containerd.metadata.v1.bolt"
_LIMIT = 1 << 20
"""Bytes of the longest database that is looked at: one without images is never that long."""


def is_idle(docker: Directory) -> bool:
    """Whether the database of the containerd in a docker root is whole and names no image and no snapshot.

    False where that can't be told.
    """
    data = read_bytes(docker.descend(_DATABASE), "meta.db", _LIMIT)
    if isinstance(data, Fault):
        return False
    try:
        database = Database.checked(data)
        namespaces = database.root.walk(b"v1")
        if database.is_older or namespaces is None:
            return False
        for _name, namespace in namespaces.buckets():
            images, snapshotters = namespace.bucket(b"images"), namespace.bucket(b"snapshots")
            named = [images] if images is not None else []
            if snapshotters is not None:
                named.extend(one for _name, one in snapshotters.buckets())
            if any(True for bucket in named for _item in bucket.items()):
                return False
    except CorruptError:
        return False
    return True
