"""What keeps blobs and snapshots: containerd's garbage collector, as its labels and records tell it.

| root | keeps |
| --- | --- |
| an image's record | its target |
| a container's record | its snapshot |
| a lease that hasn't expired | the blobs and snapshots that it lists |
| the label ``containerd.io/gc.root`` | the blob or snapshot that has it |

From there on: a snapshot keeps its parent; a label ``containerd.io/gc.ref.content…`` keeps the blob of that digest,
``containerd.io/gc.ref.snapshot.<snapshotter>…`` the snapshot of that key; ``gc.bref.…`` is the same backwards. Of what
a lease with the label ``containerd.io/gc.flat`` lists, only parents of snapshots are followed. All within one
namespace; a blob's file goes when no namespace has it any more.
Source: containerd core/metadata/gc.go; seen with 1.6 and 2.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from layerscope.stores.containerd.metadata import LeaseRecord, Namespace
from layerscope.stores.moment import nanoseconds

_PREFIX = "containerd.io/gc."
_ROOT = "containerd.io/gc.root"
_FLAT = "containerd.io/gc.flat"
_EXPIRE = "containerd.io/gc.expire"


class RootKind(StrEnum):
    """What keeps something by itself."""

    IMAGE = "image"
    CONTAINER = "container"
    LEASE = "lease"
    LABEL = "label"


class Root(Struct, frozen=True):
    """One root: the name of an image, the ID of a container or lease, or what a label is on.

    That is the digest of a blob, or a snapshotter, a slash and a key.
    """

    kind: RootKind
    name: str


class Node(Struct, frozen=True):
    """A blob (``snapshotter`` is "" and ``key`` its digest), a snapshot, or an image (``snapshotter`` is "image")."""

    snapshotter: str
    key: str


def keepers(namespace: Namespace) -> dict[Node, frozenset[Root]]:
    """Every blob and snapshot of a namespace with all roots that lead to it; none: it waits to be collected."""
    graph = _Graph(namespace)
    found: dict[Node, set[Root]] = {node: set() for node in graph.nodes}
    for root, first, flat in graph.roots():
        pending, seen = [node for node in first if node in graph.nodes], set[Node]()
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                found[node].add(root)
                pending.extend(one for one in graph.below(node, flat) if one in graph.nodes)
    return {node: frozenset(roots) for node, roots in found.items() if node.snapshotter != _IMAGE}


_IMAGE = "image"
"""In the place of a snapshotter: no snapshotter has that name."""


class _Graph:
    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._labels: dict[Node, Mapping[str, str]] = {
            Node("", digest): blob.labels for digest, blob in namespace.blobs.items()
        }
        self._parents: dict[Node, Node] = {}
        for snapshotter, snapshots in namespace.snapshots.items():
            for key, record in snapshots.items():
                node = Node(snapshotter, key)
                self._labels[node] = record.labels
                if record.parent:
                    self._parents[node] = Node(snapshotter, record.parent)
        for name, image in namespace.images.items():
            self._labels[Node(_IMAGE, name)] = image.labels
        self.nodes = self._labels.keys()
        self._referred = {node: tuple(_referred(labels, "ref")) for node, labels in self._labels.items()}
        self._back: dict[Node, list[Node]] = {}
        for node, labels in self._labels.items():
            for other in _referred(labels, "bref"):
                self._back.setdefault(other, []).append(node)

    def roots(self) -> Iterator[tuple[Root, list[Node], bool]]:
        """Every root, what it keeps itself, and whether labels below that aren't followed."""
        namespace = self._namespace
        for name, image in namespace.images.items():
            yield Root(RootKind.IMAGE, name), [Node("", image.digest), Node(_IMAGE, name)], False
        for id_, container in namespace.containers.items():
            kept = [Node(container.snapshotter, container.snapshot_key), *_referred(container.labels, "ref")]
            yield Root(RootKind.CONTAINER, id_), kept, False
        for id_, lease in namespace.leases.items():
            if not _is_over(lease):
                kept = [*(Node("", digest) for digest in lease.content), *(Node(*one) for one in lease.snapshots)]
                yield Root(RootKind.LEASE, id_), kept, _FLAT in lease.labels
        for node, labels in self._labels.items():
            if _ROOT in labels:
                name = f"{node.snapshotter}/{node.key}" if node.snapshotter else node.key
                yield Root(RootKind.LABEL, name), [node], False

    def below(self, node: Node, flat: bool) -> Iterable[Node]:
        """What a node keeps."""
        if node in self._parents:
            yield self._parents[node]
        if node.snapshotter == _IMAGE:
            yield Node("", self._namespace.images[node.key].digest)
        if not flat:
            yield from self._referred[node]
            yield from self._back.get(node, ())


def _referred(labels: Mapping[str, str], kind: str) -> Iterator[Node]:
    """What labels refer to: ``gc.<kind>.content[.…|/…]``, ``gc.<kind>.snapshot.<snapshotter>[/…]``, ``gc.<kind>.image…``."""  # noqa: E501
    content, snapshot, image = (f"{_PREFIX}{kind}.{what}" for what in ("content", "snapshot.", "image"))
    for label, value in labels.items():
        if label == content or label.startswith((f"{content}.", f"{content}/")):
            yield Node("", value)
        elif label.startswith(snapshot):
            yield Node(label.removeprefix(snapshot).partition("/")[0], value)
        elif label == image or label.startswith((f"{image}.", f"{image}/")):
            yield Node(_IMAGE, value)


def _is_over(lease: LeaseRecord) -> bool:
    """Whether a lease has expired: the collector passes over it, and removes it."""
    moment = nanoseconds(lease.labels.get(_EXPIRE))
    return moment is not None and moment < time.time_ns()
