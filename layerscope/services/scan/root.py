"""A scan of an opened root: its ledger, then one row for every entry in it and in each of its layers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from msgspec.structs import replace

from layerscope.analysis.scan.rows import ScanTally, root_rows
from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger, LedgerEntry
from layerscope.model.problem import Problem
from layerscope.model.scan import (
    MOST_CHARACTERS,
    ROOT,
    ScanEnd,
    ScanEntry,
    ScanHeader,
    ScanRow,
    ScanSink,
    ScanSubject,
    ScanSummary,
    ScanTree,
    entry_key,
)
from layerscope.services.ledger import ledger
from layerscope.services.scan.layers import ScannedLayers
from layerscope.services.session import Session
from layerscope.stores.base import LiesAnywhere, TellsOfRoot, WithoutRoot
from layerscope.stores.claims import ClaimedTree, Claims
from layerscope.stores.docker.store import DockerStore


def scan(
    session: Session,
    sink: ScanSink,
    *,
    host: str = "",
    version: str = "",
    cache: bool = False,
    counting: Callable[[int], None] = lambda entries: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScanSummary:
    """Scan a root into ``sink``.

    Args:
        session: the opened root; what its records claim is read anew.
        sink: where the scan goes; what it raises comes out.
        host: the name of the machine that the root is from; "": this one's.
        version: of the program that scans.
        cache: the ledger's sums of committed layers that are as they were may come from the user's cache.
        counting: is told now and then how many entries the ledger has, while it is made.
        progress: is told then the bytes on disk that have their rows, and those of the whole root.

    Raises:
        LayerscopeError: the root can no longer be read.
    """
    counted = None
    if not isinstance(session.store, WithoutRoot):
        counted = ledger(session, counted=counting, cache=cache)
    total = 0 if counted is None else counted.total_disk
    tally = ScanTally(lambda done: progress(done, max(total, done)))
    layers = ScannedLayers(session)
    places = layers.places()
    header = _header(session, host, version, counted)
    sink.begin(header, () if counted is None else _entries(counted.entries))
    apart, problems_told = _kept_of(counted)
    counted = None  # as many entries as there are layers: nothing of them is needed any more
    subjects: dict[str, ScanSubject] = {}
    roots = _roots(session)
    for tree in roots:
        rows = root_rows(tree, places, apart, tally, subjects)
        sink.tree(ScanTree(kind=ROOT, id=tree.directory.path, path=tree.directory.path), _told(tree, rows, tally))
    listed = layers.trees(places)
    for layer in listed:
        subject = subjects.get(layer.cache_id)
        placed = replace(layer, in_root=subject is not None)
        sink.tree(placed, layers.rows(placed, subject or layers.subject_of(placed), tally))
    end = ScanEnd(len(roots) + len(listed), tally.rows, tally.vanished, tally.unreadable)
    sink.finish(end)
    told = tally.problems()
    if not tally.unreadable:
        told.extend(problems_told)
    problems = (*session.problems(), *layers.problems, *told)
    return ScanSummary(header, end, len(listed), tuple(dict.fromkeys(problems)))


def _header(session: Session, host: str, version: str, counted: Ledger | None) -> ScanHeader:
    store = session.store
    engine = store.facts().engine if isinstance(store, TellsOfRoot) else ""
    if isinstance(store, DockerStore):
        from layerscope.stores.docker.engine import describe

        engine = describe(store.engine)
    return ScanHeader(
        host=host or os.uname().nodename,
        root=os.fspath(session.path),
        scanned_at_ns=time.time_ns(),
        store=store.name,
        driver=store.driver,
        drivers=tuple(session.setting.detection.drivers),
        engine=engine,
        total_disk=None if counted is None else counted.total_disk,
        version=version,
    )


def _kept_of(counted: Ledger | None) -> tuple[frozenset[str], tuple[Problem, ...]]:
    """Of a ledger the paths that aren't entered, and its problems."""
    if counted is None:
        return frozenset(), ()
    apart = frozenset(one.path for one in counted.entries if one.category is Category.FOREIGN_MOUNT)
    return apart, counted.problems


def _entries(listed: Sequence[LedgerEntry]) -> Iterator[ScanEntry]:
    """The ledger in a scan's order, made as it is written; entries of one owner, class and path are one."""
    # Texts of ASCII have the order of their bytes, and needn't be encoded to be sorted.
    plain = all(one.path.isascii() and one.owner.isascii() for one in listed)
    order = _order if plain else lambda one: entry_key(_entry(one))
    for _, same in groupby(sorted(listed, key=order), key=order):
        entry, *others = map(_entry, same)
        for more in others:
            disk, apparent = entry.disk + more.disk, entry.apparent + more.apparent
            entry = replace(more, disk=disk, apparent=apparent, count=entry.count + more.count)
        yield entry


def _entry(one: LedgerEntry) -> ScanEntry:
    subject = ScanSubject(one.category.value, one.owner[:MOST_CHARACTERS])
    return ScanEntry(subject, one.path[:MOST_CHARACTERS], one.disk, one.apparent, one.count, one.reason)


def _order(one: LedgerEntry) -> tuple[str, ...]:
    entry = _entry(one)
    return entry.subject.kind, entry.subject.owner, entry.subject.category, entry.path


def _roots(session: Session) -> list[ClaimedTree]:
    store = session.store
    trees = store.claimed_trees() if isinstance(store, Claims) else ()
    return sorted(trees, key=lambda tree: os.fsencode(tree.directory.path))


def _told(tree: ClaimedTree, rows: Iterator[ScanRow], tally: ScanTally) -> Iterator[ScanRow]:
    try:
        yield from rows
    except OSError as error:
        tally.closed(tree.directory.path or ".", error)


# ---------------------------------------------------------------------- where a scan may be written
def refuse_below(session: Session, target: Path) -> None:
    """Make sure that ``target`` isn't below anything that is read, by whatever path it is named.

    Raises:
        CommitError: it is.
    """
    tops = [os.fspath(path) for path in session.paths]
    if isinstance(session.store, LiesAnywhere) and session.contents.driver is not None:
        tops += [session.contents.driver.layer_path(cache_id) for cache_id in session.contents.driver.layer_ids()]
    known = {(stat.st_dev, stat.st_ino) for top in tops if (stat := _stat(top)) is not None}
    for place in (target.parent.resolve() / target.name, target.resolve()):
        for above in (place, *place.parents):
            stat = _stat(os.fspath(above))
            if stat is not None and (stat.st_dev, stat.st_ino) in known:
                where = escape(os.fspath(target))
                raise CommitError(f"cannot write to {where}: it is (below) what is read, where nothing is ever written")


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
