"""``reclaim`` and ``df`` on roots of docker and podman, and on containerd stores of docker and of Kubernetes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import containerd_roots
import podman_roots
import pytest
from ledger_facts import du
from sample_roots import copied, truth

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

NOBODYS = {"unknown", "orphan", "unreadable"}


# ---------------------------------------------------------------------- docker
def test_docker_keeps_a_nameless_parent_for_its_children(ask: Any, overlay2_root: Path) -> None:
    """``docker rmi`` of one says "image has dependent child images"; it goes with the last of these."""
    images = truth("overlay2", "inspect-images")
    parents = {one["Parent"] for one in images}
    nameless = [one["Id"] for one in images if not one["RepoTags"] and one["Id"] in parents]
    assert len(nameless) > 3
    for image in nameless:
        found = ask("reclaim", image, root=overlay2_root)
        assert found.code == 2
        assert "it goes with the last image that was made of it" in found.err


def test_a_container_whose_creation_was_cut_off_isnt_removed(ask: Any, records_copy: Path) -> None:
    folder = next((records_copy / "containers").iterdir())
    for path in folder.iterdir():
        if path.name not in ("checkpoints", "hostconfig.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = ask("reclaim", f"container:{folder.name}", root=records_copy)
    assert found.code == 2
    assert "its engine doesn't know it" in found.err


def test_an_anonymous_volume_that_is_gone_gives_nothing(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    mounts = {one["Name"]: one["Mounts"] for one in truth("overlay2", "inspect-containers")}["/writer"]
    shutil.rmtree(root / "volumes" / next(one["Name"] for one in mounts if len(one["Name"]) == 64))
    found = ask("reclaim", "-v", "container:writer", "--json", root=root).json
    assert found["commands"] == ["docker rm writer"]


def test_what_ran_in_a_root_that_nobody_holds_needs_no_force(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    """A daemon that starts on it finds the process gone, and takes the container for stopped."""
    root = copied(overlay2_root, tmp_path / "root")
    for file in root.glob("containers/*/config.v2.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "State": {**record["State"], "Running": True, "Pid": 1 << 22}}))
    commands = ask("reclaim", "stopped-containers", "--json", root=root).json["commands"]
    assert sorted(commands) == ["docker rm editor", "docker rm idle", "docker rm writer"]


HOSTILE = "x; touch /planted $(id) `id`"


def test_a_hostile_name_stays_one_word_of_a_command(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    for number, file in enumerate(root.glob("containers/*/config.v2.json")):
        file.write_text(json.dumps({**json.loads(file.read_text()), "Name": f"/{number}{HOSTILE}"}))
    commands = ask("reclaim", "stopped-containers", "--json", root=root).json["commands"]
    expected = [["docker", "rm", f"{number}{HOSTILE}"] for number in range(3)]
    assert sorted(shlex.split(command) for command in commands) == expected


def test_a_hostile_name_stays_one_word_of_a_command_of_podmans(
    ask: Any, podman_samples: dict[str, Path], tmp_path: Path
) -> None:
    root = podman_roots.copy(podman_samples["overlay"], tmp_path / "root")
    file = root / "overlay-images/images.json"
    records = json.loads(file.read_text())
    for record in records:
        record["names"] = [f"localhost/{HOSTILE}:1"] if record.get("names") else None
    file.write_text(json.dumps(records))
    candidates = ask("reclaim", "--json", root=root).json["candidates"]
    commands = [shlex.split(one["command"]) for one in candidates if HOSTILE in one["name"]]
    assert commands
    assert all(words == ["podman", "rmi", f"localhost/{HOSTILE}:1"] for words in commands)


# ---------------------------------------------------------------------- podman
@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_df_of_podman_knows_everything(ask: Any, podman_samples: dict[str, Path], driver: str) -> None:
    root = podman_samples[driver]
    found = ask("df", "--json", root=root).json
    assert found["total_disk"] == du(root)
    assert found["unaccounted_disk"] == 0
    assert not {one["class"] for one in found["classes"] if one["count"]} & NOBODYS


def layer_paths(root: Path, layer: str) -> list[Path]:
    """What a layer of overlay has, by its own link file."""
    link = root / "overlay" / layer / "link"
    return [link.parent, root / "overlay/l" / link.read_text(), root / f"overlay-layers/{layer}.tar-split.gz"]


@pytest.mark.parametrize("name", ["created1", "fromcommit"])
def test_a_container_gives_back_what_du_says_of_its_parts(ask: Any, podman_samples: dict[str, Path], name: str) -> None:
    root = podman_samples["overlay"]
    records = []
    for file in ("containers.json", "volatile-containers.json"):
        records += json.loads((root / "overlay-containers" / file).read_text())
    record = next(one for one in records if name in one["names"])
    paths = [*layer_paths(root, record["layer"])[:2], root / "overlay-containers" / record["id"]]
    found = ask("reclaim", f"container:{name}", "--json", root=root).json
    assert found["frees_disk"] == du(*paths)
    assert found["commands"] == [f"podman rm {name}"]


def test_everything_of_podman_goes_together(ask: Any, podman_samples: dict[str, Path]) -> None:
    root = podman_samples["overlay"]
    found = ask("reclaim", "stopped-containers", "unused-images", "unused-volumes", "--json", root=root).json
    layers = [path.name for path in (root / "overlay").iterdir() if len(path.name) == 64]
    paths = [path for layer in layers for path in layer_paths(root, layer) if path.exists()]
    paths += [
        path for kind in ("images", "containers") for path in (root / f"overlay-{kind}").iterdir() if path.is_dir()
    ]
    assert found["frees_disk"] == du(*paths)
    assert found["kept"] == []
    assert {tuple(command.split()[:2]) for command in found["commands"]} == {("podman", "rm"), ("podman", "rmi")}


def test_what_podman_refuses_is_no_command(ask: Any, podman_samples: dict[str, Path]) -> None:
    """An image of a container, and a volume that one mounts."""
    root = podman_samples["overlay"]
    for word, holder in (("localhost/demo/commit:1", "container fromcommit"), ("volume:vol1", "container created1")):
        found = ask("reclaim", word, "--json", root=root).json
        assert found["frees_disk"] == 0
        assert any(holder in one["because"] for one in found["kept"]), word
    assert ask("reclaim", "localhost/demo/commit:1", "--json", root=root).json["commands"] == []


def test_a_parent_without_a_name_goes_with_its_last_child(ask: Any, podman_samples: dict[str, Path]) -> None:
    root = podman_samples["overlay"]
    images = {one["Id"]: one for one in podman_roots.truth("overlay", "images-all")}
    scratch = next(one for one in images.values() if "localhost/demo/scratch:1" in (one.get("Names") or ()))
    chain = [scratch]
    while (parent := images.get(chain[-1].get("ParentId") or "")) is not None and not parent.get("Names"):
        chain.append(parent)
    assert len(chain) > 1
    found = ask("reclaim", "localhost/demo/scratch:1", "--json", root=root).json
    folders = [root / "overlay-images" / one["Id"] for one in chain]
    assert found["frees_disk"] >= du(*folders)
    assert found["commands"] == ["podman rmi localhost/demo/scratch:1"]


def test_a_plan_for_podman(ask: Any, podman_samples: dict[str, Path]) -> None:
    found = ask("reclaim", "--free", "100kB", "--json", root=podman_samples["overlay"]).json
    assert found["frees_disk"] >= 100_000
    assert found["exact"]
    assert found["commands"]


# ---------------------------------------------------------------------- containerd
@pytest.mark.parametrize(("name", "place"), [("root", "../containerd"), ("root-managed", "containerd/daemon")])
def test_everything_of_docker_goes_together(ask: Any, containerd_samples: Path, name: str, place: str) -> None:
    """All blobs and snapshots of a store whose images, containers, build cache and build records all go."""
    root = containerd_samples / name / "docker"
    containerd = root / place
    words = ("stopped-containers", "unused-images", "build-cache", "unused-layers")
    found = ask("reclaim", *words, "--json", root=root).json
    paths = [*(containerd / containerd_roots.BLOBS).iterdir(), *(root / "containers").iterdir()]
    paths += [*(containerd / containerd_roots.SNAPSHOTTER / "snapshots").iterdir()]
    assert found["frees_disk"] == du(*paths)
    assert found["kept"] == []
    assert {tuple(command.split()[:2]) for command in found["commands"]} >= {("docker", "rm"), ("docker", "rmi")}
    assert {command.split()[0] for command in found["commands"]} == {"docker"}


def test_an_image_of_docker_gives_back_what_only_it_has(ask: Any, containerd_samples: Path) -> None:
    """Its blobs by its own manifests; the base's layers stay."""
    root = containerd_samples / "root/docker"
    found = ask("reclaim", "demo/app:bk", "--json", root=root).json
    assert found["commands"] == ["docker rmi demo/app:bk"]
    assert 0 < found["frees_disk"] < 100_000
    kept = {name for one in found["kept"] for name in one["because"]}
    assert any(name.startswith("image demo/base:1") for name in kept)


