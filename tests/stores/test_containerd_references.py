"""What keeps a blob or a snapshot from containerd's garbage collector, rule by rule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from layerscope.stores.containerd.metadata import (
    BlobRecord,
    ContainerRecord,
    ImageRecord,
    LeaseRecord,
    Namespace,
    SnapshotRecord,
)
from layerscope.stores.containerd.references import Node, Root, RootKind, keepers

OVER = {"containerd.io/gc.expire": "2020-01-01T00:00:00Z"}
IMAGE = Root(RootKind.IMAGE, "name:1")


def namespace(
    blobs: dict[str, dict[str, str]] | None = None,
    snapshots: dict[str, tuple[str, dict[str, str]]] | None = None,
    images: dict[str, tuple[str, dict[str, str]]] | None = None,
    containers: dict[str, str] | None = None,
    leases: dict[str, LeaseRecord] | None = None,
) -> Namespace:
    """A namespace of labels of blobs, parents and labels of snapshots, targets and labels of images …"""
    made: Any = SimpleNamespace(
        name="test",
        blobs={digest: BlobRecord(digest, 1, labels) for digest, labels in (blobs or {}).items()},
        snapshots={"overlayfs": {key: SnapshotRecord(key, key, *one) for key, one in (snapshots or {}).items()}},
        images={
            name: ImageRecord(name, digest, "", 1, None, labels) for name, (digest, labels) in (images or {}).items()
        },
        containers={
            id_: ContainerRecord(id_, "", "overlayfs", key, None, "", {}, b"", {})
            for id_, key in (containers or {}).items()
        },
        leases=leases or {},
    )
    return cast(Namespace, made)


def blob(digest: str) -> Node:
    return Node("", digest)


def snapshot(key: str) -> Node:
    return Node("overlayfs", key)


def test_an_image_keeps_what_labels_lead_to() -> None:
    found = keepers(
        namespace(
            blobs={
                "manifest": {
                    "containerd.io/gc.ref.content.config": "config",
                    "containerd.io/gc.ref.content.l.0": "layer",
                },
                "config": {"containerd.io/gc.ref.snapshot.overlayfs": "top"},
                "layer": {"containerd.io/uncompressed": "other"},
                "other": {},
            },
            snapshots={"base": ("", {}), "top": ("base", {}), "beside": ("base", {})},
            images={"name:1": ("manifest", {})},
        )
    )
    for node in (blob("manifest"), blob("config"), blob("layer"), snapshot("top"), snapshot("base")):
        assert found[node] == {IMAGE}, node
    assert found[blob("other")] == found[snapshot("beside")] == frozenset()


def test_a_container_keeps_its_snapshots_only() -> None:
    found = keepers(
        namespace(
            blobs={"manifest": {}},
            snapshots={"base": ("", {}), "own": ("base", {})},
            containers={"c": "own"},
        )
    )
    container = Root(RootKind.CONTAINER, "c")
    assert found == {blob("manifest"): frozenset(), snapshot("base"): {container}, snapshot("own"): {container}}


def test_a_lease_keeps_until_it_expires() -> None:
    blobs = {"one": {"containerd.io/gc.ref.content/x": "two"}, "two": {}}
    for labels, kept in (({}, {Root(RootKind.LEASE, "l")}), (OVER, frozenset())):
        lease = LeaseRecord("l", labels, frozenset(), frozenset({"one"}))
        found = keepers(namespace(blobs=blobs, leases={"l": lease}))
        assert found == {blob("one"): kept, blob("two"): kept}


def test_a_flat_lease_follows_no_labels_but_parents() -> None:
    labels = {"containerd.io/gc.flat": "2026-01-01T00:00:00Z"}
    lease = LeaseRecord("l", labels, frozenset({("overlayfs", "top")}), frozenset({"one"}))
    found = keepers(
        namespace(
            blobs={"one": {"containerd.io/gc.ref.content.0": "two"}, "two": {}},
            snapshots={"base": ("", {}), "top": ("base", {"containerd.io/gc.ref.content": "two"})},
            leases={"l": lease},
        )
    )
    assert {node for node, roots in found.items() if roots} == {blob("one"), snapshot("top"), snapshot("base")}


def test_a_label_may_be_a_root_or_point_backwards() -> None:
    found = keepers(
        namespace(
            blobs={
                "kept": {"containerd.io/gc.root": "2026"},
                "beside": {"containerd.io/gc.bref.content.x": "kept"},
                "of-image": {"containerd.io/gc.bref.image": "name:1"},
                "target": {},
            },
            snapshots={"own": ("", {"containerd.io/gc.root": ""})},
            images={"name:1": ("target", {"containerd.io/gc.ref.content.more": "kept"})},
        )
    )
    label = Root(RootKind.LABEL, "kept")
    assert found[blob("kept")] == found[blob("beside")] == {label, IMAGE}
    assert found[blob("of-image")] == {IMAGE}
    assert found[snapshot("own")] == {Root(RootKind.LABEL, "overlayfs/own")}


def test_a_circle_of_labels_ends() -> None:
    one, two = ({"containerd.io/gc.ref.content.0": other} for other in ("two", "one"))
    found = keepers(namespace(blobs={"one": one, "two": two}, images={"name:1": ("one", {})}))
    assert found == {blob("one"): {IMAGE}, blob("two"): {IMAGE}}
    assert keepers(namespace(blobs={"one": one, "two": two})) == {blob("one"): frozenset(), blob("two"): frozenset()}


def test_what_leads_nowhere_is_passed_over() -> None:
    found = keepers(
        namespace(
            blobs={"one": {"containerd.io/gc.ref.content.0": "gone", "containerd.io/gc.ref.snapshot.other": "x"}},
            snapshots={"top": ("gone", {})},
            images={"name:1": ("one", {}), "name:2": ("nothing", {})},
            containers={"c": "no"},
        )
    )
    assert found == {blob("one"): {IMAGE}, snapshot("top"): frozenset()}
