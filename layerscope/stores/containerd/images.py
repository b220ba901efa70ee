"""Images of a content store: a target, the names that mean it, and what of it is here.

The image's ID is the digest of its target, an index or a manifest; several records with one target are one image. Names
are full (``docker.io/library/x:tag``); docker shows them short, keeps an image without a name as
``moby-dangling@<digest>``, and puts the parent of a commit or build step in a label. A name that isn't full, as that
of an image of an OCI layout, docker shows as it is, and finds nothing by it. A name that is itself a digest is
Kubernetes' own ID of the image. Sizes are those that docker shows: the blobs below each manifest that are here, and for
each platform whose top layer is unpacked the recorded sizes of its whole stack of snapshots.

Source: moby daemon/containerd/image_list.go, image_manifest.go, image_snapshot.go; containerd internal/cri/store/image;
equal to the answers of docker 28 and 29 on the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from layerscope.formats.reference import familiar_name, full_name, parse_reference
from layerscope.model.digest import ChainID, DiffID, ImageID, chain_ids, is_digest
from layerscope.model.image import HistoryRow, Image, Layer, PlatformManifest
from layerscope.model.problem import Problem, Severity
from layerscope.stores.containerd.metadata import ImageRecord
from layerscope.stores.containerd.snapshots import Snapshots
from layerscope.stores.containerd.stack import image_stack
from layerscope.stores.moment import nanoseconds, sound_time
from layerscope.stores.oci.content import Content, is_blob_digest
from layerscope.stores.oci.manifest import Blob, BlobState, Descriptor, ManifestContent
from layerscope.stores.records.files import shown, unique
from layerscope.stores.records.history import join_history
from layerscope.stores.records.image_config import ConfigRecord, ImageConfig

PARENT_LABEL = "org.mobyproject.image.parent"
_DANGLING = "moby-dangling@"
_MOST_LAYERS = 1000
_NOTHING = ConfigRecord(ImageID(""), "", ImageConfig(), {}, (), ())


class Around(Struct, frozen=True):
    """What images are joined with. ``path`` is that of the names; ``docker``: names are shown as docker does."""

    content: Content
    snapshots: Snapshots
    layers: Mapping[ChainID, Layer]
    path: str
    docker: bool


class StoredImage(Struct, frozen=True):
    """An image with what its sizes are made of.

    ``records`` are its names. ``chain_ids`` and ``diff_ids`` are those of all platforms that are described here, base
    first each; ``blobs`` what docker counts of its content. ``pulled_size`` is what ``docker image inspect`` and
    Kubernetes show: the compressed bytes of the index and of the one platform whose layers are told, None if there is
    none.
    """

    image: Image
    records: tuple[ImageRecord, ...]
    manifests: tuple[ManifestContent, ...]
    chain_ids: tuple[ChainID, ...]
    diff_ids: tuple[DiffID, ...]
    blobs: tuple[Blob, ...]
    pulled_size: int | None

    @property
    def usable_tags(self) -> tuple[str, ...]:
        """The tags that docker finds it by."""
        there = {record.name for record in self.records}
        return tuple(tag for tag in self.image.repo_tags if full_name(tag) in there)


class _Platform(Struct, frozen=True):
    """One manifest with its configuration; ``unpacked``: its top layer has a snapshot."""

    manifest: ManifestContent
    config: ConfigRecord
    unpacked: bool
    size: int | None

    @property
    def told(self) -> PlatformManifest:
        return PlatformManifest(
            digest=self.manifest.blob.digest,
            platform=self.manifest.platform,
            attests=self.manifest.attests,
            available=self.manifest.available,
            unpacked=self.unpacked,
            content_size=sum(blob.size for blob in self.manifest.counted),
            unpacked_size=self.size,
        )


def read_images(records: Iterable[ImageRecord], around: Around) -> tuple[tuple[StoredImage, ...], tuple[Problem, ...]]:
    """The images that ``records`` name, newest first, then by ID; and what is wrong with records that name none."""
    groups: dict[str, list[ImageRecord]] = {}
    problems: list[Problem] = []
    for record in records:
        if is_blob_digest(record.digest):
            groups.setdefault(record.digest, []).append(record)
        else:
            what = f"says that {shown(record.name)} is {shown(record.digest)}, which is no digest"
            problems.append(Problem(around.path, what, "this name isn't shown"))
    found = [_read(group, around) for group in groups.values()]
    found.sort(key=lambda one: (-(nanoseconds(one.image.created) or 0), one.image.id))
    return tuple(found), tuple(problems)


def _read(records: list[ImageRecord], around: Around) -> StoredImage:
    first = records[0]
    target = around.content.blob(Descriptor(first.media_type, first.digest, first.size))
    assert target is not None
    problems = list(_target_problems(target, records, around))
    manifests = around.content.manifests(Descriptor(first.media_type, first.digest, first.size))
    platforms = [_platform(manifest, around, problems) for manifest in manifests]
    problems.extend(problem for one in platforms for problem in _blob_problems(one.manifest, target, around.content))
    images = [one for one in platforms if one.manifest.attests is None]
    best = _best(images)
    problems.extend(_absences(best, target, around))
    image = _image(records, [one.told for one in platforms], best, around, problems)
    pulled = None
    if best is not None:
        parts = best.manifest.parts if target.digest == best.manifest.blob.digest else (target, *best.manifest.parts)
        pulled = sum(blob.size for blob in parts if blob.state is not BlobState.ABSENT)
    return StoredImage(
        image=image,
        records=tuple(records),
        manifests=manifests,
        chain_ids=tuple(chain for one in images for chain in one.config.chain_ids),
        diff_ids=tuple(diff_id for one in images for diff_id in one.config.diff_ids),
        blobs=tuple(blob for manifest in manifests for blob in manifest.counted),
        pulled_size=pulled,
    )


# ---------------------------------------------------------------------- platforms
def _platform(manifest: ManifestContent, around: Around, problems: list[Problem]) -> _Platform:
    config = _NOTHING
    if manifest.attests is None and manifest.config is not None:
        config = _config(manifest.config, around.content, problems)
    top = config.chain_ids[-1] if config.chain_ids else None
    unpacked = top is not None and top in around.snapshots.by_key
    size = around.snapshots.total_size(top) if top is not None and unpacked else 0
    return _Platform(manifest, config, unpacked, size)


def _config(blob: Blob, content: Content, problems: list[Problem]) -> ConfigRecord:
    record = content.config(blob.digest)
    if record is None:
        return replace(_NOTHING, path=content.path_of(blob.digest))
    path = content.path_of(blob.digest)
    diff_ids = tuple(_diff_ids(record.typed, path, problems))
    return ConfigRecord(ImageID(blob.digest), path, record.typed, record.raw, diff_ids, chain_ids(diff_ids))


def _diff_ids(config: ImageConfig, path: str, problems: list[Problem]) -> Iterator[DiffID]:
    for number, diff_id in enumerate((config.rootfs.diff_ids if config.rootfs else None) or (), 1):
        if not is_digest(diff_id) or number > _MOST_LAYERS:
            what = f"has {shown(diff_id)} for the diff ID of layer {number}, expected sha256:<64 digits>"
            problems.append(Problem(path, what, "the layers below are shown"))
            return
        yield DiffID(diff_id)


def _best(platforms: Sequence[_Platform]) -> _Platform | None:
    """The platform that is shown: unpacked before complete before described."""
    for fits in (
        lambda one: one.unpacked,
        lambda one: one.manifest.available,
        lambda one: bool(one.config.raw),
    ):
        found = next((one for one in platforms if fits(one)), None)
        if found is not None:
            return found
    return None


# ---------------------------------------------------------------------- what is wrong, and what is only not here
def _target_problems(target: Blob, records: Sequence[ImageRecord], around: Around) -> Iterator[Problem]:
    if target.state is BlobState.PRESENT:
        return
    names = ", ".join(shown(record.name) for record in records[:3])
    lost = target.state is BlobState.LOST
    what = f"is missing, and {'' if lost else 'has no record either, and '}is what {names} means"
    yield Problem(around.content.path_of(target.digest), what, "its layers are unknown", "pull the image again")


def _blob_problems(manifest: ManifestContent, target: Blob, content: Content) -> Iterator[Problem]:
    yield from content.faults_of(target.digest)
    for blob in manifest.parts:
        yield from content.faults_of(blob.digest)
        if blob.state is BlobState.LOST and blob.digest != target.digest:
            what = f"is missing: {blob.size} bytes of {shown(blob.media_type)} that have a record"
            effect = "docker counts its bytes all the same; unpacked layers can be shown without it"
            yield Problem(content.path_of(blob.digest), what, effect, "pull the image again")


def _absences(best: _Platform | None, target: Blob, around: Around) -> Iterator[Problem]:
    """What can't be shown for a reason that is no damage."""
    if best is None:
        if target.state is BlobState.PRESENT:
            what = "describes no platform whose configuration is here"
            path = around.content.path_of(target.digest)
            yield Problem(path, what, "its layers are unknown", severity=Severity.NOTE)
    elif not best.unpacked and best.config.chain_ids:
        path = around.content.path_of(best.manifest.blob.digest)
        here = "its layers are here compressed" if best.manifest.available else "some of its layers aren't here"
        what = f"is not unpacked ({shown(best.manifest.platform)}); {here}"
        yield Problem(path, what, "its files can't be shown", severity=Severity.NOTE)


