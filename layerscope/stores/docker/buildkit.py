"""BuildKit's claims on layers and cache directories, and its list of cache records, from ``buildkit/*.db``.

What the databases hold is read by :mod:`layerscope.stores.docker.buildkit_databases`; here is what it means. A snapshot
key is a chain ID, or an id of 25 characters that also names the directory. Only what a record or a lease leads to is
alive: ``snapshots.db`` keeps the keys of layers that are long gone.

A lease bears its record's id, is made before it and removed before it. docker looks for leases by the records only, so
what a kill leaves of the two holds nothing that docker could ever remove: a lease without a record, and a record that
is marked as deleted and has no lease any more.

Source: moby builder/builder-next/adapters/snapshot, moby/buildkit cache/metadata.go, cache/manager.go; seen with
docker 20.10.24, 28.5.2 and 29.7.2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from layerscope.model.digest import CacheID, ChainID, is_digest, is_file_name
from layerscope.model.problem import Problem, Severity
from layerscope.stores.docker.buildkit_databases import (
    LEASES,
    METADATA,
    SNAPSHOTS,
    Fields,
    Snapshot,
    open_database,
    read_fields,
    read_leases,
    read_snapshots,
    unread,
)
from layerscope.stores.records.files import Fault

_INT64 = 1 << 63


class BuildCacheRecord(Struct, frozen=True):
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


class BuildKitClaims(Struct, frozen=True):
    """What BuildKit keeps alive.

    ``cache_ids`` are names of directories of the storage driver; some may not exist. ``chain_ids`` are layers of the
    layer store; the layers below them are held as well, and are found by that store's own parents. ``records`` are
    sorted by id, those that docker doesn't list left out. ``lost_ids`` are names of directories that only a lease
    without a record leads to, or a deleted record without a lease: docker never removes them.
    """

    cache_ids: frozenset[CacheID] = frozenset()
    chain_ids: frozenset[ChainID] = frozenset()
    records: tuple[BuildCacheRecord, ...] = ()
    problems: tuple[Problem, ...] = ()
    lost_ids: frozenset[CacheID] = frozenset()

    @property
    def complete(self) -> bool:
        """Whether every database could be read; if not, nothing may be called unclaimed."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


def read_claims(
    metadata: bytes | Fault | None,
    snapshots: bytes | Fault | None,
    leases: bytes | Fault | None,
    settled: float = 0.0,
) -> BuildKitClaims:
    """BuildKit's claims and records.

    Never raises: a damaged or missing database is a problem, and what the others tell is used. All three missing is a
    root where nothing was ever built.

    Args:
        metadata: bytes of ``metadata_v2.db``, or why they can't be read; None if there is no such file.
        snapshots: bytes of ``snapshots.db``.
        leases: bytes of ``containerdmeta.db``.
        settled: seconds since 1970; a lease that was made before has its record, or never gets one. Infinite where no
            daemon is: then no removal is under way, either.
    """
    files = {METADATA: metadata, SNAPSHOTS: snapshots, LEASES: leases}
    problems = list(unread(files))
    opened = {
        path: open_database(data, path, problems) if isinstance(data, bytes) else None for path, data in files.items()
    }
    doubtful = {problem.path for problem in problems}
    fields = read_fields(opened[METADATA], problems)
    known = read_snapshots(opened[SNAPSHOTS], problems)
    leased = {lease.id: lease for lease in read_leases(opened[LEASES])}
    kept: list[str] = []
    lost: list[str] = []
    for id_, record in fields.items():
        over = settled == inf and record.get("cache.deleted") is True and id_ not in leased and LEASES not in doubtful
        (lost if over else kept).extend(_snapshot_keys(id_, record, known))
    for lease in leased.values():
        over = lease.id not in fields and lease.is_over(settled) and METADATA not in doubtful
        (lost if over else kept).extend(lease.keys)
    cache_ids, chain_ids = _follow(kept, known)
    lost_ids = _follow(lost, known)[0] - cache_ids
    records = tuple(_record(id_, fields[id_], known) for id_ in sorted(fields) if _is_listed(fields[id_]))
    return BuildKitClaims(cache_ids, chain_ids, records, tuple(problems), lost_ids)


def read_records(metadata: bytes | None, path: str) -> tuple[tuple[BuildCacheRecord, ...], tuple[Problem, ...]]:
    """The records that BuildKit keeps beside a containerd store, sorted by id, in ``path``; never raises.

    The size of one that hasn't its own is that of the record of the same data that isn't listed. ``cache_id`` is the
    key of the snapshot.
    """
    problems: list[Problem] = []
    fields = read_fields(open_database(metadata, path, problems), problems, path)
    sizes = {_str(one.get("cache.equalMutable")): _int(one.get("snapshot.size")) for one in fields.values()}
    found = []
    for id_ in sorted(fields):
        record = fields[id_]
        if _is_listed(record):
            made, chain_id = _record(id_, record, {}), _str(record.get("cache.chainID"))
            size = made.size if made.size is not None else sizes.get(id_)
            key = CacheID(_str(record.get("cache.snapshot")) or id_)
            chain = ChainID(chain_id) if is_digest(chain_id) else made.chain_id
            found.append(replace(made, size=size, cache_id=key, chain_id=chain))
    return tuple(found), tuple(problems)


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


def _snapshot_keys(id_: str, record: Fields, known: Mapping[str, Snapshot]) -> Iterator[str]:
    """The snapshots that a record keeps: the one of its own id, and those it names instead."""
    elsewhere = [key for field in ("cache.snapshot", "cache.equalMutable") if (key := _str(record.get(field)))]
    if id_ in known or not elsewhere:
        yield id_
    yield from elsewhere


def _follow(keys: list[str], known: Mapping[str, Snapshot]) -> tuple[frozenset[CacheID], frozenset[ChainID]]:
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


def _names_directory(key: str, known: Mapping[str, Snapshot]) -> bool:
    """Whether a snapshot's key is the name of a directory. One without a record may be: the directory is made first."""
    if is_digest(key) or not is_file_name(key):
        return False
    snapshot = known.get(key)
    if snapshot is None or snapshot.parent is not None:
        return True
    return snapshot.committed is None and snapshot.chain_id is None


def _is_listed(record: Fields) -> bool:
    """Whether docker lists a record: not one that shares another's data, nor one whose removal was begun."""
    return not _str(record.get("cache.equalMutable")) and record.get("cache.deleted") is not True


def _record(id_: str, record: Fields, known: Mapping[str, Snapshot]) -> BuildCacheRecord:
    key = _str(record.get("cache.snapshot")) or id_
    own, snapshot = known.get(id_), known.get(key)
    chain_id = next((found.chain_id for found in (own, snapshot) if found and found.chain_id), None)
    if chain_id is None and is_digest(key):
        chain_id = key
    directory = (snapshot.committed if snapshot else None) or key
    size = _int(record.get("snapshot.size"))
    if size is None or size < 0:
        size = snapshot.size if snapshot else None
    if size is None and record.get("cache.blobonly") is True:
        size = 0  # an image's layer: BuildKit counts the content that it keeps of it itself, which is none
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


def _parents(record: Fields) -> Iterator[str]:
    """The parent; or those that were merged; or the two whose difference this is (lower first)."""
    if parent := _str(record.get("cache.parent")):
        yield parent
        return
    merged = record.get("cache.mergeParents")
    candidates = [*(merged if isinstance(merged, list) else ())]
    candidates += [record.get("cache.lowerDiffParent"), record.get("cache.upperDiffParent")]
    yield from filter(None, map(_str, candidates))


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64 else None
