"""Every looking verb on a root of podman's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from podman_roots import truth

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="whiteouts and marks of the sample are lost when unpacked without root"
    ),
]


@pytest.fixture
def root(podman_samples: dict[str, Path]) -> Path:
    """The overlay sample."""
    return podman_samples["overlay"]


def run(root: Path, *arguments: str, note: bytes = b"") -> bytes:
    """What the program writes; it must end well and say nothing else than ``note``."""
    command = [sys.executable, "-m", "layerscope", "--root", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, note), done
    return done.stdout


def test_lists(root: Path) -> None:
    info = json.loads(run(root, "info", "--json"))
    assert (info["store"], info["driver"], info["problems"]) == ("podman", "overlay", [])
    ours = json.loads(run(root, "images", "--json"))
    assert {image["id"] for image in ours} <= {f"sha256:{image['Id']}" for image in truth("overlay", "images-all")}
    assert len(ours) >= 5
    assert {one["name"] for one in json.loads(run(root, "ps", "--json"))} == set(truth("overlay", "container-diff"))
    assert b"localhost/demo/commit" in run(root, "images", "--tree")


def test_one_image_and_one_container(root: Path, tmp_path: Path) -> None:
    rows = json.loads(run(root, "history", "localhost/demo/commit:1", "--json"))
    told = next(one for one in truth("overlay", "image-inspect") if one["RepoTags"] == ["localhost/demo/commit:1"])
    assert [row["created_by"] for row in rows] == [
        row["CreatedBy"] for row in truth("overlay", "image-history")[f"sha256:{told['Id']}"]
    ]
    assert len(json.loads(run(root, "stack", "run1", "--json"))) == 5
    changes = truth("overlay", "container-diff")["run1"]
    assert len(run(root, "diff", "run1").splitlines()) == sum(map(len, changes.values()))
    assert run(root, "cat", "run1:/etc/motd").endswith(b"more\nline\n")
    assert b"whiteout" in run(root, "explain", "run1:/data/keep.txt")
    assert json.loads(run(root, "blame", "run1:/data/numbers.txt", "--json"))["served_by"] == 5
    assert b"numbers.txt" in run(root, "ls", "run1:/data")
    record = json.loads(run(root, "inspect", "run1"))
    assert record["libpod"]["state"]["exitCode"] == 137
    note = b"layerscope: note: new/fifo: is a device, FIFO or socket; it was not extracted\n"
    run(root, "extract", "run1:/new", str(tmp_path / "new"), note=note)
    assert (tmp_path / "new/f").is_file()
    run(root, "export", "run1", "-o", str(tmp_path / "run1.tar"))
    with tarfile.open(tmp_path / "run1.tar") as tar:
        assert "app/renamed.txt" in tar.getnames()


@pytest.mark.parametrize("name", ["demo/commit:1", "commit:1"])
def test_short_names(root: Path, name: str) -> None:
    """Names without a registry, as podman takes them."""
    records = json.loads(run(root, "inspect", name))
    assert records == json.loads(run(root, "inspect", "localhost/demo/commit:1"))


@pytest.mark.parametrize(
    "thing", ["overlay/{layer}/diff/new", "{layer}", "lowerdir=/x,upperdir=/y/overlay/{layer}/diff"]
)
def test_whose(root: Path, thing: str) -> None:
    told = next(one for one in truth("overlay", "container-inspect") if one["Name"] == "run1")
    layer = Path(told["GraphDriver"]["Data"]["UpperDir"]).parts[-2]
    owners = json.loads(run(root, "whose", thing.format(layer=layer), "--json"))
    assert [(owner["kind"], owner["id"]) for owner in owners] == [("container", told["Id"])]
    assert owners[0]["claimed_by"] == "overlay-containers/containers.json"


def test_the_owner_of_a_log(root: Path) -> None:
    told = next(one for one in truth("overlay", "container-inspect") if one["Name"] == "run1")
    path = "/".join(Path(told["HostConfig"]["LogConfig"]["Path"]).parts[-4:])
    owners = json.loads(run(root, "whose", path, "--json"))
    assert [(owner["kind"], owner["id"], owner["path"]) for owner in owners] == [("log", told["Id"], path)]