# ---------------------------------------------------------------------- the image itself
def _image(
    records: Sequence[ImageRecord],
    manifests: Sequence[PlatformManifest],
    best: _Platform | None,
    around: Around,
    problems: list[Problem],
) -> Image:
    target = records[0].digest
    tags, digests = _names(records, target, around.docker)
    config = best.config if best else _NOTHING
    parent = next((label for record in records if is_digest(label := record.labels.get(PARENT_LABEL, ""))), None)
    history = _history(config, around, problems)
    sizes = [size for one in manifests for size in (one.content_size, one.unpacked_size)]
    created = config.config.created
    return Image(
        id=ImageID(target),
        repo_tags=tags,
        repo_digests=digests,
        parent=ImageID(parent) if parent else None,
        created=sound_time(created),
        architecture=config.config.architecture or "",
        os=config.config.os or "linux",
        author=config.config.author or "",
        diff_ids=config.diff_ids,
        chain_ids=config.chain_ids,
        history=history,
        size=None if None in sizes else sum(size or 0 for size in sizes),
        config=config.raw,
        problems=unique(problems),
        manifests=tuple(manifests),
    )


def _history(config: ConfigRecord, around: Around, problems: list[Problem]) -> tuple[HistoryRow, ...]:
    """Oldest first; levels are places in the real stack, a layer that isn't unpacked has no bytes, as docker says."""
    if not config.raw:
        return ()
    stack = image_stack(config.chain_ids, around.snapshots)
    numbers = {member.chain_id: number for number, member in enumerate(stack, 1)}
    return tuple(
        replace(
            row,
            level=numbers.get(row.chain_id) if row.chain_id else None,
            size=0 if row.chain_id not in around.snapshots.by_key else row.size,
        )
        for row in join_history(config, around.layers, problems)
    )


def _names(records: Sequence[ImageRecord], target: str, docker: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tags and digest references of an image. docker makes one of the latter from each name."""
    tags: set[str] = set()
    digests: set[str] = set()
    for record in records:
        if not record.name or record.name.startswith(_DANGLING) or is_blob_digest(record.name):
            continue
        parts = parse_reference(record.name)
        if parts is None or (docker and full_name(record.name) != record.name):
            tags.add(record.name)
            continue
        name, tag, digest = parts
        shown_name = familiar_name(name) if docker else name
        if digest is None:
            tags.add(f"{shown_name}:{tag or 'latest'}")
        if docker or digest is not None:
            digests.add(f"{shown_name}@{target if docker else digest}")
    return tuple(sorted(tags, key=full_name)), tuple(sorted(digests, key=full_name))
