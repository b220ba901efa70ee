"""Everything that is broken in a root: gathered from its records and layers, put to the rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from layerscope.analysis.doctor.checks import CHECKS, records_of_strange_kinds
from layerscope.analysis.doctor.evidence import Evidence
from layerscope.analysis.doctor.kinds import strange_kinds
from layerscope.analysis.doctor.told import rule_for
from layerscope.analysis.verify.layer import TAR_RECORD
from layerscope.drivers import RecordsLower
from layerscope.errors import CorruptError
from layerscope.hostfs.mounts import mounts_below
from layerscope.model.claim import Category
from layerscope.model.diagnosis import Diagnosis, Outcome
from layerscope.model.digest import CacheID, is_file_name
from layerscope.model.level import LayerKind, Level
from layerscope.model.problem import Problem, Severity
from layerscope.model.subject import Subject
from layerscope.model.verdict import Verdict
from layerscope.services.session import Session
from layerscope.services.verify.layers import verify
from layerscope.stores.base import SharesStorage
from layerscope.stores.claims import Claims
from layerscope.stores.docker.cache_claims import claims_now
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.records.files import Fault, list_directory

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_CACHE_ID_LIMIT = 4096


def examine(
    session: Session, *, layers: bool = True, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Diagnosis]:
    """Every damaged or inconsistent thing, the gravest first, then by path. Nothing in the root is changed.

    ``layers``: hash every layer, too; ``progress`` is told the bytes done and the bytes to do then.
    """
    levels = _all_levels(session)
    verdicts = tuple(verify(session, progress=progress)) if layers else ()
    found = [_explained(problem) for problem in _told(session)]
    if isinstance(session.store, DockerStore):
        evidence = _evidence(session, session.store, levels, verdicts)
        known = {diagnosis.path for diagnosis in found}
        for check in CHECKS:
            for sign in check.look(evidence):
                if sign.path in known and sign.path and check.rule not in ("running in a dead root",):
                    continue  # its own record has told already
                found.append(
                    Diagnosis(
                        check.rule,
                        sign.path,
                        sign.what,
                        check.outcome,
                        check.docker,
                        check.readable,
                        sign.repair or check.repair,
                        sign.severity or check.severity,
                    )
                )
    else:
        found += [_explained(Problem(one.path, one.what)) for verdict in verdicts for one in verdict.findings]
        if isinstance(session.store, Claims):
            found += _of_strange_kinds(session.store, {diagnosis.path for diagnosis in found})
        if isinstance(session.store, SharesStorage):
            found += [_explained(problem) for problem in _unverifiable(session, verdicts)]
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda one: (_RANK[one.severity], os.fsencode(one.path), one.what))


def _explained(problem: Problem) -> Diagnosis:
    """A problem that was told, with what its rule knows."""
    rule = rule_for(problem)
    if rule is None:
        return Diagnosis(
            "other", problem.path, problem.what, Outcome.UNKNOWN, problem.effect, "", problem.hint, problem.severity
        )
    repair = f"{problem.hint}; {rule.repair}" if problem.hint and problem.hint not in rule.repair else rule.repair
    docker = rule.docker or problem.effect
    return Diagnosis(
        rule.rule, problem.path, problem.what, rule.outcome, docker, rule.readable, repair, problem.severity
    )


def _strange(store: Claims) -> Iterator[tuple[str, str]]:
    """The path of each record that is of another kind than a file, and what it is."""
    for tree in store.claimed_trees():
        top = f"{tree.directory.path}/" if tree.directory.path else ""
        for path, what in strange_kinds(tree.directory, tree.place):
            yield f"{top}{path}", what


def _of_strange_kinds(store: Claims, known: set[str]) -> Iterator[Diagnosis]:
    """What :func:`_strange` finds where no check of docker's is made; ``known`` are the paths that are told already."""
    check = next(check for check in CHECKS if check.look is records_of_strange_kinds)
    repair = check.repair.replace("docker", "the engine")
    for path, what in _strange(store):
        if path not in known:
            told = f"is {what}, expected a file; it was not opened"
            yield Diagnosis(check.rule, path, told, check.outcome, check.docker, check.readable, repair, check.severity)


