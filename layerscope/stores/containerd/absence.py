"""Why a level of a containerd store has no files: what is really so, and what would help."""

from __future__ import annotations

import msgspec

from layerscope.model.level import Absence
from layerscope.stores.containerd.metadata import ContainerRecord
from layerscope.stores.containerd.snapshots import Snapshots
from layerscope.stores.records.files import shown
from layerscope.stores.records.json_record import parse

NOT_FOUND = Absence("its files are in containerd's root, which was not found", "--containerd-root PATH")
"""docker's half alone."""


_LOOK_THERE = "look at that directory"


class _Root(msgspec.Struct):
    """``root`` of the OCI runtime specification."""

    path: str | None = None


class _Spec(msgspec.Struct):
    """The specification, as far as it says where a container without a snapshot has its files."""

    root: _Root | None = None


def layer_absence(snapshots: Snapshots, is_docker: bool) -> Absence:
    """Of an image's layer that has no snapshot."""
    if not snapshots.sound:
        return _unreadable(snapshots)
    what = f"is not unpacked here: {snapshots.snapshotter} has no snapshot of it"
    hint = "docker create --platform, of its image" if is_docker else "ctr images mount, of its image"
    return Absence(what, f"{hint}, unpacks it; a snapshotter that has it is opened by --driver")


def container_absence(snapshots: Snapshots, key: str, record: ContainerRecord | None) -> Absence:
    """Of a container whose own snapshot isn't there; ``key`` would be its name, ``record`` is containerd's of it."""
    if record is not None and not record.snapshot_key:
        spec = parse(record.spec, _Spec).typed if record.spec else _Spec()
        path = (spec.root.path if spec.root else None) or ""
        place = f" {shown(path, 200)}" if path else ""
        return Absence(f"has no snapshot: the container was made on the directory{place} of its host", _LOOK_THERE)
    if not snapshots.sound:
        return _unreadable(snapshots)
    if record is not None and record.snapshotter and record.snapshotter != snapshots.snapshotter:
        what = f"is a snapshot of {shown(record.snapshotter)}, and {snapshots.snapshotter} is shown"
        return Absence(what, f"--driver {record.snapshotter}")
    what = f"has no files any more: {snapshots.snapshotter} has no snapshot {shown(key)}; it was removed, or never made"
    return Absence(what, "what the container changed is lost; its image can be shown")


def _unreadable(snapshots: Snapshots) -> Absence:
    what = f"which snapshot has its files can't be told: {snapshots.path} can't be read in full"
    return Absence(what, "copy that file anew from where it is whole")
