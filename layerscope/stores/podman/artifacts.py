"""podman's artifacts: an OCI image layout in ``artifacts``, since podman 5.4.

| below ``artifacts`` | what |
| --- | --- |
| ``index.json`` | each artifact's manifest, with its name in the annotation ``org.opencontainers.image.ref.name`` |
| ``blobs/sha256/<digest>`` | manifests, their configurations, and the files |
| ``index.lock`` | held while artifacts are added or removed |

Files that several artifacts have are stored once. Source: containers/common pkg/libartifact; seen with podman 5.8.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.model.digest import is_digest
from layerscope.stores.records.files import Fault, read_bytes
from layerscope.stores.records.json_record import parse

FOLDER = "artifacts"
BLOBS = f"{FOLDER}/blobs/sha256"
_LIMIT = 4 << 20
_MOST = 10_000
_MOST_BLOBS = 1_000_000
"""Of all artifacts together, each counted for each."""
_NAME = "org.opencontainers.image.ref.name"


class _Descriptor(msgspec.Struct):
    digest: str | None = None
    annotations: dict[str, str] | None = None


class _Index(msgspec.Struct):
    manifests: list[_Descriptor | None] | None = None


class _Manifest(msgspec.Struct):
    config: _Descriptor | None = None
    layers: list[_Descriptor | None] | None = None


class Artifact(Struct, frozen=True):
    """One name of the index. ``blobs``: the hexadecimal digests of all that it needs, its manifest first."""

    name: str
    blobs: tuple[str, ...]


class Artifacts(Struct, frozen=True):
    """All of them; ``complete``: what none of them has, nobody has."""

    listed: tuple[Artifact, ...] = ()
    complete: bool = True

    def owners(self) -> dict[str, list[str]]:
        """The names of the artifacts that have each blob."""
        found: dict[str, list[str]] = {}
        for one in self.listed:
            for blob in one.blobs:
                found.setdefault(blob, []).append(one.name)
        return found


def read_artifacts(root: Directory) -> Artifacts:
    """The artifacts of a root of containers/storage; what can't be read makes the rest incomplete."""
    data = read_bytes(root.enter(FOLDER), "index.json", _LIMIT)
    if isinstance(data, Fault):
        return Artifacts(complete=data.absent)
    index = parse(data, _Index)
    manifests = [one for one in index.typed.manifests or () if one is not None and is_digest(one.digest)]
    complete = not index.faults and len(manifests) == len(index.typed.manifests or ()) <= _MOST
    blobs = root.descend(BLOBS)
    found: list[Artifact] = []
    known: dict[str, tuple[str, ...] | None] = {}
    room = _MOST_BLOBS
    for one in manifests[:_MOST]:
        digest = (one.digest or "").removeprefix("sha256:")
        if digest not in known:
            known[digest] = _parts(blobs, digest)
        parts = known[digest]
        room -= len(parts or ()) + 1
        complete = complete and parts is not None and room >= 0
        if room < 0:
            break
        found.append(Artifact((one.annotations or {}).get(_NAME) or digest[:12], (digest, *(parts or ()))))
    return Artifacts(tuple(found), complete)


def _parts(blobs: Directory, manifest: str) -> tuple[str, ...] | None:
    """What a manifest names; None if that can't be told."""
    data = read_bytes(blobs, manifest, _LIMIT)
    if isinstance(data, Fault):
        return None
    record = parse(data, _Manifest)
    return None if record.faults else tuple(dict.fromkeys(_digests(record.typed)))


def _digests(manifest: _Manifest) -> Iterator[str]:
    for one in (manifest.config, *(manifest.layers or ())):
        if one is not None and is_digest(one.digest):
            yield (one.digest or "").removeprefix("sha256:")
