"""What the program says of podman's roots, against the fields of podman's answers that no other test compares.

``tests/stores/test_podman_truth.py`` has sizes, layers, changes, trees and most of the records.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from differences import check, check_one
from podman_roots import truth, truth_lines

from layerscope.formats.units import human_size

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="writable layers of a root unpacked without root have other sizes"),
]
DRIVERS = ("overlay", "vfs")


class Asked:
    """One sample: what podman answered, and what the program says."""

    def __init__(self, driver: str, root: Path, ask: Any) -> None:
        self.driver, self.root, self._ask = driver, root, ask

    def answer(self, name: str) -> Any:
        """podman's answer by its name."""
        return truth(self.driver, name)

    def said(self, *words: str) -> Any:
        """What a verb says with ``--json``."""
        return self._ask(*words, "--json", root=self.root).json

    def lines(self, *words: str) -> list[str]:
        """What a verb prints."""
        lines: list[str] = self._ask(*words, root=self.root).lines
        return lines


@pytest.fixture(params=DRIVERS)
def asked(request: pytest.FixtureRequest, podman_samples: dict[str, Path], ask: Any) -> Asked:
    """Each root in turn."""
    return Asked(request.param, podman_samples[request.param], ask)


def seconds(text: str) -> int:
    """RFC 3339 in UTC to seconds since 1970."""
    return int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())


def test_images(asked: Asked) -> None:
    ours = {image["id"]: image for image in asked.said("images", "--all")}
    for told in asked.answer("images-all"):
        image = ours[f"sha256:{told['Id']}"]
        assert sorted(image["repo_tags"]) == sorted(set(told.get("Names") or []))
        assert seconds(image["created"]) == told["Created"]
        records = asked.said("inspect", told["Id"])
        assert (records["config"]["config"].get("Labels") or {}) == (told["Labels"] or {})
        assert records["record"]["digest"] == told["Digest"]
        assert records["record"].get("names-history", []) == (told["History"] or [])
    for told in asked.answer("image-inspect"):
        config = asked.said("inspect", told["Id"])["config"]
        steps = [{key: value for key, value in step.items() if value not in ("", False)} for step in config["history"]]
        assert steps == told["History"]


def test_steps_of_an_image_are_its_parents(asked: Asked) -> None:
    """The IDs of a history are those of the images that podman's own records call parents, newest first.

    podman names a step by any image that has the step's layer on top: a step that changed no file bears the name of
    another one, or none. Both names have that layer on top.
    """
    images = {image["Id"]: image for image in asked.answer("image-inspect")}
    for image, told in asked.answer("image-history").items():
        ours = [name.removeprefix("sha256:") for name in asked.lines("history", image, "--no-trunc", "-q")]
        chain = [image.removeprefix("sha256:")]
        while images[chain[-1]]["Parent"]:
            chain.append(images[chain[-1]]["Parent"])
        assert ours == chain
        layers = [
            (images[name]["RootFS"]["Layers"], images[step["id"]]["RootFS"]["Layers"])
            for name, step in zip(ours, told, strict=True)
            if step["id"] in images
        ]
        assert layers and all(mine == theirs for mine, theirs in layers)


def test_containers(asked: Asked) -> None:
    ours = {one["id"]: one for one in asked.said("ps")}
    for told in asked.answer("ps-as"):
        one = ours[told["Id"]]
        assert ([one["name"]], one["image"], one["image_id"]) == (
            told["Names"],
            told["Image"],
            f"sha256:{told['ImageID']}",
        )
        assert (one["state"], one["labels"]) == (told["State"], told["Labels"] or {})
        assert seconds(one["created"]) == told["Created"]
        if told["Exited"]:
            assert (seconds(one["started_at"]), seconds(one["finished_at"])) == (told["StartedAt"], told["ExitedAt"])
        else:
            assert (one["started_at"], one["finished_at"]) == (None, None)
        mounts = {mount["destination"] for mount in one["mounts"]}
        check(f"podman/{asked.driver}", "mounts of", one["name"], mounts, set(told["Mounts"]))
    inspected = {told["Id"]: told for told in asked.answer("container-inspect")}
    for key in ours:
        text = repr(asked.said("inspect", key))
        for word in (inspected[key]["Path"], *inspected[key]["Args"]):
            assert repr(word)[1:-1] in text


def test_bytes_of_containers(asked: Asked) -> None:
    """podman's bytes of a container are those of its layer, of its folder, and of what isn't here."""
    ours = {one["id"]: one for one in asked.said("ps")}
    for told in asked.answer("ps-as"):
        one = ours[told["Id"]]
        folder = asked.root / f"{asked.driver}-containers" / told["Id"]
        beside = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
        outside = told["Size"]["rwSize"] - one["size_rw"]
        check_one(f"podman/{asked.driver}", "bytes outside of the layer", one["name"], beside, outside)
        assert one["size_root_fs"] - one["size_rw"] == told["Size"]["rootFsSize"] - told["Size"]["rwSize"]


@pytest.mark.parametrize("asked", ["overlay"], indirect=True)
def test_table_of_containers(asked: Asked) -> None:
    """podman's table: names, images, exit codes and the virtual size below the writable layer."""
    ours = {one["id"][:12]: one for one in asked.said("ps")}
    rows = truth_lines("overlay", "ps-as")[1:]
    assert len(rows) == len(ours)
    sizes = {told["Id"][:12]: told["Size"] for told in asked.answer("ps-as")}
    for row in rows:
        one = ours[row.split()[0]]
        assert row.split()[1] == one["image"]
        found = re.search(r"(Exited \((\d+)\)|Created) .*?(\w+)\s+(\S+) \(virtual (\S+)\)$", row)
        assert found is not None
        assert (found[3], one["state"]) == (one["name"], "created" if found[1] == "Created" else "exited")
        assert found[2] is None or int(found[2]) == one["exit_code"]
        size = sizes[row.split()[0]]
        assert [human_size(size[key], 3) for key in ("rwSize", "rootFsSize")] == [found[4], found[5]]


@pytest.mark.parametrize("asked", ["overlay"], indirect=True)
def test_summary(asked: Asked) -> None:
    """The lines of ``podman system df``; its sums are compared where the sizes are."""
    images, containers, volumes = asked.answer("system-df")
    names = sum(max(1, len(image["repo_tags"])) for image in asked.said("images", "--all"))
    used = sum(max(1, len(image["repo_tags"])) for image in asked.said("images", "--all") if image["containers"])
    assert (images["TotalCount"], images["Type"]) == (names, "Images")
    assert images["Active"] <= used
    ours = asked.said("ps")
    assert (containers["TotalCount"], containers["Active"]) == (
        len(ours),
        sum(one["state"] == "running" for one in ours),
    )
    assert containers["RawSize"] == sum(told["Size"]["rwSize"] for told in asked.answer("ps-as"))
    mounted = {mount["name"] for one in ours for mount in one["mounts"] if mount["type"] == "volume"}
    assert (volumes["TotalCount"], volumes["Active"]) == (asked.said("info")["counts"]["volumes"], len(mounted))
