"""Small image archives, made by tarfile: in the forms of docker's and skopeo's, or damaged."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Member = tuple[str, bytes] | tarfile.TarInfo


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def tar_of(members: Sequence[Member], **options: Any) -> bytes:
    """A tar of files (name and bytes) and of what else there may be."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", encoding="utf-8", errors="surrogateescape", **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, data = member
            header = tarfile.TarInfo(name)
            header.size, header.mtime = len(data), 1_700_000_000
            tar.addfile(header, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, kind: bytes, link: str = "", **facts: Any) -> tarfile.TarInfo:
    """A member without bytes."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    for key, value in facts.items():
        setattr(header, key, value)
    return header


def config_of(layers: Sequence[bytes], **more: Any) -> bytes:
    """An image config over these plain tars."""
    history = [
        {"created": "2024-01-02T03:04:05Z", "created_by": f"step {number}"} for number in range(1, len(layers) + 1)
    ]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]}
    value = {"architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z", "rootfs": rootfs}
    return json.dumps({**value, "history": history, **more}).encode()


def saved_members(layers: Sequence[bytes], tags: Sequence[str] = ("shop/app:1",)) -> dict[str, bytes]:
    """The members of what docker 20.10 saves, in its order."""
    config = config_of(layers)
    found = {f"{sha256(layer + b'id')}/layer.tar": layer for layer in layers}
    names = list(found)
    found[f"{sha256(config)}.json"] = config
    record = [{"Config": f"{sha256(config)}.json", "RepoTags": list(tags), "Layers": names}]
    found["manifest.json"] = json.dumps(record).encode()
    return found


def layout_members(
    layers: Sequence[bytes], compress: Callable[[bytes], bytes] = bytes, tag: str = "shop/app:1"
) -> dict[str, bytes]:
    """The members of an OCI layout, its blobs compressed."""
    found: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(data: bytes, kind: str) -> dict[str, object]:
        found[f"blobs/sha256/{sha256(data)}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{sha256(data)}", "size": len(data)}

    config = blob(config_of(layers), "config.v1+json")
    parts = [blob(compress(layer), "layer.v1.tar+gzip") for layer in layers]
    manifest = blob(json.dumps({"schemaVersion": 2, "config": config, "layers": parts}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
    found["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    return found


def archive(members: Mapping[str, bytes]) -> bytes:
    """These members as a tar."""
    return tar_of(list(members.items()))


BASE = tar_of(
    [entry("etc", tarfile.DIRTYPE, mode=0o755), ("etc/motd", b"hello\n"), ("etc/gone", b"gone\n"), ("big", b"b" * 9000)]
)
TOP = tar_of([("etc/.wh.gone", b""), ("etc/motd", b"hello again\n"), ("etc/new", b"new\n")])
