"""Archives whose image configs are off in some way: a lab loads what docker loads, and refuses what docker refuses."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live.engine import ApiError, Engine, Tar, docker_client, missing

REASON = missing() or (None if docker_client() else "docker's client is not installed")
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]
TIME = "2020-01-01T00:00:00Z"
REFUSED = 4
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "created-number": {"created": 5},
    "created-word": {"created": "yesterday"},
    "created-empty": {"created": ""},
    "created-null": {"created": None},
    "author-number": {"author": 1},
    "container-number": {"container": 1},
    "variant-number": {"variant": 1},
    "size-text": {"Size": "x"},
    "features-text": {"os.features": "x"},
    "history-text": {"history": ["x"]},
    "history-null": {"history": [None]},
    "history-time": {"history": [{"created": "x"}]},
    "config-list": {"config": [1]},
    "config-null": {"config": None},
    "container-config-list": {"container_config": []},
    "unknown": {"more": 1, "config": {"More": [1]}},
    "cmd-text": {"config": {"Cmd": "x y"}},
    "cmd-null": {"config": {"Cmd": [None]}},
    "cmd-number": {"config": {"Cmd": [1]}},
    "shell-text": {"config": {"Shell": "sh"}},
    "env-text": {"config": {"Env": "A=1"}},
    "env-null": {"config": {"Env": [None, "B=1"]}},
    "labels-number": {"config": {"Labels": {"a": 1}}},
    "labels-null": {"config": {"Labels": {"a": None}}},
    "volumes-text": {"config": {"Volumes": {"/a": "x"}}},
    "volumes-null": {"config": {"Volumes": {"/a": None}}},
    "ports-list": {"config": {"ExposedPorts": ["80"]}},
    "user-number": {"config": {"User": 5}},
    "triggers-text": {"config": {"OnBuild": "x"}},
    "health-text": {"config": {"Healthcheck": {"Test": "x"}}},
    "health-duration": {"config": {"Healthcheck": {"Interval": "5s"}}},
    "terminal-text": {"config": {"Tty": "true"}},
    "timeout-text": {"config": {"StopTimeout": "5"}},
}


def archive(change: dict[str, Any], name: str = "odd:1") -> bytes:
    """A docker-save archive of an image with one small layer."""
    layer = Tar()
    layer.add("file", b"x")
    content = layer.bytes()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": TIME,
        "config": {"Cmd": ["x"]},
        "history": [{"created": TIME}],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(content).hexdigest()]},
        **change,
    }
    text = json.dumps(config).encode()
    file = hashlib.sha256(text).hexdigest() + ".json"
    manifest = [{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as saved:
        for path, data in ((file, text), ("layer.tar", content), ("manifest.json", json.dumps(manifest).encode())):
            facts = tarfile.TarInfo(path)
            facts.size = len(data)
            saved.addfile(facts, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bool]]:
    """Which of the changed archives docker takes."""
    path = tmp_path_factory.mktemp("archives") / "odd.tar"
    engine = Engine()
    try:
        engine.start()
        answers = {}
        for name, change in CHANGES.items():
            path.write_bytes(archive(change))
            try:
                engine.client("load", "-i", str(path))
                answers[name] = True
            except ApiError:
                answers[name] = False
        yield answers
    finally:
        engine.remove()


@pytest.mark.parametrize("name", CHANGES)
def test_loads_what_docker_loads(
    taken: dict[str, bool], lab_path: Path, tmp_path: Path, call: Callable[..., Any], name: str
) -> None:
    path = tmp_path / "odd.tar"
    path.write_bytes(archive(CHANGES[name]))
    before = sorted(os.walk(lab_path))
    told = call("load", path, root=lab_path)
    assert (told.code == 0) is taken[name], told.err
    if not taken[name]:
        assert told.code == REFUSED and "is no image config" in told.err
        assert sorted(os.walk(lab_path)) == before
    assert call("verify", root=lab_path).code == 0
    assert call("images", root=lab_path).code == 0
