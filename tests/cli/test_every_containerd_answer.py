"""What the program says of docker's roots with a containerd store, against all that their daemons were asked.

``tests/services/test_containerd_samples.py`` has sizes, stacks, changes and trees; here are the other fields of
images, history, containers and volumes, and the tables as docker's client printed them.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from containerd_roots import DATA, truth
from differences import check_one

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="writable layers of a root unpacked without root have other sizes"),
]
NEVER = "0001-01-01T00:00:00Z"
AGES = re.compile(r"(?:Less than a second|About an? \w+|\d+ \w+) ago")
PLACES = {"truth": "root", "truth-managed": "root-managed"}


class Asked:
    """One sample: what its daemon answered, and what the program says."""

    def __init__(self, folder: str, root: Path, ask: Any) -> None:
        self.folder, self.root, self._ask = folder, root, ask

    def answer(self, name: str) -> Any:
        """The daemon's answer by its name."""
        return truth(self.folder, name)

    def table(self, name: str) -> list[str]:
        """The lines that docker's client printed, those without text left out."""
        return [line for line in (DATA / self.folder / f"{name}.txt").read_text().splitlines() if line.strip()]

    def said(self, *words: str) -> Any:
        """What a verb says with ``--json``."""
        return self._ask(*words, "--json", root=self.root).json

    def lines(self, *words: str) -> list[str]:
        """What a verb prints."""
        lines: list[str] = self._ask(*words, root=self.root).lines
        return lines


@pytest.fixture(params=PLACES)
def asked(request: pytest.FixtureRequest, containerd_samples: Path, ask: Any) -> Asked:
    """docker 29 with a containerd root beside it; docker 28 with one inside."""
    folder: str = request.param
    return Asked(folder, containerd_samples / PLACES[folder] / "docker", ask)


def seconds(text: str) -> int:
    """RFC 3339 in UTC to seconds since 1970."""
    return int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())


def cells(line: str) -> str:
    """A line without its age, which is another one now, and without the widths of its columns."""
    return " ".join(AGES.sub("AGE", line).split())


def test_images(asked: Asked) -> None:
    ours = {image["id"]: image for image in asked.said("images", "--all")}
    told = {image["Id"]: image for image in asked.answer("images-all")}
    assert ours.keys() == told.keys()
    for key, image in told.items():
        records = asked.said("inspect", key)
        assert seconds(ours[key]["created"]) == image["Created"]
        assert asked.answer("image-inspect")[key].get("Parent", "") == (ours[key]["parent"] or "")
        config = next((one["config"] for one in records["manifests"] if one["config"] is not None), None)
        assert config is not None
        assert (config["config"].get("Labels") or {}) == (image["Labels"] or {})
    listed = {image["Id"]: image for image in asked.answer("images")}
    assert listed.keys() == {image["id"] for image in asked.said("images")}
    for key, image in listed.items():
        assert (ours[key]["size"], ours[key]["shared_size"], ours[key]["containers"]) == (
            image["Size"],
            image["SharedSize"],
            image["Containers"],
        )
        assert (ours[key]["repo_tags"], ours[key]["repo_digests"]) == (image["RepoTags"], image["RepoDigests"])


def test_images_by_every_name(asked: Asked) -> None:
    """A tag, an ID and a digest lead to the image that docker's inspect had by the same word."""
    history = asked.answer("image-history")
    for name, told in asked.answer("image-inspect").items():
        rows = asked.said("history", name)
        assert [(row["created_by"], row["comment"], row["size"], seconds(row["created"])) for row in rows] == [
            (row["CreatedBy"], row["Comment"], row["Size"], row["Created"]) for row in history[name]
        ]
        assert asked.lines("history", name, "--no-trunc", "-q") == [row["Id"] for row in history[name]]
        for digest in told["RepoDigests"]:
            assert asked.lines("history", digest, "--no-trunc", "-q") == [row["Id"] for row in history[name]]


