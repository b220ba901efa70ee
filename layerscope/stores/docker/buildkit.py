"""BuildKit's claims on layers and cache directories, and its list of cache records, from ``buildkit/*.db``.

All bolt databases::

    metadata_v2.db     _main/<record>/<field> = {"value": …}; empty = taken back. Fields: cache.description,
                       cache.createdAt and cache.lastUsedAt (ns), cache.usageCount, cache.recordType, snapshot.size,
                       cache.parent, cache.mergeParents, cache.lowerDiffParent, cache.upperDiffParent,
                       cache.snapshot (key of its snapshot, else the record's own id),
                       cache.equalMutable (the record that holds the same data and is listed in its place)
    containerdmeta.db  v1/buildkit/leases/<lease>/snapshots/<snapshotter>/<snapshot key>
    snapshots.db       <snapshot key>/parent     key of the snapshot below, "" for none; this key has a directory
                                     committed   the key whose directory this one stands for
                                     chainid     the layer it was registered as
                                     size        bytes, as text, where once asked for

A snapshot key is a chain ID, or an id of 25 characters that also names the directory. Only what a record or a lease
leads to is alive: ``snapshots.db`` keeps the keys of layers that are long gone.

Source: moby builder/builder-next/adapters/snapshot, moby/buildkit cache/metadata.go, cache/manager.go; seen with
docker 20.10.24.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Bucket, Database
from layerscope.model.digest import CacheID, ChainID, is_digest, is_file_name
from layerscope.model.problem import Problem, Severity

METADATA = "buildkit/metadata_v2.db"
SNAPSHOTS = "buildkit/snapshots.db"
LEASES = "buildkit/containerdmeta.db"
"""Where the three files lie, relative to the root."""

_EFFECT = "what only the build cache holds can't be told from leftovers"
_MAX_FIELD = 1 << 20
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class BuildCacheRecord:
    """One line of the build cache in ``docker system df -v``.

    Times are nanoseconds since 1970, None where not recorded. ``size`` is in bytes; None where BuildKit has not
    recorded it and would measure the directory. ``parents`` are ids of other records. ``type`` is ``regular``,
    ``source.local``, ``exec.cachemount`` and so on. ``cache_id`` is the directory that holds its files, ``chain_id``
    the layer it was registered as; each None where there is none.
    """

    id: str
    type: str
    description: str
    created_at: int | None
    last_used_at: int | None
    usage_count: int
    size: int | None
    parents: tuple[str, ...]
    cache_id: CacheID | None
    chain_id: ChainID | None


@dataclass(frozen=True, slots=True)
class BuildKitClaims:
    """What BuildKit keeps alive.

    ``cache_ids`` are names of directories of the storage driver; some may not exist. ``chain_ids`` are layers of the
    layer store; the layers below them are held as well, and are found by that store's own parents. ``records`` are
    sorted by id, those that docker doesn't list left out.
    """

    cache_ids: frozenset[CacheID] = frozenset()
    chain_ids: frozenset[ChainID] = frozenset()
    records: tuple[BuildCacheRecord, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every database could be read; if not, nothing may be called unclaimed."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


def read_claims(metadata: bytes | None, snapshots: bytes | None, leases: bytes | None) -> BuildKitClaims:
    """BuildKit's claims and records.

    Never raises: a damaged or missing database is a problem, and what the others tell is used. All three missing is a
    root where nothing was ever built.

    Args:
        metadata: bytes of ``metadata_v2.db``, None if there is no such file.
        snapshots: bytes of ``snapshots.db``.
        leases: bytes of ``containerdmeta.db``.
    """
    files = {METADATA: metadata, SNAPSHOTS: snapshots, LEASES: leases}
    missing = [path for path, data in files.items() if data is None]
    problems = [Problem(path, "missing", _EFFECT) for path in missing] if len(missing) < len(files) else []
    fields = _read_records(_open(metadata, METADATA, problems), problems)
    known = _read_snapshots(_open(snapshots, SNAPSHOTS, problems), problems)
    leased = _read_leases(_open(leases, LEASES, problems), problems)
    roots = [key for id_, record in fields.items() for key in _snapshot_keys(id_, record, known)]
    cache_ids, chain_ids = _follow([*roots, *leased], known)
    records = tuple(_record(id_, fields[id_], known) for id_ in sorted(fields) if _is_listed(fields[id_]))
    return BuildKitClaims(cache_ids, chain_ids, records, tuple(problems))


def shared_records(records: Iterable[BuildCacheRecord], image_chains: Collection[ChainID]) -> frozenset[str]:
    """Ids of the records that an image uses too, with all their parents: docker's ``Shared``.

    Args:
        records: all records.
        image_chains: the chain IDs of every layer of every image.
    """
    by_id = {record.id: record for record in records}
    pending = [record.id for record in by_id.values() if record.chain_id in image_chains]
    shared: set[str] = set()
    while pending:
        id_ = pending.pop()
        if id_ in by_id and id_ not in shared:
            shared.add(id_)
            pending.extend(by_id[id_].parents)
    return frozenset(shared)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One bucket of ``snapshots.db``; None where a field is absent."""

    parent: str | None
    committed: str | None
    chain_id: str | None
    size: int | None


def _open(data: bytes | None, path: str, problems: list[Problem]) -> Bucket | None:
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


def _read_records(root: Bucket | None, problems: list[Problem]) -> dict[str, dict[str, object]]:
    """The decoded fields of each record, by its id."""
    main = root.bucket(b"_main") if root is not None else None
    if main is None:
        return {}
    return {
        _text(key): {
            _text(name): value
            for name, raw in bucket.items()
            if isinstance(raw, bytes) and (value := _decode(raw, _text(key), _text(name), problems)) is not None
        }
        for key, bucket in main.buckets()
    }