def _unverifiable(session: Session, verdicts: tuple[Verdict, ...]) -> Iterator[Problem]:
    """Layers of containers/storage whose tar no record tells: it keeps one for each layer that it unpacks."""
    for verdict in verdicts:
        if verdict.ok is None and verdict.skipped.startswith(TAR_RECORD) and verdict.cache_id is not None:
            path = f"{session.driver}-layers/{verdict.cache_id}.tar-split.gz"
            what = verdict.skipped.removeprefix(TAR_RECORD).strip()
            hint = "remove the image and pull it again"
            effect = "push and save of the layer fail; it can't be verified"
            yield Problem(path, what, effect, hint, Severity.WARNING)


def _all_levels(session: Session) -> list[Level]:
    """The levels of everything; what is wrong with them is among the session's problems afterwards."""
    store = session.store
    levels = [level for image in store.images() for level in session.levels(Subject(image, None))]
    levels += [level for container in store.containers() for level in session.levels(Subject(None, container))]
    return list(dict.fromkeys(levels))


def _told(session: Session) -> Iterator[Problem]:
    yield from session.problems()
    if isinstance(session.store, DockerStore):
        yield from session.store.build_claims.problems


def _evidence(session: Session, store: DockerStore, levels: list[Level], verdicts: tuple[Verdict, ...]) -> Evidence:
    contents = session.contents
    unclaimed = _unclaimed(session, store)
    top = str(session.path.resolve())
    mounted = frozenset(mount.point.removeprefix(f"{top}/") for mount in mounts_below(session.path.resolve()))
    return Evidence(
        root=session.root,
        driver_name=session.driver,
        driver=contents.driver,
        images=store.images(),
        containers=store.containers(),
        layers=store.layers(),
        unclaimed=unclaimed,
        unfinished=frozenset(_unfinished(store, unclaimed)),
        mounted=mounted,
        held=store.liveness.held,
        unseen=session.setting.unseen,
        tar_split=store.tar_split,
        lost_marks=_lost_marks(session, levels),
        verdicts=verdicts,
        strange=tuple(_strange(store)),
    )


def _unclaimed(session: Session, store: DockerStore) -> tuple[CacheID, ...]:
    driver = session.contents.driver
    listed = () if driver is None else tuple(driver.layer_ids())
    records = list_directory(session.root.descend(f"image/{session.driver}/layerdb/sha256"))
    if isinstance(records, Fault) and not records.absent:
        return ()  # what they would claim isn't known
    claimed = frozenset(_claimed(session, store, () if isinstance(records, Fault) else [name for name, _ in records]))
    return tuple(one for one in listed if one not in claimed)


def _unfinished(store: DockerStore, unclaimed: tuple[CacheID, ...]) -> Iterator[CacheID]:
    """The directories of no record that a living daemon may be at work on, or that have a record by now."""
    if unclaimed and store.liveness.held is not False:
        claims = claims_now(store)
        for cache_id in unclaimed:
            claim = claims.claim(cache_id)
            if claim is None or claim.category is not Category.ORPHAN:
                yield cache_id


def _lost_marks(session: Session, levels: list[Level]) -> tuple[Problem, ...]:
    """Marks that a copy of the root has lost; of a user who sees none the session tells by itself."""
    driver = session.contents.driver
    if driver is None or driver.kind is LayerKind.SNAPSHOT or not session.setting.sees_marks:
        return ()
    return tuple(dict.fromkeys(session.contents.lost_marks(tuple(levels))))


def _claimed(session: Session, store: DockerStore, records: Iterable[str]) -> Iterator[CacheID]:
    """The directories that any record names: of layers, containers, a build cache, interrupted removals, ``lower``.

    ``records`` are the names of all records of layers.
    """
    driver = session.contents.driver
    named: set[CacheID] = set(store.build_cache())
    named |= {layer.cache_id for layer in store.layers().values() if layer.cache_id is not None}
    for record in store.mounts().values():
        named |= {one for one in (record.mount_id, record.init_id) if one is not None}
    folder = session.root.descend(f"image/{session.driver}/layerdb/sha256")
    for name in records:
        if name.endswith("-removing"):
            try:
                text = os.fsdecode(folder.enter(name).read("cache-id", _CACHE_ID_LIMIT)).strip()
            except (OSError, CorruptError):
                continue
            if is_file_name(text):
                named.add(CacheID(text))
    yield from named
    if isinstance(driver, RecordsLower):
        for cache_id in named:
            yield from driver.lower_ids(cache_id) or ()
