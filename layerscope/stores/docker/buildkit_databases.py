"""BuildKit's databases, read into what they say of each record, snapshot and lease; ``buildkit/*.db`` of a root.

All bolt databases::

    metadata_v2.db     _main/<record>/<field> = {"value": …}; empty = taken back. Fields: cache.description,
                       cache.createdAt and cache.lastUsedAt (ns), cache.usageCount, cache.recordType, snapshot.size,
                       cache.parent, cache.mergeParents, cache.lowerDiffParent, cache.upperDiffParent,
                       cache.snapshot (key of its snapshot, else the record's own id),
                       cache.equalMutable (the record that holds the same data and is listed in its place)
    containerdmeta.db  v1/buildkit/leases/<lease>/snapshots/<snapshotter>/<snapshot key>
                                                 /createdat   when it was made
                                                 /labels      buildkit/lease.temporary: docker ends it when it starts
    snapshots.db       <snapshot key>/parent     key of the snapshot below, "" for none; this key has a directory
                                     committed   the key whose directory this one stands for
                                     chainid     the layer it was registered as
                                     size        bytes, as text, where once asked for

With docker's containerd store only ``containerd-<snapshotter>/metadata_v2.db`` is there: the rest is in containerd's
own databases, whose snapshots bear the keys that the records name. Its records have ``cache.chainID``, too.

Source: moby builder/builder-next/adapters/snapshot, moby/buildkit cache/metadata.go; seen with docker 20.10.24, 28.5.2
and 29.7.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

import msgspec
from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Bucket, Database
from layerscope.formats.gotime import parse_binary
from layerscope.model.digest import is_digest
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import Fault

FOLDER = "buildkit"
METADATA = "buildkit/metadata_v2.db"
SNAPSHOTS = "buildkit/snapshots.db"
LEASES = "buildkit/containerdmeta.db"
"""Where the three files lie, and their folder, relative to the root."""

Fields = Mapping[str, object]
"""The decoded fields of one record, by their names."""
_EFFECT = "what only the build cache holds can't be told from leftovers"
_TEMPORARY_LEASE = b"buildkit/lease.temporary"
_MAX_FIELD = 1 << 20


class Snapshot(Struct, frozen=True):
    """One bucket of ``snapshots.db``; None where a field is absent."""

    parent: str | None
    committed: str | None
    chain_id: str | None
    size: int | None


class Lease(Struct, frozen=True):
    """``keys`` are those of its snapshots; ``created_at`` is in nanoseconds since 1970, None where not told."""

    id: str
    keys: tuple[str, ...]
    created_at: int | None
    temporary: bool

    def is_over(self, settled: float) -> bool:
        """Whether it never gets the record that it hasn't yet. A temporary one needs none, and docker ends it."""
        made = self.created_at / 10**9 if self.created_at is not None else None
        return not self.temporary and (settled == inf or (made is not None and made < settled))


def unread(files: Mapping[str, bytes | Fault | None]) -> Iterator[Problem]:
    """What can't be read; nothing where nothing was ever built, and one problem where none of it can, for one cause."""
    first = files[METADATA]
    if not isinstance(first, bytes) and all(data == first for data in files.values()):
        if first is not None:
            yield first.problem(FOLDER, _EFFECT)
        return
    for path, data in files.items():
        if data is None:
            yield Problem(path, "missing", _EFFECT)
        elif isinstance(data, Fault):
            yield data.problem(path, _EFFECT)


def open_database(data: bytes | None, path: str, problems: list[Problem]) -> Bucket | None:
    """The root bucket of a database that walks from end to end, in its newest or its older state."""
    if data is None:
        return None
    try:
        database = Database.checked(data)
    except CorruptError as error:
        problems.append(Problem(path, str(error), _EFFECT))
        return None
    if database.is_older:
        what = f"the newest state is torn, read as of transaction {database.txid}"
        problems.append(Problem(path, what, "the last change to the build cache isn't seen", "", Severity.WARNING))
    return database.root


def read_fields(root: Bucket | None, problems: list[Problem], path: str = METADATA) -> dict[str, Fields]:
    """The decoded fields of each record, by its id."""
    main = root.bucket(b"_main") if root is not None else None
    if main is None:
        return {}
    return {
        _text(key): {
            _text(name): value
            for name, raw in bucket.items()
            if isinstance(raw, bytes) and (value := _decode(raw, _text(key), _text(name), problems, path)) is not None
        }
        for key, bucket in main.buckets()
    }


def _decode(raw: bytes, record: str, field: str, problems: list[Problem], path: str) -> object:
    """The value of one field; None where it was taken back or can't be read."""
    if not raw:
        return None
    try:
        if len(raw) > _MAX_FIELD:
            raise CorruptError(f"{len(raw)} bytes, expected at most {_MAX_FIELD}")
        decoded: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError, CorruptError) as error:
        what = f"record {record!a:.100}, field {field!a:.100}: {error}"
        problems.append(Problem(path, what[:400], "this field isn't shown", "", Severity.WARNING))
        return None
    return decoded.get("value") if isinstance(decoded, Mapping) else None


def read_snapshots(root: Bucket | None, problems: list[Problem]) -> dict[str, Snapshot]:
    """All snapshots by their keys, from ``snapshots.db``. What is no chain ID is told, and left out."""
    if root is None:
        return {}
    known: dict[str, Snapshot] = {}
    for key, bucket in root.buckets():
        values = {name: _text(raw) for name, raw in bucket.items() if isinstance(raw, bytes)}
        chain_id = values.get(b"chainid")
        if chain_id is not None and not is_digest(chain_id):
            what = f"snapshot {_text(key)!a:.100}: chain ID {chain_id!a:.100}, expected sha256: and 64 digits"
            problems.append(Problem(SNAPSHOTS, what, "the layer isn't counted as held by the build cache"))
            chain_id = None
        size = values.get(b"size", "")
        known[_text(key)] = Snapshot(
            parent=values.get(b"parent"),
            committed=values.get(b"committed") or None,
            chain_id=chain_id,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 19 else None,
        )
    return known


def read_leases(root: Bucket | None) -> Iterator[Lease]:
    """All leases; ``root`` is that of ``containerdmeta.db``."""
    leases = root.walk(b"v1", b"buildkit", b"leases") if root is not None else None
    for name, bucket in leases.buckets() if leases is not None else ():
        held = bucket.bucket(b"snapshots")
        snapshotters = held.buckets() if held is not None else ()
        keys = tuple(_text(key) for _snapshotter, snapshots in snapshotters for key, _nothing in snapshots.items())
        labels, made = bucket.bucket(b"labels"), bucket.get(b"createdat")
        temporary = labels is not None and labels.get(_TEMPORARY_LEASE) is not None
        yield Lease(_text(name), keys, parse_binary(made if isinstance(made, bytes) else None), temporary)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