def test_a_container_keeps_its_image_in_docker(ask: Any, containerd_samples: Path) -> None:
    found = ask("reclaim", "demo/commit:1", "--json", root=containerd_samples / "root/docker").json
    assert (found["frees_disk"], found["commands"]) == (0, [])
    assert any("container fromcommit" in one["because"] for one in found["kept"])


def test_kubernetes_has_its_own_commands(ask: Any, containerd_samples: Path) -> None:
    root = containerd_samples / "root-k8s/containerd"
    found = ask("reclaim", "stopped-containers", "unused-images", "--json", root=root).json
    programs = [command.split()[:2] for command in found["commands"]]
    assert [words for words in programs if words[0] != "crictl"] == []
    verbs = [words[1] for words in programs]
    assert verbs.index("rmp") == verbs.index("rmi") - 1  # a pod goes after its containers, and before images
    others = {name for one in found["kept"] for name in one["because"]}
    assert others == {"image docker.io/demo/scratch:bk of default"}
    candidates = ask("reclaim", "--json", root=root).json["candidates"]
    assert "ctr -n default containers rm plain1" in {one["command"] for one in candidates}


def test_a_torn_database_keeps_everything(ask: Any, containerd_samples: Path, tmp_path: Path) -> None:
    """Without its names nobody knows what keeps what."""
    root = containerd_roots.copy(containerd_samples / "root-k8s/containerd", tmp_path / "containerd")
    containerd_roots.tear_newest(root / containerd_roots.META, both=True)
    found = ask("reclaim", "--json", root=root).json
    assert not [one for one in found["candidates"] if one["kind"] in ("image", "unused-layer")]