def test_containers(asked: Asked) -> None:
    ours = {one["name"]: one for one in asked.said("ps")}
    told = asked.answer("container-inspect")
    assert ours.keys() == told.keys()
    for name, container in told.items():
        one, state = ours[name], container["State"]
        assert (one["id"], one["image"], one["image_id"]) == (
            container["Id"],
            container["Config"]["Image"],
            container["Image"],
        )
        assert (one["created"], one["state"], one["exit_code"]) == (
            container["Created"],
            state["Status"],
            state["ExitCode"],
        )
        moments = [None if state[key] == NEVER else state[key] for key in ("StartedAt", "FinishedAt")]
        assert [one["started_at"], one["finished_at"]] == moments
        assert one["driver"] == container.get("Driver", container.get("Storage", {}).get("RootFS", {}).get("Driver"))
        assert one["labels"] == (container["Config"]["Labels"] or {})
        keys = {"type": "Type", "name": "Name", "source": "Source", "destination": "Destination", "rw": "RW"}
        mounts = sorted(container["Mounts"], key=lambda mount: str(mount["Destination"]))
        assert one["mounts"] == [{key: mount.get(word, "") for key, word in keys.items()} for mount in mounts]
        log = container["LogPath"]
        assert (one["log_path"] or "") == log[log.find("containers/") :] if log else one["log_path"] is None
    for listed in asked.answer("ps-as"):
        one = ours[listed["Names"][0].removeprefix("/")]
        assert (one["command"], seconds(one["created"])) == (listed["Command"], listed["Created"])
        assert (one["state"], one["image_id"]) == (listed["State"], listed["ImageID"])


def test_tables(asked: Asked) -> None:
    """``docker images -a`` and ``docker ps -as``: the cells that don't age are ours."""
    # Images of one second stand in any order in docker's; ours have three columns more.
    ours = [" ".join(cells(line).split()[:5]) for line in asked.lines("images", "-a")[1:]]
    assert sorted(ours) == sorted(cells(line) for line in asked.table("images")[1:])
    assert [cells(line) for line in asked.lines("ps")] == [cells(line) for line in asked.table("ps-as")]


def test_volumes(asked: Asked) -> None:
    told = asked.answer("volumes")["Volumes"]
    assert asked.said("info")["counts"]["volumes"] == len(told)
    for volume in told:
        owners = asked.said("whose", volume["Mountpoint"].removeprefix("/var/lib/docker/"))
        assert [(owner["kind"], owner["names"]) for owner in owners] == [("volume", [volume["Name"]])]


def test_info(asked: Asked) -> None:
    told, ours = asked.answer("info"), asked.said("info")
    assert (ours["driver"], ours["counts"]["containers"]) == (told["Driver"], told["Containers"])
    assert ours["counts"]["running"] == told["ContainersRunning"]
    check_one(f"containerd/{asked.folder}", "number of", "images", ours["counts"]["images"], told["Images"])


# ---------------------------------------------------------------------- containerd alone
def test_containers_of_each_namespace(containerd_samples: Path, ask: Any) -> None:
    """Image, labels, time and command of each container as ``ctr containers info`` had them."""
    root = containerd_samples / "root-k8s" / "containerd"
    seen = 0
    for path in sorted((DATA / "truth-k8s").glob("ctr-info-*.json")):
        told = truth("truth-k8s", path.stem)
        namespace = "default" if told["ID"] == "plain1" else "k8s.io"
        words = ("ps", "--namespace", namespace, "--json")
        one = next(one for one in ask(*words, root=root).json if one["id"] == told["ID"])
        assert told["Labels"].items() <= one["labels"].items()
        assert one["image"] == told["Image"]
        if namespace == "default":
            assert one["created"] == told["CreatedAt"]
        assert one["driver"] == told["Snapshotter"]
        records = ask("inspect", told["ID"], "--namespace", namespace, "--json", root=root).json
        container = records["container"]
        assert (container["spec"], container["labels"]) == (told["Spec"], told["Labels"])
        assert (container["image"], container["created"]) == (told["Image"], told["CreatedAt"])
        assert (container["snapshotter"], container["snapshot_key"]) == (told["Snapshotter"], told["SnapshotKey"])
        assert container["runtime"] == told["Runtime"]["Name"]
        seen += 1
    assert seen == 4


def test_images_of_kubernetes_are_the_names_of_each_namespace(containerd_samples: Path, ask: Any) -> None:
    root = containerd_samples / "root-k8s" / "containerd"
    text = (DATA / "truth-k8s" / "ctr.txt").read_text()
    for namespace in ("k8s.io", "default"):
        table = text.partition(f"== {namespace} images ls\n")[2].partition("\n==")[0].splitlines()[1:]
        told = {(line.split()[0], line.split()[2]) for line in table if not line.startswith("sha256:")}
        images = ask("images", "--all", "--namespace", namespace, "--json", root=root).json
        assert {(tag, image["id"]) for image in images for tag in image["repo_tags"]} == told
        lines = text.partition(f"== {namespace} containers ls\n")[2].partition("\n==")[0].splitlines()[1:]
        containers = ask("ps", "--namespace", namespace, "--json", root=root).json
        assert {(one["id"], one["image"]) for one in containers} == {tuple(line.split()[:2]) for line in lines if line}
