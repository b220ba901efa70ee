"""Blobs and unpacked snapshots of a containerd store, checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from layerscope.analysis.verify.blob import BlobRecord, check_blob, check_snapshot
from layerscope.analysis.verify.layer import Part
from layerscope.analysis.verify.metadata import Rules
from layerscope.drivers import Driver
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, DiffID, chain_ids
from layerscope.model.subject import Subject
from layerscope.model.tree import LayerDirectory
from layerscope.model.verdict import Finding, Verdict
from layerscope.services.session import Session
from layerscope.services.verify.layers import judged, rules_for
from layerscope.services.workers import Job, run_jobs
from layerscope.stores.containerd.folders import CONTENT
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.oci.content import Content
from layerscope.stores.oci.manifest import Blob, BlobState

_NO_BLOB = "its compressed tar isn't kept here, and nothing else tells what it held"


class _Planned(Struct):
    """A layer, or a blob that is none, whose part is still to come."""

    verdict: Verdict
    job: Job[Part] | None = None
    weight: int = 0
    parts: list[Part] = field(default_factory=list)


def planned_layers(
    session: Session,
    store: ContainerdStore,
    subject: Subject | None,
    deep: bool,
    processes: int | None,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Iterator[Verdict]:
    """Verdicts of all unpacked layers, in the order of the images, then of every other blob that isn't as it should be.

    Arguments as those of ``services.verify.verify``.
    """
    plan = list(_plan(session, store, subject, deep))
    jobs = [(one, one.job) for one in sorted(plan, key=lambda one: -one.weight) if one.job is not None]
    total = sum(one.weight for one in plan)
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        progress(done, max(total, done))

    waiting = {id(one) for one, _ in jobs}
    shown = 0
    results = run_jobs([job for _, job in jobs], processes=processes, progress=told, cancelled=cancelled)
    for number, part in results:
        one = jobs[number][0]
        one.parts.append(part or Part(damaged="the process that checked it was killed"))
        waiting.discard(id(one))
        while shown < len(plan) and id(plan[shown]) not in waiting:
            yield from _told(plan[shown])
            shown += 1
    if not cancelled():
        for one in plan[shown:]:
            yield from _told(one)


def _told(planned: _Planned) -> Iterator[Verdict]:
    verdict = judged(planned.verdict, planned.parts)
    if verdict.chain_id is not None or not verdict.ok:
        yield verdict


def _plan(session: Session, store: ContainerdStore, subject: Subject | None, deep: bool) -> Iterator[_Planned]:
    content = store.content
    if content is None:
        return
    blobs, others = _blobs(store, content, _image_ids(store, subject))
    layers = store.layers()
    wanted = dict.fromkeys(blobs) if subject is not None else dict.fromkeys([*blobs, *layers])
    checked = set()
    for chain in wanted:
        layer, blob = layers.get(chain), blobs.get(chain)
        if layer is None:
            continue  # a platform that isn't unpacked: its blobs are checked as such
        findings = tuple(Finding(problem.path, problem.what) for problem in layer.problems)
        verdict = Verdict(chain, layer.diff_id, layer.cache_id, None, findings=findings)
        if blob is None or blob.state is not BlobState.PRESENT:
            yield _Planned(replace(verdict, skipped=_NO_BLOB))
            continue
        driver = session.contents.driver
        if driver is None or layer.cache_id is None:
            yield _Planned(replace(verdict, skipped="where its files lie is not known"))
            continue
        try:
            top = driver.open_layer(layer.cache_id)
        except OSError as error:
            missing = Finding(driver.layer_path(layer.cache_id), "contents", found=error.strerror or "")
            yield _Planned(replace(verdict, findings=(*verdict.findings, missing)))
            continue
        checked.add(blob.digest)
        base = store.snapshots.by_key[chain].parent is None
        # containerd unpacks onto a base's directory as onto any other, and deletes there at once.
        rules = replace(rules_for(session, driver, layer.cache_id), exact=False, at_once=base, by_containerd=True)
        record = blob_record(store, content, blob.digest)
        job = partial(_snapshot, record, layer.diff_id, top, rules, deep, _below(store, driver, chain))
        yield _Planned(verdict, job, max(blob.size, 1))
    rest = [blob.digest for blob in others.values()] if subject is not None else sorted(content.files)
    for digest in rest:
        if digest not in checked and digest in content.files:
            weight = others[digest].size if digest in others else 1
            yield _Planned(Verdict(None, None, None, None), partial(_blob, blob_record(store, content, digest)), weight)


def _snapshot(
    record: BlobRecord,
    diff_id: DiffID | None,
    top: LayerDirectory,
    rules: Rules,
    deep: bool,
    below: LayerDirectory | None,
    progress: Callable[[int], None],
) -> Part:
    return check_snapshot(record, diff_id, top, rules, deep, below=below, progress=progress)


def _below(store: ContainerdStore, driver: Driver, chain: ChainID) -> LayerDirectory | None:
    """The directory that a snapshot was made on, if it can be opened."""
    known = store.snapshots.by_key
    parent = known.get(known[chain].parent or "")
    if parent is None or parent.cache_id is None:
        return None
    try:
        return driver.open_layer(parent.cache_id)
    except OSError:
        return None


def _blob(record: BlobRecord, progress: Callable[[int], None]) -> Part:
    return check_blob(record, progress=progress)


def blob_record(store: ContainerdStore, content: Content, digest: str) -> BlobRecord:
    """Where a blob lies, and how it is opened."""
    root = store.layer_root
    assert root is not None
    algorithm, _, name = digest.partition(":")
    folder = root.enter(CONTENT).enter("blobs").enter(algorithm)
    return BlobRecord(digest, content.path_of(digest), partial(folder.open, name), content.recorded_size(digest))


def _image_ids(store: ContainerdStore, subject: Subject | None) -> frozenset[str] | None:
    """The images that count, None for all."""
    if subject is None:
        return None
    thing = subject.container or subject.image
    return frozenset({str(thing.image_id if isinstance(thing, Container) else thing.id if thing else "")})


def _blobs(
    store: ContainerdStore, content: Content, wanted: frozenset[str] | None
) -> tuple[dict[ChainID, Blob], dict[str, Blob]]:
    """The layer blob of each chain ID, base first within an image; and every blob of those images by digest."""
    found: dict[ChainID, Blob] = {}
    others: dict[str, Blob] = {}
    for one in store.stored_images:
        if wanted is not None and one.image.id not in wanted:
            continue
        others.update((blob.digest, blob) for blob in one.blobs)
        for manifest in one.manifests:
            config = content.config(manifest.config.digest) if manifest.config and manifest.attests is None else None
            rootfs = config.typed.rootfs if config is not None else None
            diff_ids = [diff for diff in (rootfs.diff_ids if rootfs else None) or () if diff]
            if len(diff_ids) == len(manifest.layers):
                found.update(zip(chain_ids(diff_ids), manifest.layers, strict=True))
    return found, others
