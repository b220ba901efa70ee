"""Snapshots: what a namespace calls them joined with what the snapshotter keeps of them.

``io.containerd.snapshotter.v1.<name>/metadata.db``, with keys ``<namespace>/<counter>/<key of the namespace>``:

| below `v1/snapshots/<key>/` | holds |
| --- | --- |
| `id` | unsigned varint: the number of its folder, never used twice |
| `kind` | one byte: 1 view, 2 active, 3 committed |
| `parent` | a key beside this one; absent for a base |
| `size`, `inodes` | signed varints, written at the commit: bytes on the disk that it was made on |

A stack is the chain of parents. Where the two databases name different parents, the snapshotter's is what is mounted.
Source: containerd core/snapshots/storage/bolt.go, core/metadata/snapshot.go; seen with 1.6 and 2.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.problem import Problem, Severity
from layerscope.stores.containerd.database import (
    bucket_at,
    buckets_in,
    number_of,
    open_database,
    size_of,
    text_of,
    value_in,
)
from layerscope.stores.containerd.folders import snapshotter_folder
from layerscope.stores.containerd.metadata import Metadata, SnapshotRecord
from layerscope.stores.records.files import shown

FILE = "metadata.db"
_KINDS = {1: "view", 2: "active", 3: "committed"}
COMMITTED = "committed"
ACTIVE = "active"
_MOST_LEVELS = 1000
"""The kernel mounts at most 500 lower directories."""


class StoredSnapshot(Struct, frozen=True):
    """A snapshotter's own record. ``kind`` is ``view``, ``active`` or ``committed``, "" if it is none of them."""

    key: str
    id: int | None
    kind: str
    parent: str
    size: int | None
    inodes: int | None


class Snapshot(Struct, frozen=True):
    """One snapshot of a namespace.

    ``parent`` is a key of the same namespace, None for a base. ``cache_id`` is the number of its folder, ``kind`` and
    ``size`` (bytes on disk when it was committed) those of the snapshotter; None or "" where its record is missing.
    """

    key: str
    stored_key: str
    parent: str | None
    cache_id: CacheID | None
    kind: str
    size: int | None
    inodes: int | None
    labels: Mapping[str, str]
    problems: tuple[Problem, ...] = ()


class Snapshots(Struct, frozen=True):
    """The snapshots of one namespace and snapshotter, by key.

    ``unclaimed``: records of the snapshotter for this namespace that the namespace doesn't know: containerd's garbage
    collector removes them. ``folders`` are the numbers of all folders that have a record, of any namespace.
    """

    snapshotter: str
    path: str
    by_key: Mapping[str, Snapshot]
    unclaimed: tuple[StoredSnapshot, ...]
    folders: frozenset[CacheID]
    sound: bool
    problems: tuple[Problem, ...]

    def chain(self, key: str) -> tuple[Snapshot, ...]:
        """The snapshots from the base to ``key``, as far down as there are records.

        A circle ends where it closes, and no chain is followed further than any mount could go.
        """
        found: dict[str, Snapshot] = {}
        below: str | None = key
        while below is not None and below in self.by_key and below not in found and len(found) < _MOST_LEVELS:
            found[below] = self.by_key[below]
            below = found[below].parent
        return tuple(reversed(found.values()))

    def total_size(self, key: str) -> int | None:
        """The recorded bytes of ``key`` and everything below it; None if one is not recorded."""
        sizes = [snapshot.size for snapshot in self.chain(key)]
        return None if None in sizes else sum(size or 0 for size in sizes)


def read_snapshots(root: Directory, snapshotter: str, metadata: Metadata, namespace: str) -> Snapshots:
    """Join the records of ``namespace`` with those of ``snapshotter`` in the containerd root ``root``."""
    directory = root.enter(snapshotter_folder(snapshotter))
    effect = "which folder holds which snapshot is unknown: no files are shown"
    database = open_database(directory, FILE, effect)
    records = buckets_in(bucket_at(database.root, b"v1", b"snapshots"))
    stored = {
        key: StoredSnapshot(
            key=key,
            id=number_of(value_in(bucket, b"id")),
            kind=_KINDS.get(int.from_bytes(value_in(bucket, b"kind")[:2]), ""),
            parent=text_of(value_in(bucket, b"parent")),
            size=size_of(value_in(bucket, b"size")),
            inodes=size_of(value_in(bucket, b"inodes")),
        )
        for key, bucket in records
    }
    known = metadata.namespace(namespace).snapshots.get(snapshotter, {})
    mine = {key: one for key, one in stored.items() if key.startswith(f"{namespace}/")}
    claimed = {record.name for record in known.values()}
    lost = [] if metadata.sound else [one for key, one in mine.items() if key not in claimed]
    user_keys = {one.key: _user_key(one.key, namespace) for one in lost}
    user_keys.update((record.name, key) for key, record in known.items())
    join = _Join(stored, user_keys, namespace, metadata.path, database.path, database.sound)
    found = {key: join.snapshot(record) for key, record in known.items()}
    for one in sorted(lost, key=lambda one: one.id or 0):
        key = user_keys[one.key]
        if key not in known:
            found[key] = join.guessed(one, key)
    return Snapshots(
        snapshotter=snapshotter,
        path=database.path,
        by_key=_with_missing_parents(_with_double_claims(found, database.path), metadata.path),
        unclaimed=tuple(one for key, one in mine.items() if key not in claimed) if metadata.sound else (),
        folders=frozenset(CacheID(str(one.id)) for one in stored.values() if one.id is not None),
        sound=database.sound,
        problems=database.problems,
    )


