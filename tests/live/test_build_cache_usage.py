"""The sizes of BuildKit's records before docker was ever asked for them, when none of them is recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from engine import Engine, docker_client, started

from layerscope import open_root
from layerscope.services.docker_df import disk_usage

BASE = "world/base:1"
DOCKERFILE = f"""
FROM {BASE}
RUN --mount=type=cache,target=/cache ["/bin/busybox", "sh", "-c", "dd if=/dev/zero of=/cache/x bs=1k count=60"]
RUN --mount=type=cache,target=/cache ["/bin/busybox", "sh", "-c", "ln /cache/x /cache/y; echo 1 > /cache/z; echo > /a"]
COPY file /file
RUN ["/bin/busybox", "sh", "-c", "rm /file; echo 2 > /z"]
"""


@pytest.fixture(params=["overlay2", "vfs"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A daemon with one image, and docker's client for it."""
    if docker_client() is None:
        pytest.skip("docker's own client isn't installed")
    with started(request.param, BASE) as made:
        yield made


def test_each_record_has_the_size_that_docker_finds(engine: Engine) -> None:
    context = engine.home / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "file").write_bytes(os.urandom(30_000))
    words = ("build", "-q", "--network=none", "-t", "kit:1", str(context))
    engine.client(*words, environment={"DOCKER_BUILDKIT": "1"})
    with open_root(engine.root) as session:
        told = {one.id: (one.type, one.size) for one in disk_usage(session).build_cache}
    found = {one["ID"]: (one["Type"], one["Size"]) for one in engine.get("/system/df")["BuildCache"]}
    assert {"source.local", "exec.cachemount", "regular"} == {kind for kind, _ in found.values()}
    assert told == found
