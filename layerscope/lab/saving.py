"""Images as an archive, the same bytes each time: fixed order, times 0, owner 0, mode 0644.

| format | members |
| --- | --- |
| docker | ``<diff ID>.tar`` of each layer, ``<image ID>.json``, ``manifest.json`` |
| oci | ``oci-layout``, ``index.json``, ``blobs/sha256/<hex>``: layers (not compressed), configs, manifests |

A layer's tar is put together from its tar-split record and its files, and must have its diff ID. Not compressed, a
layer's digest is its diff ID, whatever library there is. Sources: docker image spec v1.2; OCI image-layout.md; moby
image/tarexport/save.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Literal

from layerscope.drivers import Driver
from layerscope.errors import CommitError, CorruptError
from layerscope.formats.escape import escape
from layerscope.formats.gojson import go_json
from layerscope.formats.gotar import END, Member, header_blocks, padding
from layerscope.formats.tarheader import TarHeader
from layerscope.formats.tarsplit import FileEntry, read_entries, reassemble
from layerscope.lab.tagging import Reference
from layerscope.model.digest import CacheID, ChainID, DiffID, ImageID, digest_of, hex_of
from layerscope.model.image import Image
from layerscope.overlay.view import MergedView, ViewLevel
from layerscope.stores.docker.store import DockerStore

Format = Literal["docker", "oci"]

_CONFIG_LIMIT = 16 << 20
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image to be saved, and the names that it is to have in the archive."""

    image: Image
    names: tuple[Reference, ...]


def save_images(store: DockerStore, driver: Driver, images: Sequence[SavedImage], out: BinaryIO, form: Format) -> None:
    """Write an archive of images to ``out``; of an image named twice one entry, with all its names.

    Args:
        store: the records.
        driver: the files.
        images: which ones.
        out: gets the archive; its own errors come through.
        form: ``docker`` or ``oci``.

    Raises:
        CommitError: an image or layer is damaged.
    """
    _Saver(store, driver, _joined(images), out).save(form)


def _joined(images: Sequence[SavedImage]) -> list[SavedImage]:
    names: dict[ImageID, dict[Reference, None]] = {}
    for saved in images:
        names.setdefault(saved.image.id, {}).update(dict.fromkeys(saved.names))
    by_id = {saved.image.id: saved.image for saved in images}
    return [SavedImage(by_id[identity], tuple(sorted(found, key=_text))) for identity, found in names.items()]


def _text(reference: Reference) -> str:
    return reference.full