def _user_key(stored_key: str, namespace: str) -> str:
    """The namespace's own key in ``<namespace>/<counter>/<key>``."""
    return stored_key.removeprefix(f"{namespace}/").partition("/")[2]


class _Join(Struct, frozen=True):
    """Both sides of the join; ``user_keys`` gives a namespace's key by the snapshotter's."""

    stored: Mapping[str, StoredSnapshot]
    user_keys: Mapping[str, str]
    namespace: str
    names_path: str
    records_path: str
    records_sound: bool

    def snapshot(self, record: SnapshotRecord) -> Snapshot:
        """What the namespace calls ``record.key``."""
        one = self.stored.get(record.name)
        parent = record.parent or None
        if one is None:
            problems: tuple[Problem, ...] = ()
            if self.records_sound:
                what = f"has no record {shown(record.name, 200)}, which the snapshot {shown(record.key)} names"
                problems = (Problem(self.records_path, what, "where its files lie is unknown"),)
            return Snapshot(record.key, record.name, parent, None, "", None, None, record.labels, problems)
        problems = self._faults(one, record.key)
        mounted = self._parent(one)
        if mounted != parent:
            told = f"names {shown(record.parent, 200)} below the snapshot {shown(record.key, 200)}"
            what = f"{told}; the snapshotter names {shown(mounted or '', 200)}"
            effect = "the snapshotter's is shown: it is what would be mounted"
            problems = (*problems, Problem(self.names_path, what, effect, severity=Severity.WARNING))
        return self._made(one, record.key, mounted, record.labels, problems)

    def guessed(self, one: StoredSnapshot, key: str) -> Snapshot:
        """A snapshot whose own record in the namespace is lost: its key is part of the snapshotter's."""
        return self._made(one, key, self._parent(one), {}, self._faults(one, key))

    def _made(
        self,
        one: StoredSnapshot,
        key: str,
        parent: str | None,
        labels: Mapping[str, str],
        problems: tuple[Problem, ...],
    ) -> Snapshot:
        cache_id = None if one.id is None else CacheID(str(one.id))
        size = one.size if one.kind == COMMITTED else None
        return Snapshot(key, one.key, parent, cache_id, one.kind, size, one.inodes, labels, problems)

    def _parent(self, one: StoredSnapshot) -> str | None:
        if not one.parent:
            return None
        known = self.user_keys.get(one.parent)
        return known if known is not None else _user_key(one.parent, self.namespace)

    def _faults(self, one: StoredSnapshot, key: str) -> tuple[Problem, ...]:
        wrong = []
        if one.id is None:
            wrong.append("no valid folder number")
        if not one.kind:
            wrong.append("no valid kind")
        if one.kind == COMMITTED and one.size is None:
            wrong.append("no valid size")
        if not wrong:
            return ()
        what = f"has {', '.join(wrong)} for the snapshot {shown(key)}"
        return (Problem(self.records_path, what, "its files or its size can't be shown"),)


def _with_double_claims(found: dict[str, Snapshot], path: str) -> dict[str, Snapshot]:
    """``found``; snapshots that lie in one folder are told."""
    claims = Counter(snapshot.cache_id for snapshot in found.values() if snapshot.cache_id)
    for key, snapshot in found.items():
        if snapshot.cache_id and claims[snapshot.cache_id] > 1:
            what = f"gives the folder {snapshot.cache_id} to {claims[snapshot.cache_id]} snapshots, one is {shown(key)}"
            told = Problem(path, what, severity=Severity.WARNING)
            found[key] = replace(snapshot, problems=(*snapshot.problems, told))
    return found


def _with_missing_parents(found: dict[str, Snapshot], path: str) -> dict[str, Snapshot]:
    """``found``; those whose parent has no record, or that stand on themselves, are told."""
    for key in (*_without_parent(found), *_in_circles(found)):
        snapshot = found[key]
        below = shown(snapshot.parent or "")
        lost = snapshot.parent not in found
        what = f"names {below} below the snapshot {shown(key)}, " + ("which has no record" if lost else "in a circle")
        told = Problem(path, what, "what lies below isn't shown")
        found[key] = replace(snapshot, problems=(*snapshot.problems, told))
    return found


def _without_parent(found: Mapping[str, Snapshot]) -> list[str]:
    return [key for key, snapshot in found.items() if snapshot.parent is not None and snapshot.parent not in found]


def _in_circles(found: Mapping[str, Snapshot]) -> Iterable[str]:
    """One member of each circle of parents; each snapshot is passed a bounded number of times."""
    done: set[str] = set()
    for start in found:
        trail: set[str] = set()
        key: str | None = start
        while key is not None and key in found and key not in done and key not in trail:
            trail.add(key)
            key = found[key].parent
        if key is not None and key in trail:
            yield key
        done |= trail
