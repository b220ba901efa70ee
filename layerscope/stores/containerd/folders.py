"""The folders of a containerd root, one for each of its plugins.

Source: containerd plugins; seen with 1.6, 1.7 and 2.1.
"""

from __future__ import annotations

CONTENT = "io.containerd.content.v1.content"
"""Blobs: ``blobs/<algorithm>/<hex>``; ``ingest/`` holds those that are being written."""
METADATA = "io.containerd.metadata.v1.bolt"
TASKS = "io.containerd.runtime.v2.task"
"""``<namespace>/<container>``, while it has a task."""
CRI = "io.containerd.grpc.v1.cri"
"""``containers/<id>`` and ``sandboxes/<id>`` of Kubernetes."""
SNAPSHOTTER = "io.containerd.snapshotter.v1."
"""Before the snapshotter's name."""


def snapshotter_folder(snapshotter: str) -> str:
    """Where a snapshotter keeps what it has."""
    return SNAPSHOTTER + snapshotter
