"""Configs of committed images against those that a daemon wrote for the same containers and changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layerscope.lab.build.changes import changed
from layerscope.lab.container.config import container_config, host_config
from layerscope.lab.container.create import created_config
from layerscope.lab.container.run_config import in_order, merged
from layerscope.lab.image.config import Maker, committed_config
from layerscope.model.digest import digest_of

TRUTH = json.loads((Path(__file__).parents[1] / "data/lab/commits.json").read_text())
COMMITS: dict[str, dict[str, Any]] = {commit["name"]: commit for commit in TRUTH["commits"]}


@pytest.mark.parametrize("name", COMMITS)
def test_the_config_is_the_daemons(name: str) -> None:
    truth = COMMITS[name]
    created = json.loads(truth["image"])["created"]
    maker = Maker("20.10", TRUTH["engine"], created, truth["author"], truth["comment"])
    ran = dict(truth["container"]["Config"])
    config = merged(changed(ran, truth["changes"]), ran) if truth["changes"] else ran
    made = committed_config(truth["parent"], truth["container"]["ID"], ran, config, None, maker)
    assert made.data.decode() == truth["image"]
    assert made.id == digest_of(truth["image"].encode())


@pytest.mark.parametrize("name", COMMITS)
def test_the_order_of_keys_is_the_daemons(name: str) -> None:
    """Docker's own configs come out of the reordering as they went in."""
    for config in (json.loads(COMMITS[name]["image"])["config"], COMMITS[name]["container"]["Config"]):
        assert list(in_order(config)) == list(config)
        assert in_order(dict(sorted(config.items(), reverse=True))) == config


def test_newer_engines_leave_out_what_they_do() -> None:
    """Without the engine's version, and without triggers where there are none, from 29 on."""
    truth = COMMITS["message"]
    ran = truth["container"]["Config"]
    keys = {}
    for engine in ("28.5.2", "29.7.2"):
        maker = Maker(engine, engine, "2024-01-01T00:00:00Z")
        config = json.loads(committed_config(truth["parent"], "0" * 64, ran, ran, None, maker).data)
        keys[engine] = (
            "docker_version" in config,
            "OnBuild" in config["config"],
            "OnBuild" in config["container_config"],
        )
    assert keys == {"28.5.2": (True, True, True), "29.7.2": (False, False, False)}


@pytest.mark.parametrize(
    ("written", "again"),
    [
        ("2024-01-02T03:04:05.120000000Z", "2024-01-02T03:04:05.12Z"),
        ("2024-01-02T03:04:05.000Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05.5+02:00", "2024-01-02T03:04:05.5+02:00"),
        (None, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_of_the_history_are_written_as_go_does(written: str | None, again: str) -> None:
    parent = {"history": [{"created": written, "created_by": "x"}], "rootfs": {"type": "layers"}}
    maker = Maker("24", "24.0.9", "2024-01-01T00:00:00Z")
    made = json.loads(committed_config(parent, "0" * 64, {}, {}, None, maker).data)
    assert made["history"][0]["created"] == again


def test_records_of_a_created_container_are_the_daemons(overlay2_root: Path) -> None:
    """``docker create --network none --name idle layerscope/app:1.0``, byte for byte."""
    for folder in (overlay2_root / "containers").iterdir():
        text = (folder / "config.v2.json").read_text()
        record = json.loads(text)
        if record["Name"] == "/idle":
            break
    else:
        pytest.fail("the sample has no container idle")
    image = json.loads(
        (overlay2_root / "image/overlay2/imagedb/content/sha256" / record["Image"].removeprefix("sha256:")).read_text()
    )
    config = created_config(record["ID"], "layerscope/app:1.0", (), image["config"])
    made = container_config(record["ID"], "idle", record["Image"], record["Created"], config, "none", "linux")
    assert made.decode() == text.rstrip("\n")
    assert host_config("none").decode() == (folder / "hostconfig.json").read_text().rstrip("\n")
