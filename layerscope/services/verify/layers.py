"""Layers checked against their records: which ones, by how many processes, and what is made of the parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from layerscope.analysis.verify.layer import LayerRecord, Part, check_content, check_metadata
from layerscope.analysis.verify.metadata import Rules
from layerscope.analysis.verify.tar import check_tar
from layerscope.drivers import CopiesLayers, Driver, Elsewhere, MixedKinds, RecordsLower, TellsDamage
from layerscope.formats.whiteout import UNMARKED
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, hex_of, is_hex64
from layerscope.model.image import Image, Layer
from layerscope.model.level import LayerKind, Role
from layerscope.model.problem import Problem, Severity
from layerscope.model.subject import Subject
from layerscope.model.tree import ContentsAbsent, LayerDirectory
from layerscope.model.verdict import Finding, Verdict
from layerscope.services.session import Session
from layerscope.services.verify.meanwhile import changed_meanwhile
from layerscope.services.workers import Job, run_jobs
from layerscope.stores.archive.store import ArchiveStore
from layerscope.stores.base import PullsInParts, ShiftsOwners
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.docker.store import DockerStore

_KILLED = Part(damaged="the process that checked it was killed")
_MOST_BELOW = 500
"""Layers below one that are compared: the kernel mounts no more, and records may make a chain of any length."""


class _Planned(Struct):
    """A layer to check: what is known before, and the parts that are still to come."""

    verdict: Verdict
    record: LayerRecord | None = None
    job: Job[Part] | None = None
    weight: int = 0
    waiting: int = 0
    parts: list[Part] = field(default_factory=list)


def verify(
    session: Session,
    subject: Subject | None = None,
    *,
    deep: bool = False,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Verdict]:
    """Check all layers of a root, or those of one image or container; the verdicts come as they are found.

    Images newest first, their layers base first, then layers of no image; an image whose own record is wrong has a
    verdict of its own in front. What is wrong with the order of a container's layers is among the session's problems.

    Args:
        session: the opened root.
        subject: whose layers, up to its cut.
        deep: metadata, links, attributes, flags, recorded checksums, and what no record names, too.
        processes: how many at once; None: one for each processor.
        progress: told the bytes that were hashed, and how many there will be by the records.
        cancelled: asked now and then.
    """
    plan = list(_image_verdicts(session, subject))
    if isinstance(session.store, ContainerdStore):
        from layerscope.services.verify.content import planned_layers

        yield from (one.verdict for one in plan)
        yield from planned_layers(session, session.store, subject, deep, processes, progress, cancelled)
        return
    plan += [_planned(session, chain, layer) for chain, layer in _layers(session, subject)]
    _check_containers(session, subject)
    jobs = _jobs(plan, deep)
    total = sum(one.weight for one in plan)
    hashed = 0

    def told(more: int) -> None:
        nonlocal hashed
        hashed += more
        progress(hashed, max(total, hashed))

    results = run_jobs([job for _, job in jobs], processes=processes, progress=told, cancelled=cancelled)
    shown = 0
    for number, part in results:
        planned = jobs[number][0]
        planned.parts.append(part or _KILLED)
        planned.waiting -= 1
        while shown < len(plan) and not plan[shown].waiting:
            yield _judged(session, plan[shown])
            shown += 1
    if not cancelled():
        yield from (_judged(session, planned) for planned in plan[shown:])


def _jobs(plan: list[_Planned], deep: bool) -> list[tuple[_Planned, Job[Part]]]:
    """What there is to do, the largest layers first, so that no process waits for another in the end."""
    jobs: list[tuple[_Planned, Job[Part]]] = []
    for planned in sorted(plan, key=lambda one: -one.weight):
        if planned.job is not None:
            jobs.append((planned, planned.job))
            planned.waiting = 1
        if planned.record is None:
            continue
        jobs.append((planned, partial(_content, planned.record, deep)))
        if deep:
            jobs.append((planned, partial(_metadata, planned.record)))
        planned.waiting = 1 + deep
    return jobs


def _content(record: LayerRecord, checksums: bool, progress: Callable[[int], None]) -> Part:
    return check_content(record, checksums=checksums, progress=progress)


def _metadata(record: LayerRecord, progress: Callable[[int], None]) -> Part:
    return check_metadata(record)


# ---------------------------------------------------------------------- which layers
def subjects(session: Session, subject: Subject | None) -> Iterator[Image | Container]:
    """All images and containers, or the one that is wanted."""
    if subject is None:
        yield from session.store.images()
        yield from session.store.containers()
    else:
        thing = subject.container or subject.image
        assert thing is not None
        yield thing


def _layers(session: Session, subject: Subject | None) -> Iterator[tuple[ChainID, Layer | None]]:
    """Every read-only layer once; None for one that is named but has no record."""
    known = session.store.layers()
    seen: set[ChainID] = set()
    for thing in subjects(session, subject):
        levels = session.store.levels(thing)
        for level in levels if subject is None or subject.cut is None else levels[: subject.cut]:
            if level.role is Role.IMAGE and level.chain_id is not None and level.chain_id not in seen:
                seen.add(level.chain_id)
                yield level.chain_id, known.get(level.chain_id)
    if subject is None:
        for chain, layer in known.items():
            if chain not in seen:
                yield chain, layer


def _image_verdicts(session: Session, subject: Subject | None) -> Iterator[_Planned]:
    """Images whose own record isn't what its ID says, or can't be read."""
    for thing in subjects(session, subject):
        if isinstance(thing, Image):
            ends = (f"imagedb/content/sha256/{hex_of(thing.id)}", f"blobs/sha256/{hex_of(thing.id)}")
            own = [one for one in thing.problems if one.path.endswith(ends) and one.severity is not Severity.NOTE]
            if own:
                findings = tuple(Finding(problem.path, problem.what) for problem in own)
                yield _Planned(Verdict(None, None, None, False, findings=findings, image=thing.id))


def _check_containers(session: Session, subject: Subject | None) -> None:
    """Have the session tell where a container would be mounted over other layers than its records name."""
    for thing in subjects(session, subject):
        if isinstance(thing, Container):
            session.levels(Subject(None, thing))


# ---------------------------------------------------------------------- one layer
def _planned(session: Session, chain: ChainID, layer: Layer | None) -> _Planned:
    driver = session.contents.driver
    place = f"image/{session.driver}/layerdb/sha256/{hex_of(chain)}"
    if layer is None:
        return _Planned(Verdict(chain, None, None, False, findings=(Finding(place, "record", found="none"),)))
    findings = _record_findings(session, chain, layer)
    verdict = Verdict(chain, layer.diff_id, layer.cache_id, None, findings=tuple(dict.fromkeys(findings)))
    if driver is None or layer.cache_id is None:
        return _Planned(replace(verdict, skipped="where its files lie is not known"))
    if isinstance(session.store, ArchiveStore) and layer.cache_id in driver.layer_ids():
        return _Planned(verdict, job=_tar_job(session.store, driver.layer_path(layer.cache_id), layer), weight=1)
    original = _original(driver, layer.cache_id)
    if original is not None:
        return _Planned(replace(verdict, skipped=f"its files are those of layer {original:.12} that got other owners"))
    try:
        top = driver.open_layer(layer.cache_id)
    except OSError as error:
        if isinstance(driver, Elsewhere):
            told = session.contents.absence(driver, layer.cache_id)
            return _Planned(replace(verdict, skipped=f"{told.path}: {told.what}"))
        if isinstance(error, ContentsAbsent):
            return _Planned(replace(verdict, skipped=error.why))
        if isinstance(error, PermissionError):
            return _Planned(replace(verdict, skipped="its files can't be read without privilege"))
        missing = Finding(driver.layer_path(layer.cache_id), "contents", found=os.strerror(error.errno or 0))
        return _Planned(replace(verdict, findings=(*verdict.findings, missing)))
    record = LayerRecord(
        diff_id=layer.diff_id,
        open_record=partial(session.store.tar_split, chain),
        path=f"{layer.path}/tar-split.json.gz" if isinstance(session.store, DockerStore) else layer.path,
        top=top,
        rules=rules_for(session, driver, layer.cache_id),
        below=_below(driver, session.store.layers(), layer),
    )
    return _Planned(verdict, record, weight=max(layer.size or 0, 1))


def _tar_job(store: ArchiveStore, member: str, layer: Layer) -> Job[Part]:
    archive = store.archive
    return partial(
        check_tar,
        partial(archive.decompressed, member),
        lambda: archive.members.find(member).source,
        layer.diff_id,
        member,
    )


def _original(driver: Driver, cache_id: CacheID) -> CacheID | None:
    """The layer that this one is a copy of, if it only holds what differs."""
    if not isinstance(driver, CopiesLayers) or not isinstance(driver, RecordsLower):
        return None
    nearest = (driver.lower_ids(cache_id) or [])[:1]
    return next((below for below in nearest if driver.is_copy_of(cache_id, below)), None)


def rules_for(session: Session, driver: Driver, cache_id: CacheID) -> Rules:
    """How the directory of a layer is to be read in this root."""
    kind = driver.kind_of(cache_id) if isinstance(driver, MixedKinds) else driver.kind
    rootless, marker = session.setting.detection.rootless, session.setting.marker
    shifted = isinstance(session.store, ShiftsOwners) and cache_id in session.store.owner_maps()
    overridden = marker is not None and session.setting.xattr_prefix == "user"
    return Rules(
        kind=kind,
        dialect=UNMARKED if kind is LayerKind.SNAPSHOT else driver.dialect,
        owners=not (overridden or shifted or (rootless and session.setting.owners is None)),
        whiteout_owners=session.setting.owners is None,
        modes=not overridden,
        exact=is_hex64(cache_id),
        sees_marks=session.setting.sees_marks,
        top=isinstance(session.store, DockerStore),
        times=not (isinstance(session.store, PullsInParts) and cache_id in session.store.pulled_in_parts()),
    )


def _below(driver: Driver, layers: Mapping[ChainID, Layer], layer: Layer) -> LayerDirectory | None:
    parent = layers.get(layer.parent) if layer.parent else None
    if parent is None or parent.cache_id is None:
        return None
    try:
        return driver.open_layer(parent.cache_id)
    except OSError:
        return None


def _record_findings(session: Session, chain: ChainID, layer: Layer) -> list[Finding]:
    """The layer's own records, and the driver's record of what lies below it."""
    driver = session.contents.driver
    problems: list[Problem] = list(layer.problems)
    findings = [Finding(problem.path, problem.what) for problem in problems]
    if driver is None or layer.cache_id is None:
        return findings
    if isinstance(driver, TellsDamage) and not isinstance(driver, Elsewhere):
        damage = driver.layer_problems(layer.cache_id)
        findings += [Finding(problem.path, problem.what) for problem in damage]
    if isinstance(driver, RecordsLower):
        below = driver.lower_ids(layer.cache_id)
        if below is not None:
            below = session.contents.without_originals(layer.cache_id, below)
        recorded = list(islice(_cache_ids_below(session.store.layers(), layer), _MOST_BELOW))
        if below is not None and below != recorded:
            told, found = (", ".join(f"{one:.12}" for one in ids if one) or "nothing" for ids in (recorded, below))
            findings.append(
                Finding(driver.lower_record(layer.cache_id), "layers below", f"{told} in the layer records", found)
            )
    return findings


def _cache_ids_below(layers: Mapping[ChainID, Layer], layer: Layer) -> Iterator[CacheID | None]:
    """The cache IDs below a layer, nearest first; a circle ends where it closes."""
    seen: set[ChainID] = set()
    parent = layer.parent
    while parent is not None and parent not in seen and parent in layers:
        seen.add(parent)
        yield layers[parent].cache_id
        parent = layers[parent].parent


def _judged(session: Session, planned: _Planned) -> Verdict:
    """The verdict of a layer; one that was removed, or made anew, while it was checked isn't wrong."""
    verdict = judged(planned.verdict, planned.parts)
    skipped = "" if verdict.ok else changed_meanwhile(session, verdict)
    return replace(verdict, ok=None, skipped=skipped, findings=(), more=0) if skipped else verdict


def judged(verdict: Verdict, parts: Sequence[Part]) -> Verdict:
    """The verdict with everything that its parts found."""
    findings: dict[Finding, None] = dict.fromkeys(verdict.findings)
    more = size = denied = 0
    computed, skipped = verdict.computed, verdict.skipped
    for part in parts:
        findings.update(dict.fromkeys(part.findings))
        more += part.more
        size += part.size_bytes
        computed = part.computed or computed
        skipped = skipped or part.damaged
        denied += part.denied
    if denied and not skipped:
        skipped = f"{denied} entries can't be read without privilege"
    return replace(
        verdict,
        ok=False if findings else None if skipped else True,
        skipped=skipped,
        computed=computed,
        size_bytes=size,
        findings=tuple(findings),
        more=more,
    )