class _Saver:
    def __init__(self, store: DockerStore, driver: Driver, images: Sequence[SavedImage], out: BinaryIO) -> None:
        self._store = store
        self._driver = driver
        self._images = images
        self._out = out
        self._layers: dict[DiffID, ChainID] = {}
        for saved in images:
            image = saved.image
            if image.broken:
                raise CommitError(f"cannot save {hex_of(image.id)[:12]}: it is broken; layerscope doctor tells more")
            for diff_id, chain in zip(image.diff_ids, image.chain_ids, strict=True):
                self._layers.setdefault(diff_id, chain)

    def save(self, form: Format) -> None:
        """Write everything."""
        if form == "docker":
            self._docker()
        else:
            self._oci()
        self._out.write(END)

    def _docker(self) -> None:
        for diff_id, chain in self._layers.items():
            self._layer(f"{hex_of(diff_id)}.tar", diff_id, chain)
        manifest = []
        for saved in self._images:
            name = f"{hex_of(saved.image.id)}.json"
            self._file(name, self._config(saved.image))
            layers = [f"{hex_of(diff_id)}.tar" for diff_id in saved.image.diff_ids]
            tags = [reference.text for reference in saved.names]
            manifest.append({"Config": name, "RepoTags": tags or None, "Layers": layers})
        self._file("manifest.json", go_json(manifest) + b"\n")

    def _oci(self) -> None:
        self._file("oci-layout", go_json({"imageLayoutVersion": "1.0.0"}))
        self._folder("blobs/")
        self._folder("blobs/sha256/")
        sizes = {
            diff_id: self._layer(f"blobs/sha256/{hex_of(diff_id)}", diff_id, chain)
            for diff_id, chain in self._layers.items()
        }
        manifests = []
        for saved in self._images:
            config = self._blob(_CONFIG_TYPE, self._config(saved.image))
            layers = [_descriptor(_LAYER_TYPE, diff_id, sizes[diff_id]) for diff_id in saved.image.diff_ids]
            content = {"schemaVersion": 2, "mediaType": _MANIFEST_TYPE, "config": config, "layers": layers}
            manifest = self._blob(_MANIFEST_TYPE, go_json(content))
            for reference in saved.names:
                notes = {
                    "io.containerd.image.name": reference.full,
                    "org.opencontainers.image.ref.name": reference.text,
                }
                manifests.append({**manifest, "annotations": notes})
            if not saved.names:
                manifests.append(manifest)
        self._file("index.json", go_json({"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": manifests}))

    # ------------------------------------------------------------------ members
    def _blob(self, kind: str, data: bytes) -> dict[str, Any]:
        self._file(f"blobs/sha256/{hex_of(digest_of(data))}", data)
        return _descriptor(kind, digest_of(data), len(data))

    def _folder(self, name: str) -> None:
        self._out.write(header_blocks(Member(name.encode(), b"5", 0o755)))

    def _file(self, name: str, data: bytes) -> None:
        self._out.write(header_blocks(Member(name.encode(), b"0", 0o644, size=len(data))))
        self._out.write(data + padding(len(data)))

    def _layer(self, name: str, diff_id: DiffID, chain: ChainID) -> int:
        """A layer's tar as a member; its length in bytes."""
        size = self._tar_size(diff_id, chain)
        self._out.write(header_blocks(Member(name.encode(), b"0", 0o644, size=size)))
        digest = sha256()
        written = 0
        for chunk in self._tar(diff_id, chain):
            digest.update(chunk)
            written += len(chunk)
            if written > size:
                break
            self._out.write(chunk)
        found = f"sha256:{digest.hexdigest()}"
        if found != diff_id:
            raise CommitError(
                f"cannot save the layer {diff_id}: its files were changed, their tar has the digest {found}; "
                "layerscope verify tells which"
            )
        self._out.write(padding(size))
        return size

    def _config(self, image: Image) -> bytes:
        try:
            folder = self._store.root.descend(f"image/{self._store.driver}/imagedb/content/sha256")
            data = folder.read(hex_of(image.id), _CONFIG_LIMIT)
        except (OSError, CorruptError) as error:
            raise CommitError(f"cannot save {hex_of(image.id)[:12]}: its config can't be read: {error}") from None
        if digest_of(data) != image.id:
            raise CommitError(f"cannot save {hex_of(image.id)[:12]}: its config was changed")
        return data

    # ------------------------------------------------------------------ layers
    def _record(self, diff_id: DiffID, chain: ChainID) -> BinaryIO:
        record = self._store.tar_split(chain)
        if record is None:
            raise CommitError(f"cannot save the layer {diff_id}: its tar-split record can't be read")
        return record

    def _tar_size(self, diff_id: DiffID, chain: ChainID) -> int:
        with self._record(diff_id, chain) as record:
            try:
                return sum(
                    entry.size if isinstance(entry, FileEntry) else len(entry.payload) for entry in read_entries(record)
                )
            except CorruptError as error:
                raise CommitError(f"cannot save the layer {diff_id}: {error}") from None

    def _tar(self, diff_id: DiffID, chain: ChainID) -> Iterator[bytes]:
        layer = self._store.layers().get(chain)
        if layer is None or layer.cache_id is None:
            raise CommitError(f"cannot save the layer {diff_id}: its directory isn't recorded")
        view = self._view(layer.cache_id)

        def open_file(name: str, size: int) -> BinaryIO:
            return _open_member(view, name)

        with self._record(diff_id, chain) as record:
            try:
                yield from reassemble(record, open_file)
            except CorruptError as error:
                raise CommitError(f"cannot save the layer {diff_id}: {error}") from None

    def _view(self, cache_id: CacheID) -> MergedView:
        """The layer alone: links in it lead nowhere else."""
        return MergedView([ViewLevel(1, self._driver.open_layer(cache_id), dialect=self._driver.dialect)])


def _open_member(view: MergedView, name: str) -> BinaryIO:
    """The content of a tar's member, in the layer; the last name of it is no link."""
    path = TarHeader(name, "0", 0, 0, 0, 0, 0, "", "", "", 0, 0, {}, 0).path
    try:
        place = view.place(path)
        return place.directory.open(place.name)
    except OSError as error:
        raise CorruptError(f"the file {escape(path)[:200]} can't be read: {error.strerror}") from None


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}
