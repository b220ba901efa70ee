"""Images as an archive, the same bytes each time: fixed order, times 0, owner 0, mode 0644.

| format | members |
| --- | --- |
| docker | ``<diff ID>.tar`` of each layer, ``<config digest>.json``, ``manifest.json`` |
| oci | ``oci-layout``, ``index.json``, ``blobs/sha256/<hex>``: layers (not compressed), configs, manifests |

Where the bytes come from is the knowledge of :class:`ImageBytes`. A layer's tar must have its diff ID: not compressed,
that is its digest, whatever library there is. The OCI manifest is made anew, so its digest isn't that of the one that
was pulled. Sources: docker image spec v1.2; OCI image-layout.md; moby image/tarexport/save.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, BinaryIO, Literal, Protocol

from msgspec import Struct

from layerscope.errors import CommitError, CorruptError
from layerscope.formats.escape import escape
from layerscope.formats.gojson import go_json
from layerscope.formats.tar.go_header import END, Member, header_blocks, padding
from layerscope.lab.image.tagging import Reference
from layerscope.model.digest import DiffID, ImageID, digest_of, hex_of

Format = Literal["docker", "oci"]

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class LayerBytes(Protocol):
    """The tar of one layer, not compressed, to be read as often as it is asked for, a piece at a time.

    All methods raise CorruptError or OSError where it can't be had, with the reason alone.
    """

    def size(self) -> int:
        """The bytes of the tar."""

    def pieces(self) -> Iterator[bytes]:
        """Its bytes from the beginning, none of the pieces long."""

    def explain(self, found: str) -> str:
        """Why a tar of the digest ``found`` isn't that of the layer, as far as that can be told."""


class ImageBytes(Struct, frozen=True):
    """An image whose bytes can be had.

    Attributes:
        identity: the digest of its config; what docker and podman call its ID.
        config: reads the config; raises CommitError.
        diff_ids: of its layers, base first, as the config has them.
        layers: their tars, in that order.
    """

    identity: ImageID
    config: Callable[[], bytes]
    diff_ids: tuple[DiffID, ...]
    layers: tuple[LayerBytes, ...]


class SavedImage(Struct, frozen=True):
    """An image to be saved, and the names that it is to have in the archive."""

    image: ImageBytes
    names: tuple[Reference, ...]


def save_images(images: Sequence[SavedImage], out: BinaryIO, form: Format) -> None:
    """Write an archive of images to ``out``; of an image named twice one entry, with all its names.

    Args:
        images: which ones.
        out: gets the archive; its own errors come through.
        form: ``docker`` or ``oci``.

    Raises:
        CommitError: the bytes of an image or layer can't be had, or aren't those that its ID stands for.
    """
    _Saver(_joined(images), out).save(form)


def _joined(images: Sequence[SavedImage]) -> list[SavedImage]:
    names: dict[ImageID, dict[Reference, None]] = {}
    for saved in images:
        names.setdefault(saved.image.identity, {}).update(dict.fromkeys(saved.names))
    by_id = {saved.image.identity: saved.image for saved in images}
    return [SavedImage(by_id[identity], tuple(sorted(found, key=_text))) for identity, found in names.items()]


def _text(reference: Reference) -> str:
    return reference.full


class _Saver:
    def __init__(self, images: Sequence[SavedImage], out: BinaryIO) -> None:
        self._images = images
        self._out = out
        self._layers: dict[DiffID, LayerBytes] = {}
        for saved in images:
            for diff_id, layer in zip(saved.image.diff_ids, saved.image.layers, strict=True):
                self._layers.setdefault(diff_id, layer)

    def save(self, form: Format) -> None:
        """Write everything."""
        if form == "docker":
            self._docker()
        else:
            self._oci()
        self._out.write(END)

    def _docker(self) -> None:
        for diff_id, layer in self._layers.items():
            self._layer(f"{hex_of(diff_id)}.tar", diff_id, layer)
        manifest = []
        for saved in self._images:
            name = f"{hex_of(saved.image.identity)}.json"
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
            diff_id: self._layer(f"blobs/sha256/{hex_of(diff_id)}", diff_id, layer)
            for diff_id, layer in self._layers.items()
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

    def _layer(self, name: str, diff_id: DiffID, layer: LayerBytes) -> int:
        """A layer's tar as a member; its length in bytes."""
        size = _size(diff_id, layer)
        self._out.write(header_blocks(Member(name.encode(), b"0", 0o644, size=size)))
        digest = sha256()
        written = 0
        for chunk in _pieces(diff_id, layer):
            digest.update(chunk)
            written += len(chunk)
            if written > size:
                break
            self._out.write(chunk)
        found = f"sha256:{digest.hexdigest()}"
        if found != diff_id or written != size:
            raise _refusal(diff_id, layer.explain(found))
        self._out.write(padding(size))
        return size

    @staticmethod
    def _config(image: ImageBytes) -> bytes:
        data = image.config()
        if digest_of(data) != image.identity:
            raise CommitError(f"cannot save {hex_of(image.identity)[:12]}: its config was changed")
        return data


def _size(diff_id: DiffID, layer: LayerBytes) -> int:
    try:
        return layer.size()
    except (CorruptError, OSError) as error:
        raise _refusal(diff_id, said(error)) from None


def _pieces(diff_id: DiffID, layer: LayerBytes) -> Iterator[bytes]:
    """The pieces of a tar; what goes wrong with them is told of this layer, what goes wrong with the archive isn't."""
    try:
        yield from layer.pieces()
    except (CorruptError, OSError) as error:
        raise _refusal(diff_id, said(error)) from None


def _refusal(diff_id: DiffID, why: str) -> CommitError:
    return CommitError(f"cannot save the layer {diff_id}: {why}")


def said(error: CorruptError | OSError) -> str:
    """The reason alone: of a system's error without its number and path."""
    return escape(error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}
