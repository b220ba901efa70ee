"""The command that removes something of a containerd store, in the words of whoever manages its namespace.

| namespace | image | container |
| --- | --- | --- |
| docker's | ``docker rmi`` | ``docker rm`` |
| `k8s.io` | ``crictl rmi`` | ``crictl rm``, ``crictl rmp`` for a pod's sandbox |
| any, made by nerdctl | ``nerdctl -n NS rmi`` | ``nerdctl -n NS rm`` |
| any | ``ctr -n NS images rm --sync`` | ``ctr -n NS containers rm`` |

Source: containerd cmd/ctr/commands, internal/cri/labels; nerdctl pkg/labels.
"""

from __future__ import annotations

from collections.abc import Sequence

from layerscope.stores.containerd.halves import is_docker_namespace
from layerscope.stores.containerd.metadata import ContainerRecord, ImageRecord
from layerscope.stores.removal import command_of

KUBERNETES = "k8s.io"
_KIND = "io.cri-containerd.kind"
_MANAGED = "io.cri-containerd.image"
_NERDCTL = "nerdctl/"


def image_command(namespace: str, records: Sequence[ImageRecord], shown: Sequence[str]) -> str:
    """What removes the image of these records; ``shown`` are its names as docker or Kubernetes tell them."""
    if is_docker_namespace(namespace):
        return command_of("docker", "rmi", names=shown)
    names = sorted(record.name for record in records)
    if namespace == KUBERNETES and any(_MANAGED in record.labels for record in records):
        return command_of("crictl", "rmi", names=shown[:1])
    if any(label.startswith(_NERDCTL) for record in records for label in record.labels):
        return command_of("nerdctl", "-n", namespace, "rmi", names=names)
    return command_of("ctr", "-n", namespace, "images", "rm", "--sync", names=names)


def container_command(namespace: str, id_: str, name: str, record: ContainerRecord | None, runs: bool) -> str:
    """What removes a container, by force if it ``runs``; ``record`` is that of the namespace, if it has one."""
    force = ("-f",) if runs else ()
    if is_docker_namespace(namespace):
        return command_of("docker", "rm", *force, names=(name,))
    labels = record.labels if record is not None else {}
    if _KIND in labels:
        return command_of("crictl", "rmp" if labels[_KIND] == "sandbox" else "rm", *force, id_[:12])
    if any(label.startswith(_NERDCTL) for label in labels):
        return command_of("nerdctl", "-n", namespace, "rm", *force, names=(name,))
    remove = command_of("ctr", "-n", namespace, "containers", "rm", id_)
    if not runs:
        return remove
    return f"{command_of('ctr', '-n', namespace, 'tasks', 'rm', '-f', id_)} && {remove}"


def lease_command(namespace: str, id_: str) -> str:
    """What removes a lease."""
    return command_of("ctr", "-n", namespace, "leases", "rm", id_)


def snapshot_command(namespace: str, snapshotter: str, key: str) -> str:
    """What removes a snapshot that nothing above stands on."""
    return command_of("ctr", "-n", namespace, "snapshots", "--snapshotter", snapshotter, "rm", key)
