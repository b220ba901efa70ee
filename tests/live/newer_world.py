"""What a newer engine holds beside the old world: images for two platforms, pulled by digest, built by BuildKit."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard
from archive_makers import sha256, tar_of
from engine import Tar, docker_client
from newer_engine import SNAPSHOTTER, NewerEngine
from operations import build_with_buildkit, load
from world import World

OCI = "application/vnd.oci.image"
ATTESTS = {"vnd.docker.reference.type": "attestation-manifest"}
CAN_BUILD = docker_client() is not None
"""This machine's client brings BuildKit's sessions without a program beside it."""


class Blobs:
    """Content that manifests name."""

    def __init__(self) -> None:
        self.by_digest: dict[str, bytes] = {}

    def add(self, content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """The descriptor of a new blob."""
        digest = f"sha256:{sha256(content)}"
        self.by_digest[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def add_json(self, value: object, media_type: str, **more: Any) -> dict[str, Any]:
        """The descriptor of a new document."""
        return self.add(json.dumps(value).encode(), media_type, **more)


def layer(name: str, size: int) -> bytes:
    """A layer of a directory and a file."""
    tar = Tar()
    tar.folder(name)
    tar.add(f"{name}/file", name.encode() * (size // len(name)))
    return tar.bytes()


def image(blobs: Blobs, architecture: str, layers: list[bytes], **more: Any) -> dict[str, Any]:
    """The descriptor of a manifest over ``layers``: the first compressed by gzip, the second by zstd, the rest not."""
    platform = {"architecture": architecture, "os": "linux"}
    config = {
        **platform,
        "created": "2026-03-04T05:06:07.089Z",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(one)}" for one in layers]},
        "history": [{"created": "2026-03-04T05:06:07Z", "created_by": f"layer of {len(one)}"} for one in layers],
    }
    kinds = [("+gzip", lambda one: gzip.compress(one, mtime=0)), ("+zstd", zstandard.ZstdCompressor().compress)]
    told = []
    for number, one in enumerate(layers):
        suffix, compress = kinds[number] if number < len(kinds) else ("", bytes)
        told.append(blobs.add(compress(one), f"{OCI}.layer.v1.tar{suffix}"))
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": blobs.add_json(config, f"{OCI}.config.v1+json"),
        "layers": told,
    }
    return blobs.add_json(manifest, manifest["mediaType"], platform=platform, **more)


def two_platforms(blobs: Blobs, name: str, attested: bool = True) -> dict[str, Any]:
    """The descriptor of an index: amd64 with an attestation, arm64, and one whose content is nowhere."""
    shared = layer("shared", 50_000)
    first = image(blobs, "amd64", [shared, layer(f"{name}-amd64", 20_000), layer("plain", 5_000)])
    second = image(blobs, "arm64", [shared, layer(f"{name}-arm64", 30_000)])
    absent = image(Blobs(), "s390x", [layer("absent", 1_000)])
    manifests = [first, second, absent]
    if attested:
        statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2"}
        said = blobs.add_json(statement, "application/vnd.in-toto+json")
        unknown = {"architecture": "unknown", "os": "unknown"}
        config = {**unknown, "rootfs": {"type": "layers", "diff_ids": [said["digest"]]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": blobs.add_json(config, f"{OCI}.config.v1+json"),
            "layers": [said],
        }
        of = {**ATTESTS, "vnd.docker.reference.digest": first["digest"]}
        manifests.append(blobs.add_json(manifest, manifest["mediaType"], platform=unknown, annotations=of))
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests}
    return blobs.add_json(index, index["mediaType"])


def layout(blobs: Blobs, named: dict[str, dict[str, Any]]) -> bytes:
    """A tar of an OCI layout with these names."""
    manifests = [
        {**target, "annotations": {"io.containerd.image.name": f"docker.io/{name}"}} for name, target in named.items()
    ]
    members = [("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')]
    members += [(f"blobs/{digest.replace(':', '/')}", content) for digest, content in blobs.by_digest.items()]
    members.append(("index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()))
    return tar_of(members)


@contextmanager
def registry(blobs: Blobs, media_types: dict[str, str]) -> Iterator[str]:
    """A registry that has every blob under every name; gives its host and port."""

    class Answer(BaseHTTPRequestHandler):
        default_request_version = "HTTP/1.0"  # so that one who asks by TLS hears that this isn't TLS

        def do_GET(self) -> None:
            content = blobs.by_digest.get(self.path.rpartition("/")[2])
            known = content is not None or self.path.rstrip("/") == "/v2"
            self.send_response(200 if known else 404)
            digest = self.path.rpartition("/")[2]
            if content is not None:
                self.send_header("Content-Type", media_types.get(digest, "application/octet-stream"))
                self.send_header("Docker-Content-Digest", digest)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class NewerWorld(World):
    """The world, and what only newer engines have."""

    engine: NewerEngine

    def populate(self) -> None:
        """Make everything. What stays running is started last."""
        engine = self.engine
        if engine.kind == SNAPSHOTTER:
            blobs = Blobs()
            one, two = two_platforms(blobs, "one"), two_platforms(blobs, "two", attested=False)
            load(engine, layout(blobs, {"two/platforms:1": one, "two/platforms:2": two}))
        self._pull()
        super().populate()
        if CAN_BUILD:
            build_with_buildkit(engine, 1, "kit/one:1")
            build_with_buildkit(engine, 2, "kit/gone:1")
            engine.call("DELETE", "/images/kit/gone:1")
            self.containers["on-kit"] = engine.shell("kit/one:1", "echo x > /x; rm -r /made0", "on-kit")
        self.containers["dangler"] = engine.shell("world/base:1", "echo dangling > /dangling", "dangler")
        engine.commit(self.containers["dangler"], "dangles:1")
        engine.commit(self.containers["dangler"], "dangles:1")  # the first one has no name now
        engine.post("/images/dangles:1/tag?repo=untagged&tag=soon")
        engine.call("DELETE", "/images/untagged:soon")

    def _pull(self) -> None:
        blobs = Blobs()
        target = image(blobs, "amd64", [layer("pulled", 9_000), layer("by-digest", 7_000)])
        with registry(blobs, {target["digest"]: target["mediaType"]}) as host:
            self.engine.call("POST", f"/images/create?fromImage={host}/pulled/image@{target['digest']}")

    def ask(self) -> None:
        """What the daemon says, with what newer ones tell beside."""
        super().ask()
        engine = self.engine
        self.truth["images"] = engine.get("/images/json?all=1&shared-size=1&manifests=1")
        self.truth["text"] = {
            "ps": engine.newer_client("ps", "-as", "--no-trunc", "--format", "{{.ID}} {{.Size}}"),
            "df": engine.newer_client("system", "df", "-v"),
        }
