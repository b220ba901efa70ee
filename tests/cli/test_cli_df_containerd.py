"""``df --docker`` of containerd stores against what docker 28 and 29 printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containerd_roots import DATA, copy, remove, truth

AGO = re.compile(r"(\d+|About an?|Less than a) (second|minute|hour|day|week|month|year)s?")


def parts(text: str) -> list[list[str]]:
    """The lines of each part, sorted, since docker lists some in no order. How long ago something was goes on."""
    found: list[list[str]] = []
    for line in AGO.sub("a while", text).splitlines():
        if "space usage" in line or line.startswith("Build cache usage"):
            found.append([])
        found[-1].append(" ".join(line.split()))
    return [sorted(part) for part in found]


@pytest.mark.root
@pytest.mark.parametrize(("sample", "folder"), [("root", "truth"), ("root-managed", "truth-managed")])
def test_docker_df_is_what_docker_printed(ask: Any, containerd_samples: Path, sample: str, folder: str) -> None:
    answer = ask("df", "--docker", root=containerd_samples / sample / "docker")
    ours = "\n".join(answer.lines).replace(" (unclean)", "")
    for mine, theirs in zip(parts(ours), parts((DATA / folder / "system-df-v.txt").read_text()), strict=True):
        assert mine == theirs


def test_what_newer_engines_leave_has_a_class(ask: Any, records_copy: Path) -> None:
    """An image's note that it was built here, and what a killed start and commit leave, by their real names."""
    image = next((records_copy / "image/overlay2/imagedb/content/sha256").iterdir()).name
    notes = records_copy / "image/overlay2/imagedb/metadata/sha256" / image
    notes.mkdir(parents=True, exist_ok=True)
    (notes / "builtLocally").write_bytes(b"\x01")
    for path in ("tmp-old/docker-import-1", "tmp/rootfs-mount1822374107"):
        (records_copy / path).mkdir(parents=True)
    found = ask("df", "--json", root=records_copy).json
    assert [one["path"] for one in found["entries"] if one["class"] == "unknown"] == []


# ---------------------------------------------------------------------- which docker counts
def shared_sizes(folder: str) -> dict[str, tuple[int, int]]:
    """What the engine of a sample answered: shared and unique bytes of each image."""
    answer = truth(folder, "system-df")
    images = answer["Images"] if "Images" in answer else answer["ImageUsage"]["Items"]
    return {one["Id"]: (one["SharedSize"], one["Size"] - one["SharedSize"]) for one in images}


def without_containers(root: Path) -> None:
    for container in (root / "containers").iterdir():
        remove(container)


def without_bridges(root: Path) -> None:
    """As docker 29 writes containers."""
    for path in (root / "containers").glob("*/config.v2.json"):
        record = json.loads(path.read_text())
        del record["NetworkSettings"]["Bridge"]
        path.write_text(json.dumps(record))


@pytest.mark.root
@pytest.mark.parametrize("change", [without_containers, without_bridges])
def test_a_root_that_may_be_of_two_engines_has_both_answers(
    ask: Any, containerd_samples: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """The other answer is that of the 28.5.2 which wrote this root."""
    root = copy(containerd_samples / "root-managed/docker", tmp_path / "docker")
    change(root)
    told = ask("df", "--docker", root=root).err.splitlines()
    assert len(told) == 1
    assert "29.5" in told[0] and "24 to 29.4" in told[0]
    found = ask("df", "--json", root=root).json["docker_otherwise"]
    assert (found["counted_as"], found["other"]) == ("29.5 or newer", "24 to 29.4")
    wanted = shared_sizes("truth-managed")
    assert found["images"]
    for one in found["images"]:
        assert (one["other_shared_size"], one["other_unique_size"]) == wanted[one["id"]]
        assert one["shared_size"] > one["other_shared_size"]
    assert str(len(found["images"])) in told[0]


@pytest.mark.root
def test_the_counted_answer_is_that_of_29(ask: Any, containerd_samples: Path) -> None:
    """No trace tells 29.5, the first that counts blobs, from 29.0; the sample's 29.7.2 does count them."""
    found = ask("df", "--json", root=containerd_samples / "root/docker").json["docker_otherwise"]
    wanted = shared_sizes("truth")
    assert {one["id"]: (one["shared_size"], one["unique_size"]) for one in found["images"]} == wanted


@pytest.mark.root
def test_nothing_is_told_where_the_engine_is_known_or_makes_no_difference(
    ask: Any, containerd_samples: Path, overlay2_root: Path, tmp_path: Path
) -> None:
    for folder in ("rootfs/overlayfs", "containers", "image", "volumes", "buildkit"):
        (tmp_path / "docker" / folder).mkdir(parents=True)  # of any engine, without images
    of_28, of_nobody = containerd_samples / "root-managed/docker", containerd_samples / "root-k8s/containerd"
    for root in (of_28, of_nobody, overlay2_root, tmp_path / "docker"):
        assert "29" not in ask("df", "--docker", root=root).err
        assert ask("df", "--json", root=root).json["docker_otherwise"] is None
