"""Images, containers and volumes of real roots against what the engine that wrote them answered."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.image import Image
from layerscope.model.level import Level, Role
from layerscope.stores.base import Store
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.moment import nanoseconds

ANSWERS = [("overlay2", "truth"), ("overlay2", "truth-26.1"), ("overlay2-buildkit", "truth")]
Truth = Callable[[str], Any]


@pytest.fixture(params=ANSWERS, ids=["-".join(answer) for answer in ANSWERS])
def sample(request: pytest.FixtureRequest, sample_truth: Callable[..., Any]) -> tuple[DockerStore, Truth]:
    """A store, and the engine's answers about it by name."""
    name, folder = request.param
    path: Path = request.getfixturevalue("overlay2_root" if name == "overlay2" else "buildkit_root")
    store = DockerStore(Directory.open_root(path), path, "overlay2")
    return store, lambda answer: sample_truth(name, answer, folder)


def containers_of(sample: tuple[DockerStore, Truth]) -> list[tuple[Container, dict[str, Any]]]:
    store, truth = sample
    told = {container["Id"]: container for container in truth("inspect-containers")}
    assert told.keys() == {container.id for container in store.containers()}
    return [(container, told[container.id]) for container in store.containers()]


def images_of(sample: tuple[DockerStore, Truth], answer: str) -> list[tuple[Image, dict[str, Any]]]:
    store, truth = sample
    told = {image["Id"]: image for image in truth(answer)}
    assert told.keys() == {image.id for image in store.images()}
    return [(image, told[image.id]) for image in store.images()]


def seconds(text: str | None) -> int:
    found = nanoseconds(text)
    assert found is not None
    return found // 1_000_000_000


def test_a_sound_root_has_no_problems(sample: tuple[DockerStore, Truth]) -> None:
    assert sample[0].problems() == ()
    assert isinstance(sample[0], Store)


def test_names_times_parents_and_sizes_of_images(sample: tuple[DockerStore, Truth]) -> None:
    for image, told in images_of(sample, "api-images"):
        assert list(image.repo_tags) == [tag for tag in told["RepoTags"] or [] if tag != "<none>:<none>"]
        assert list(image.repo_digests) == [name for name in told["RepoDigests"] or [] if name != "<none>@<none>"]
        assert (image.parent or "") == told["ParentId"]
        assert seconds(image.created) == told["Created"]
        assert image.size == told["Size"]
        assert not image.broken


def test_images_are_newest_first(sample: tuple[DockerStore, Truth]) -> None:
    store, truth = sample
    newest_first = sorted(truth("inspect-images"), key=lambda image: image["Id"])
    newest_first.sort(key=lambda image: nanoseconds(image["Created"]) or 0, reverse=True)
    assert [image.id for image in store.images()] == [image["Id"] for image in newest_first]


def test_config_of_images(sample: tuple[DockerStore, Truth]) -> None:
    for image, told in images_of(sample, "inspect-images"):
        assert image.created == told["Created"]
        assert (image.architecture, image.os, image.author) == (told["Architecture"], told["Os"], told["Author"])
        assert list(image.diff_ids) == told["RootFS"]["Layers"]
        assert image.config["config"]["Cmd"] == told["Config"]["Cmd"]
        assert image.config["config"]["Env"] == told["Config"]["Env"]
        assert (image.parent or "") == told["Parent"]


def test_layer_records_follow_the_images(sample: tuple[DockerStore, Truth]) -> None:
    store, _ = sample
    for image in store.images():
        for number, chain in enumerate(image.chain_ids):
            layer = store.layers()[chain]
            assert layer.diff_id == image.diff_ids[number]
            assert layer.parent == (image.chain_ids[number - 1] if number else None)


@pytest.mark.parametrize(("name", "root"), [("overlay2", "overlay2_root"), ("overlay2-buildkit", "buildkit_root")])
def test_layers_and_parents_of_all_images(
    name: str, root: str, request: pytest.FixtureRequest, sample_truth: Callable[..., Any]
) -> None:
    path: Path = request.getfixturevalue(root)
    store = DockerStore(Directory.open_root(path), path, "overlay2")
    found = {image.id: (list(image.diff_ids), image.parent or "") for image in store.images()}
    tree = sample_truth(name, "image-tree")
    assert found == {image: (told["Layers"], told["Parent"]) for image, told in tree.items()}


