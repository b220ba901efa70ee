"""What references, indexes and manifests say, and what is known of the blobs that they name.

An image's target is an index (a list of manifests, one for each platform) or a single manifest, which names a config
and layers. Most of them may be absent: platforms that were not wanted, content that was thrown away once unpacked.
Manifests that describe others ("attestations") are told by an annotation, or by the platform ``unknown``.
Source: OCI image spec, image-index.md and manifest.md; moby daemon/containerd/image_manifest.go.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

_INDEX = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_MANIFEST = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_ATTESTATION_TYPE = "vnd.docker.reference.type"
_ATTESTED = "vnd.docker.reference.digest"
_UNKNOWN_PLATFORM = "unknown/unknown"


class Platform(msgspec.Struct):
    """``platform`` of a descriptor."""

    architecture: str | None = None
    os: str | None = None
    variant: str | None = None


class Descriptor(msgspec.Struct, rename="camel"):
    """One reference to a blob."""

    media_type: str | None = None
    digest: str | None = None
    size: int | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Document(msgspec.Struct, rename="camel"):
    """An index (``manifests``) or a manifest (``config``, ``layers``)."""

    media_type: str | None = None
    manifests: list[Descriptor | None] | None = None
    config: Descriptor | None = None
    layers: list[Descriptor | None] | None = None


class BlobState(StrEnum):
    """Whether the bytes are there.

    | state | means |
    | --- | --- |
    | present | the namespace has a record, and there is a file |
    | absent | the namespace has no record: normal |
    | lost | a record without a file: damage |
    """

    PRESENT = "present"
    ABSENT = "absent"
    LOST = "lost"


class Blob(Struct, frozen=True):
    """One reference, with what is known of its bytes. ``size`` is the recorded one, else the reference's."""

    digest: str
    media_type: str
    size: int
    state: BlobState


class ManifestContent(Struct, frozen=True):
    """One manifest of a target, with everything it names.

    ``platform`` is ``os/architecture[/variant]``, "" where nothing tells. ``attests``: the digest of the manifest that
    it describes ("" if that isn't told), None for an image's own. ``available``: manifest, config and layers are all
    present. ``parts``: the manifest, its config, its layers; without the manifest's own bytes only itself.
    """

    blob: Blob
    platform: str
    attests: str | None
    config: Blob | None
    layers: tuple[Blob, ...]

    @property
    def parts(self) -> tuple[Blob, ...]:
        """The manifest itself first, then its config, then the layers, base first."""
        return (self.blob, *((self.config,) if self.config else ()), *self.layers)

    @property
    def counted(self) -> tuple[Blob, ...]:
        """The parts that docker counts: those that the namespace has a record of, if it has one of the manifest."""
        if self.blob.state is BlobState.ABSENT:
            return ()
        return tuple(blob for blob in self.parts if blob.state is not BlobState.ABSENT)

    @property
    def available(self) -> bool:
        """Whether all of it is there."""
        return self.config is not None and all(blob.state is BlobState.PRESENT for blob in self.parts)


def is_index(descriptor: Descriptor, document: Document) -> bool:
    """Whether what ``descriptor`` leads to, which says ``document``, lists manifests."""
    if descriptor.media_type in _MANIFEST:
        return False
    return descriptor.media_type in _INDEX or document.manifests is not None


def is_manifest(descriptor: Descriptor, document: Document) -> bool:
    """Whether what ``descriptor`` leads to, which says ``document``, names a config and layers."""
    return descriptor.media_type in _MANIFEST or document.config is not None


def platform_of(descriptor: Descriptor) -> str:
    """``os/architecture[/variant]``, "" where nothing tells."""
    platform = descriptor.platform
    if platform is None or not (platform.os or platform.architecture):
        return ""
    parts = (platform.os or "linux", platform.architecture or "?", platform.variant or "")
    return "/".join(part for part in parts if part)


def attested_by(descriptor: Descriptor) -> str | None:
    """The digest of the manifest that this one describes, "" if that isn't told, None for an image's own."""
    annotations = descriptor.annotations or {}
    if _ATTESTATION_TYPE in annotations or platform_of(descriptor) == _UNKNOWN_PLATFORM:
        return annotations.get(_ATTESTED, "")
    return None