def _decode(raw: bytes, record: str, field: str, problems: list[Problem]) -> object:
    """The value of one field; None where it was taken back or can't be read."""
    if not raw:
        return None
    try:
        if len(raw) > _MAX_FIELD:
            raise CorruptError(f"{len(raw)} bytes, expected at most {_MAX_FIELD}")
        decoded: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError, CorruptError) as error:
        what = f"record {record!a:.100}, field {field!a:.100}: {error}"
        problems.append(Problem(METADATA, what[:400], "this field isn't shown", "", Severity.WARNING))
        return None
    return decoded.get("value") if isinstance(decoded, Mapping) else None


def _read_snapshots(root: Bucket | None, problems: list[Problem]) -> dict[str, _Snapshot]:
    if root is None:
        return {}
    known: dict[str, _Snapshot] = {}
    for key, bucket in root.buckets():
        values = {name: _text(raw) for name, raw in bucket.items() if isinstance(raw, bytes)}
        chain_id = values.get(b"chainid")
        if chain_id is not None and not is_digest(chain_id):
            what = f"snapshot {_text(key)!a:.100}: chain ID {chain_id!a:.100}, expected sha256: and 64 digits"
            problems.append(Problem(SNAPSHOTS, what, "the layer isn't counted as held by the build cache"))
            chain_id = None
        size = values.get(b"size", "")
        known[_text(key)] = _Snapshot(
            parent=values.get(b"parent"),
            committed=values.get(b"committed") or None,
            chain_id=chain_id,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 19 else None,
        )
    return known


def _read_leases(root: Bucket | None, problems: list[Problem]) -> list[str]:
    """The snapshot keys that a lease holds."""
    leases = root.walk(b"v1", b"buildkit", b"leases") if root is not None else None
    return [_text(key) for key in _leased(leases)] if leases is not None else []


def _leased(leases: Bucket) -> Iterator[bytes]:
    for _lease, bucket in leases.buckets():
        held = bucket.bucket(b"snapshots")
        for _snapshotter, keys in held.buckets() if held is not None else ():
            yield from keys.keys()


def _snapshot_keys(id_: str, record: Mapping[str, object], known: Mapping[str, _Snapshot]) -> Iterator[str]:
    """The snapshots that a record keeps: the one of its own id, and those it names instead."""
    elsewhere = [key for field in ("cache.snapshot", "cache.equalMutable") if (key := _str(record.get(field)))]
    if id_ in known or not elsewhere:
        yield id_
    yield from elsewhere


def _follow(keys: list[str], known: Mapping[str, _Snapshot]) -> tuple[frozenset[CacheID], frozenset[ChainID]]:
    """Directories and layers that the snapshots ``keys`` and everything below them lead to."""
    cache_ids: set[CacheID] = set()
    chain_ids: set[ChainID] = set()
    pending = keys
    seen: set[str] = set()
    while pending:
        key = pending.pop()
        if key in seen:
            continue
        seen.add(key)
        snapshot = known.get(key)
        if is_digest(key):
            chain_ids.add(ChainID(key))
        elif _names_directory(key, known):
            cache_ids.add(CacheID(key))
        if snapshot is not None:
            if snapshot.chain_id is not None:
                chain_ids.add(ChainID(snapshot.chain_id))
            pending.extend(below for below in (snapshot.committed, snapshot.parent) if below)
    return frozenset(cache_ids), frozenset(chain_ids)


def _names_directory(key: str, known: Mapping[str, _Snapshot]) -> bool:
    """Whether a snapshot's key is the name of a directory. One without a record may be: the directory is made first."""
    if is_digest(key) or not is_file_name(key):
        return False
    snapshot = known.get(key)
    if snapshot is None or snapshot.parent is not None:
        return True
    return snapshot.committed is None and snapshot.chain_id is None


def _is_listed(record: Mapping[str, object]) -> bool:
    """Whether docker lists a record: not one that shares another's data, nor one whose removal was begun."""
    return not _str(record.get("cache.equalMutable")) and record.get("cache.deleted") is not True


def _record(id_: str, record: Mapping[str, object], known: Mapping[str, _Snapshot]) -> BuildCacheRecord:
    key = _str(record.get("cache.snapshot")) or id_
    own, snapshot = known.get(id_), known.get(key)
    chain_id = next((found.chain_id for found in (own, snapshot) if found and found.chain_id), None)
    if chain_id is None and is_digest(key):
        chain_id = key
    directory = (snapshot.committed if snapshot else None) or key
    size = _int(record.get("snapshot.size"))
    if size is None or size < 0:
        size = snapshot.size if snapshot else None
    return BuildCacheRecord(
        id=id_,
        type=_str(record.get("cache.recordType")) or "regular",
        description=_str(record.get("cache.description")),
        created_at=_int(record.get("cache.createdAt")),
        last_used_at=_int(record.get("cache.lastUsedAt")) or None,
        usage_count=_int(record.get("cache.usageCount")) or 0,
        size=size,
        parents=tuple(_parents(record)),
        cache_id=CacheID(directory) if _names_directory(directory, known) else None,
        chain_id=ChainID(chain_id) if chain_id is not None else None,
    )


def _parents(record: Mapping[str, object]) -> Iterator[str]:
    """The parent; or those that were merged; or the two whose difference this is (lower first)."""
    if parent := _str(record.get("cache.parent")):
        yield parent
        return
    merged = record.get("cache.mergeParents")
    candidates = [*(merged if isinstance(merged, list) else ())]
    candidates += [record.get("cache.lowerDiffParent"), record.get("cache.upperDiffParent")]
    yield from filter(None, map(_str, candidates))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64 else None
