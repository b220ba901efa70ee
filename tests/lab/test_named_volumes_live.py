"""Containers with a volume by its name, labels and a host name, made by docker and by a lab: the same records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live.engine import Engine, missing, started
from test_volumes_live import base_tar, tree

from layerscope.errors import UsageError
from layerscope.lab.container.create import create_container
from layerscope.lab.root.root import LabRoot

REASON = missing()
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

IMAGE = "volumes/named:1"
LABELS = {"shop.role": "web", "note": "a < b"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started() as made:
        yield made


def make(root: LabRoot, name: str, volume: str) -> str:
    image = next(image for image in root.store().images() if image.repo_tags)
    made = {"host_name": "inside", "labels": LABELS, "volumes": {"/data": volume}}
    return create_container(root, image, IMAGE, name, ["/bin/busybox", "cat", "/data/file"], **made)


def record(root: Path, container: str, file: str) -> dict[str, Any]:
    """A record of a container, but for what is made anew each time, and the place of volumes that docker notes."""
    text: dict[str, Any] = json.loads((root / "containers" / container / file).read_text())
    for key in ("ID", "Created", "Name"):
        text.pop(key, None)
    for mount in text.get("MountPoints", {}).values():
        del mount["Source"]
    return text


def test_records_and_files_are_dockers(engine: Engine) -> None:
    engine.import_image(base_tar(), IMAGE, ["VOLUME%20/data%20/empty"])
    command = ["/bin/busybox", "cat", "/data/file"]
    host = {"NetworkMode": "default", "Binds": ["kept:/data"], "LogConfig": {"Type": "json-file", "Config": {}}}
    flags = {"AttachStdout": True, "AttachStderr": True, "Hostname": "inside", "Labels": LABELS}
    theirs = engine.create(IMAGE, command, "theirs", HostConfig=host, **flags)
    engine.stop()
    with LabRoot.open(engine.root, allow_real_root=True) as root:
        ours = make(root, "ours", "kept2")
        again = make(root, "again", "kept")
    assert tree(engine.root / "volumes/kept2/_data") == tree(engine.root / "volumes/kept/_data")
    mine, docker = (record(engine.root, container, "config.v2.json") for container in (ours, theirs))
    (data,) = (mount for mount in mine["MountPoints"].values() if mount["Destination"] == "/data")
    assert data["Name"] == data["Spec"]["Source"] == "kept2"
    data["Name"] = data["Spec"]["Source"] = "kept"
    for one in (mine, docker):
        assert len(one["MountPoints"].pop("/empty")["Name"]) == 64
    assert mine == docker
    assert record(engine.root, ours, "hostconfig.json")["Binds"] == ["kept2:/data"]
    assert record(engine.root, again, "config.v2.json")["MountPoints"]["/data"] == docker["MountPoints"]["/data"]
    binds = record(engine.root, again, "hostconfig.json")["Binds"]
    assert binds == record(engine.root, theirs, "hostconfig.json")["Binds"]


def test_an_engine_takes_it(engine: Engine) -> None:
    (engine.root / "volumes/kept2/_data/file").write_text("of the volume\n")
    engine.start()
    told = engine.get("/containers/ours/json")
    assert [mount["Name"] for mount in told["Mounts"] if mount["Destination"] == "/data"] == ["kept2"]
    assert told["Config"]["Labels"] == LABELS
    assert {volume["Name"] for volume in engine.get("/volumes")["Volumes"]} >= {"kept", "kept2"}


def test_name_that_would_lead_out_is_refused(engine: Engine) -> None:
    engine.stop()
    before = sorted((engine.root / "containers").iterdir())
    with (
        LabRoot.open(engine.root, allow_real_root=True) as root,
        pytest.raises(UsageError, match="no name of a volume"),
    ):
        make(root, "bad", "../escaped")
    assert sorted((engine.root / "containers").iterdir()) == before