def test_history(sample: tuple[DockerStore, Truth]) -> None:
    store, truth = sample
    told = truth("history")
    assert told.keys() == {image.id for image in store.images()}
    for image in store.images():
        rows = image.history[::-1]
        assert [row.created_by for row in rows] == [line["CreatedBy"] for line in told[image.id]]
        assert [row.comment for row in rows] == [line["Comment"] for line in told[image.id]]
        assert [row.size for row in rows] == [line["Size"] for line in told[image.id]]
        assert [seconds(row.created) for row in rows] == [line["Created"] for line in told[image.id]]
        assert [row.diff_id for row in image.history if not row.empty_layer] == list(image.diff_ids)
        assert [row.level for row in image.history if row.level] == list(range(1, len(image.diff_ids) + 1))
        assert all(row.chain_id is None and row.level is None for row in rows if row.empty_layer)


def test_state_and_times_of_containers(sample: tuple[DockerStore, Truth]) -> None:
    for container, told in containers_of(sample):
        state = told["State"]
        assert container.state == state["Status"]
        assert container.exit_code == state["ExitCode"]
        assert container.started_at == state["StartedAt"]
        assert container.finished_at == state["FinishedAt"]
        assert container.created == told["Created"]
        assert not container.unclean


def test_names_images_labels_and_commands_of_containers(sample: tuple[DockerStore, Truth]) -> None:
    store, truth = sample
    listed = {line["Id"]: line for line in truth("api-containers")}
    for container, told in containers_of(sample):
        assert f"/{container.name}" == told["Name"]
        assert container.image == told["Config"]["Image"]
        assert container.image_id == told["Image"]
        assert container.driver == told["Driver"]
        assert container.labels == told["Config"]["Labels"]
        assert container.command == listed[container.id]["Command"]
    assert [container.id for container in store.containers()] == [line["Id"] for line in truth("api-containers")]


def test_mounts_of_containers(sample: tuple[DockerStore, Truth]) -> None:
    for container, told in containers_of(sample):
        mounts = sorted(told["Mounts"], key=lambda mount: mount["Destination"])
        assert [(mount.type, mount.name, mount.source, mount.destination, mount.rw) for mount in container.mounts] == [
            (mount["Type"], mount["Name"], mount["Source"], mount["Destination"], mount["RW"]) for mount in mounts
        ]


def test_log_of_containers(sample: tuple[DockerStore, Truth]) -> None:
    store, _ = sample
    for container, told in containers_of(sample):
        rebased = told["LogPath"].removeprefix("/var/lib/docker/")
        assert (container.log_path or "") == rebased
        assert container.log_size == ((store.path / rebased).stat().st_size if rebased else 0)


def test_levels_of_containers_are_those_of_the_mount(sample: tuple[DockerStore, Truth]) -> None:
    store, _ = sample
    for container, told in containers_of(sample):
        levels = store.levels(container)
        mounted = told["GraphDriver"]["Data"]
        directories = [mounted["UpperDir"], *mounted["LowerDir"].split(":")]
        assert [level.cache_id for level in levels[::-1]] == [path.split("/")[-2] for path in directories]
        assert [level.number for level in levels] == list(range(1, len(levels) + 1))
        assert [level.role for level in levels[-2:]] == [Role.INIT, Role.RW]
        assert {level.role for level in levels[:-2]} == {Role.IMAGE}


def test_levels_of_images_are_those_of_the_mount(sample: tuple[DockerStore, Truth]) -> None:
    store, truth = sample
    history = truth("history")
    for image, told in images_of(sample, "inspect-images"):
        mounted = told["GraphDriver"]["Data"]
        directories = [mounted["UpperDir"], *filter(None, mounted.get("LowerDir", "").split(":"))]
        levels: tuple[Level, ...] = store.levels(image)
        assert [level.cache_id for level in levels[::-1]] == [path.split("/")[-2] for path in directories]
        assert [level.diff_id for level in levels] == told["RootFS"]["Layers"]
        assert sum(level.size or 0 for level in levels) == told["Size"]
        commands = [row.created_by for row in image.history if row.level]
        assert [level.created_by for level in levels] == commands
        assert set(commands) <= {line["CreatedBy"] for line in history[image.id]}


def test_volumes(sample: tuple[DockerStore, Truth]) -> None:
    store, truth = sample
    told = {volume["Name"]: volume for volume in truth("api-volumes")["Volumes"]}
    assert [volume.name for volume in store.volumes()] == sorted(told)
    for volume in store.volumes():
        answer = told[volume.name]
        assert volume.driver == answer["Driver"]
        assert volume.labels == (answer["Labels"] or {})
        assert volume.options == (answer["Options"] or {})
        assert volume.mountpoint == answer["Mountpoint"].replace("/var/lib/docker", str(store.path))
        assert volume.path is not None
        directory = store.path / volume.path
        assert volume.created == datetime.fromtimestamp(int(directory.stat().st_ctime), UTC).strftime("%Y-%m-%dT%TZ")


def test_raw_records_are_the_files(sample: tuple[DockerStore, Truth]) -> None:
    store, truth = sample
    image = next(image for image in store.images() if "layerscope/app:1.0" in image.repo_tags)
    told = next(answer for answer in truth("inspect-images") if answer["Id"] == image.id)
    records = store.records(image)
    assert isinstance(records["config"], dict)
    assert records["config"]["rootfs"]["diff_ids"] == told["RootFS"]["Layers"]
    assert isinstance(records["metadata"], dict)
    assert records["metadata"]["parent"] == told["Parent"]
    assert nanoseconds(records["metadata"]["lastUpdated"]) is not None
    assert records["references"] == ["layerscope/app:1.0"]
    assert isinstance(records["layers"], list)
    assert [layer["diff"] for layer in records["layers"]] == told["RootFS"]["Layers"]
    assert sum(int(layer["size"]) for layer in records["layers"]) == told["Size"]
    for container, answer in containers_of(sample):
        records = store.records(container)
        config, host = records["config.v2.json"], records["hostconfig.json"]
        assert isinstance(config, dict) and isinstance(host, dict)
        assert config["Name"] == answer["Name"]
        assert host["NetworkMode"] == answer["HostConfig"]["NetworkMode"]
        mount = records["mount"]
        assert isinstance(mount, dict)
        assert mount["mount-id"] == answer["GraphDriver"]["Data"]["UpperDir"].split("/")[-2]


def test_engine_traces(sample: tuple[DockerStore, Truth]) -> None:
    """The sample was written by 20.10, whichever engine was asked about it later."""
    engine = sample[0].engine
    assert engine.version.startswith("20.10.24")
    assert not engine.native_diff
    assert any("buildkit/" in trace for trace in engine.traces)


def test_a_layer_that_only_the_build_cache_holds_is_listed(buildkit_root: Path) -> None:
    store = DockerStore(Directory.open_root(buildkit_root), buildkit_root, "overlay2")
    directories = {path.name for path in (buildkit_root / "image/overlay2/layerdb/sha256").iterdir()}
    assert {chain.removeprefix("sha256:") for chain in store.layers()} == directories
    assert set(store.layers()) > {chain for image in store.images() for chain in image.chain_ids}
    short = [layer.cache_id for layer in store.layers().values() if layer.cache_id and len(layer.cache_id) == 25]
    assert short and all(re.fullmatch("[0-9a-z]{25}", name) for name in short)


def test_listing_opens_no_layer_directory(overlay2_root: Path) -> None:
    """The first screen needs records only: nothing below ``overlay2/`` is opened or looked at."""
    script = """
import sys
from pathlib import Path
from layerscope.hostfs import Directory
entered = []
real = Directory.enter
Directory.enter = lambda self, name: (entered.append(f"{self.path}/{name}"), real(self, name))[1]
from layerscope.stores.docker.store import DockerStore
root = Path(sys.argv[1])
store = DockerStore(Directory.open_root(root), root, "overlay2")
store.images(), store.containers(), store.layers(), store.volumes(), store.problems()
assert entered
print([path for path in entered if path.startswith("/overlay2")])
"""
    run = subprocess.run([sys.executable, "-c", script, str(overlay2_root)], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
