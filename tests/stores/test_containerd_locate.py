"""Where the two halves of a containerd store are found, how they are proved, and which world is shown."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from containerd_roots import META, RUN1, copy, truth

from layerscope import open_root
from layerscope.errors import PermissionDenied, RootError, UsageError
from layerscope.model.problem import Severity
from layerscope.services import Session

NAMES = {"run1", "exit1", "created1", "scratch1", "fromcommit", "orphan"}


@pytest.fixture
def docker(containerd_samples: Path, tmp_path: Path) -> Path:
    """docker's half alone, as ``var/lib/docker`` of a system in a folder."""
    (tmp_path / "system/var/lib").mkdir(parents=True)
    return copy(containerd_samples / "root/docker", tmp_path / "system/var/lib/docker")


def put(containerd_samples: Path, place: Path) -> Path:
    """containerd's half at ``place``."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return copy(containerd_samples / "root/containerd", place)


def names(session: Session) -> set[str]:
    return {container.name for container in session.store.containers()}


def shows_everything(session: Session) -> bool:
    """Whether containers, images and files are all there."""
    lines = session.changes(session.find("exit1"))
    return (
        names(session) == NAMES and len(session.store.images()) == 15 and [line.path for line in lines][:1] == ["bye"]
    )


def told(session: Session) -> str:
    return "\n".join(f"{problem.path}: {problem.what}; {problem.hint}" for problem in session.info().problems)


PLACES = [
    "var/lib/docker/containerd/daemon",
    "var/lib/docker/containerd",
    "var/lib/containerd",
    "var/lib/desktop-containerd/daemon",
]


@pytest.mark.parametrize("place", PLACES)
def test_usual_places(containerd_samples: Path, docker: Path, place: str) -> None:
    found = put(containerd_samples, docker.parents[2] / place)
    with open_root(docker) as session:
        assert shows_everything(session)
        assert session.info().other_root == str(found)
        assert session.problems() == ()


def test_a_configured_place(containerd_samples: Path, docker: Path) -> None:
    system = docker.parents[2]
    (system / "etc/containerd").mkdir(parents=True)
    (system / "etc/containerd/config.toml").write_text('version = 3\nroot = "/srv/store"\n[grpc]\naddress = "x"\n')
    put(containerd_samples, system / "srv/store")
    with open_root(docker) as session:
        assert shows_everything(session)


@pytest.mark.parametrize(
    "text", ["root = 5", "root = '../../../../etc'", "root = ''", "root", "\xff", "root = '/\\u0000'"]
)
def test_a_bad_configuration_is_passed_over(containerd_samples: Path, docker: Path, text: str) -> None:
    system = docker.parents[2]
    (system / "etc/containerd").mkdir(parents=True)
    (system / "etc/containerd/config.toml").write_bytes(text.encode("latin-1"))
    put(containerd_samples, system / "var/lib/containerd")
    with open_root(docker) as session:
        assert shows_everything(session)


def test_a_custom_data_root_has_its_store_beside_it(containerd_samples: Path, tmp_path: Path) -> None:
    root = copy(containerd_samples / "root/docker", tmp_path / "data")
    put(containerd_samples, tmp_path / "containerd")
    with open_root(root) as session:
        assert shows_everything(session)


def test_the_path_may_lead_through_a_link(containerd_samples: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy(containerd_samples / "root/docker", tmp_path / "elsewhere/docker")
    put(containerd_samples, tmp_path / "elsewhere/containerd")
    (tmp_path / "docker").symlink_to("elsewhere/docker")
    with open_root(tmp_path / "docker") as session:
        assert shows_everything(session)


def test_the_one_that_is_proved_wins(containerd_samples: Path, docker: Path) -> None:
    """An upgraded host has an old containerd root inside: here that of another engine, with other containers."""
    stale = docker / "containerd/daemon"
    stale.parent.mkdir()
    copy(containerd_samples / "root-managed/docker/containerd/daemon", stale)
    right = put(containerd_samples, docker.parents[2] / "var/lib/containerd")
    with open_root(docker) as session:
        assert shows_everything(session)
        assert session.info().other_root == str(right)
    shutil.rmtree(right)
    with open_root(docker) as session:
        assert names(session) == NAMES and session.store.images() == ()
        assert "holds nothing of this root's containers" in told(session)


def test_manifests_prove_it_where_containers_cannot(containerd_samples: Path, docker: Path) -> None:
    """A container whose snapshot is gone still names its manifest."""
    for container in (docker / "containers").iterdir():
        container.rename(container.with_name(f"{'0' * 60}{container.name[:4]}"))
    put(containerd_samples, docker.parents[2] / "var/lib/containerd")
    with open_root(docker) as session:
        assert len(session.store.images()) == 15
        assert "proved by" in "; ".join(session.info().features)


def test_a_root_without_containers_takes_what_lies_there(containerd_samples: Path, docker: Path) -> None:
    shutil.rmtree(docker / "containers")
    put(containerd_samples, docker.parents[2] / "var/lib/containerd")
    with open_root(docker) as session:
        assert len(session.store.images()) == 15 and session.store.containers() == ()
        assert "not proved" in "; ".join(session.info().features)


def test_links_are_not_followed(containerd_samples: Path, docker: Path, tmp_path: Path) -> None:
    """On an evidence disk a link may lead to the analyst's own store."""
    real = put(containerd_samples, tmp_path / "own/containerd")
    (docker.parent / "containerd").symlink_to(real)
    with open_root(docker) as session:
        assert session.store.images() == ()
        assert f"{docker.parent}/containerd” is not a directory (links are not followed)" in told(session)
    with open_root(docker, containerd_root=docker.parent / "containerd") as session:
        assert shows_everything(session), "the user's own word may lead through links"


def test_remapped_roots(containerd_samples: Path, docker: Path) -> None:
    """With user namespaces docker's half lies one level deeper, containerd's does not."""
    inner = docker / "165536.165536"
    moved = docker.with_name("moved")
    docker.rename(moved)
    docker.mkdir()
    moved.rename(inner)
    put(containerd_samples, docker.parents[2] / "var/lib/containerd")
    with open_root(inner) as session:
        assert shows_everything(session)
    with pytest.raises(RootError, match="165536"):
        open_root(docker)


def test_a_wanted_place(containerd_samples: Path, docker: Path, tmp_path: Path) -> None:
    place = put(containerd_samples, tmp_path / "far/away")
    with open_root(docker, containerd_root=place) as session:
        assert shows_everything(session)
        assert all((level.path or "").startswith(f"{place}/") for level in session.levels(session.find("run1")))
    with pytest.raises(RootError, match="no containerd database") as refused:
        open_root(docker, containerd_root=tmp_path)
    assert refused.value.exit_code == 3
    with pytest.raises(RootError, match="is missing"):
        open_root(docker, containerd_root=tmp_path / "none")


def test_a_relative_place_is_told_in_full(
    containerd_samples: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(containerd_samples, docker.parent / "store")
    monkeypatch.chdir(docker.parent)
    with open_root("docker", containerd_root="store") as session:
        assert shows_everything(session)
        assert str(session.levels(session.find("run1"))[0].path).startswith(f"{docker.parent}/store/")


def test_another_hosts_store_is_called_that(containerd_samples: Path) -> None:
    docker = containerd_samples / "root/docker"
    other = containerd_samples / "root-managed/docker/containerd/daemon"
    with open_root(docker, containerd_root=other) as session:
        assert "it may be another host's" in told(session)
        assert all(usage.size_rw is None and usage.size_root_fs is None for usage in session.containers())


# ---------------------------------------------------------------------- one half only
def test_without_containerds_half(docker: Path) -> None:
    with open_root(docker) as session:
        assert (session.store.name, session.driver) == ("containerd", "overlayfs")
        assert names(session) == NAMES
        assert session.store.images() == () and session.store.layers() == {}
        assert len(session.store.volumes()) == 1
        (whole,) = [problem for problem in session.problems() if problem.path == ""]
        for place in ("var/lib/docker/containerd/daemon", "var/lib/containerd", "var/lib/docker/containerd"):
            assert f"{docker.parents[2] / place}” is missing" in whole.what
        assert whole.hint == "--containerd-root PATH" and whole.severity is Severity.ERROR
        run1 = session.find("run1").container
        assert run1 is not None and run1.state == "exited" and run1.image == "demo/app:legacy"
        assert "containerd's root, which was not found" in run1.problems[0].what
        (level,) = session.levels(session.find("run1"))
        assert (level.role, level.cache_id, level.path) == ("rw", None, None)
        assert list(session.entries(session.find("run1"))) == []
        json.dumps(session.records(session.find("run1")))


def test_without_dockers_half(containerd_samples: Path, tmp_path: Path) -> None:
    place = put(containerd_samples, tmp_path / "alone")
    with open_root(place) as session:
        assert session.info().namespace == "moby" and len(session.store.images()) == 15
        containers = session.store.containers()
        assert {one.id for one in containers} == {one["Id"] for one in truth("truth", "ps-as")}
        assert {(one.name, one.state, one.image) for one in containers} == {("", "unknown", "")}
        assert "docker's half of this store is not beside it" in told(session)
        sizes = {usage.container.id: usage.size_root_fs for usage in session.containers()}
        with open_root(containerd_samples / "root/docker") as whole:
            subject = session.find(RUN1)
            assert session.changes(subject) == whole.changes(whole.find("run1"))
            assert session.levels(subject)[-1].path == "io.containerd.snapshotter.v1.overlayfs/snapshots/72/fs"
            assert sizes == {usage.container.id: usage.size_root_fs for usage in whole.containers()}


@pytest.mark.parametrize("sample", ["root", "root-managed"])
def test_from_containerds_half_to_dockers(containerd_samples: Path, sample: str) -> None:
    inside = "containerd" if sample == "root" else "docker/containerd/daemon"
    place = containerd_samples / sample / inside
    with open_root(place) as session, open_root(containerd_samples / sample / "docker") as other:
        assert session.path == containerd_samples / sample / "docker"
        assert names(session) == NAMES
        assert session.levels(session.find("run1")) == other.levels(other.find("run1"))
        (note,) = [problem for problem in session.problems() if problem.path == str(place)]
        assert "whose other half it is" in note.what and note.severity is Severity.NOTE


def test_dockers_half_is_not_reached_through_a_link(containerd_samples: Path, tmp_path: Path) -> None:
    place = put(containerd_samples, tmp_path / "containerd")
    (tmp_path / "docker").symlink_to(containerd_samples / "root/docker")
    with open_root(place) as session:
        assert names(session) == {""}


# ---------------------------------------------------------------------- namespaces
def test_namespaces(containerd_samples: Path) -> None:
    place = containerd_samples / "root-k8s/containerd"
    with open_root(place) as session:
        assert session.info().namespace == "k8s.io"
        assert session.info().namespaces == ("default", "k8s.io")
    with open_root(place, namespace="default") as session:
        assert [container.name for container in session.store.containers()] == ["plain1"]
    with pytest.raises(UsageError, match=r"there is “default”, “k8s\.io”"):
        open_root(place, namespace="moby")
    with pytest.raises(UsageError, match="itself"):
        open_root(place, containerd_root=place)


def test_another_namespace_of_dockers_store(containerd_samples: Path) -> None:
    with open_root(containerd_samples / "root/docker", namespace="moby_history") as session:
        assert session.store.containers() == () and session.store.images() == ()
        assert session.info().counts["content_blobs"] == 39


def test_a_namespace_where_there_is_none(overlay2_root: Path) -> None:
    with pytest.raises(UsageError, match="no containerd store"):
        open_root(overlay2_root, namespace="moby")


# ---------------------------------------------------------------------- both worlds in one root
def test_both_worlds_by_driver(containerd_samples: Path, docker: Path, overlay2_root: Path) -> None:
    """A root that went from a graph driver to the containerd store keeps what it had."""
    put(containerd_samples, docker.parent / "containerd")
    shutil.copytree(overlay2_root / "image/overlay2", docker / "image/overlay2")
    for container in (overlay2_root / "containers").iterdir():
        shutil.copytree(container, docker / "containers" / container.name)
    with open_root(docker) as session:
        assert session.setting.detection.drivers == ("overlayfs", "overlay2")
        assert session.driver == "overlayfs" and shows_everything(session)
        (hidden,) = session.problems()
        assert "overlayfs (15 images, 6 containers), overlay2 (8 images, 3 containers)" in hidden.what
        assert hidden.severity is Severity.NOTE
    with open_root(docker, driver="overlay2") as session:
        assert names(session) == {"editor", "idle", "writer"} and len(session.store.images()) == 8
        assert session.store.name == "docker"
    with pytest.raises(UsageError, match="overlayfs, overlay2"):
        open_root(docker, driver="vfs")


def test_a_graph_driver_beside_a_system_containerd(
    containerd_samples: Path, overlay2_root: Path, tmp_path: Path
) -> None:
    """A classic root doesn't take a neighbour's store for its own, nor look into it."""
    root = tmp_path / "docker"
    for folder in ("image", "containers", "volumes"):
        shutil.copytree(overlay2_root / folder, root / folder)
    copy(containerd_samples / "root-k8s/containerd", tmp_path / "containerd")
    with open_root(root) as session:
        assert (session.store.name, session.driver) == ("docker", "overlay2")
        assert session.setting.detection.drivers == ("overlay2",)
    (root / "rootfs/overlayfs").mkdir(parents=True)
    with open_root(root) as session:
        assert session.setting.detection.drivers == ("overlay2",)


def test_a_fresh_root(tmp_path: Path) -> None:
    """docker 29 before its first image."""
    for folder in ("rootfs/overlayfs", "containers", "image", "volumes", "buildkit"):
        (tmp_path / "docker" / folder).mkdir(parents=True)
    with open_root(tmp_path / "docker") as session:
        assert (session.store.name, session.driver) == ("containerd", "overlayfs")
        assert session.store.images() == () and session.store.containers() == ()


def test_a_snapshotter_whose_files_cannot_be_read(containerd_samples: Path, docker: Path) -> None:
    """Records are shown all the same; a graph driver of the same name doesn't touch its folders."""
    for container in (docker / "containers").iterdir():
        config = container / "config.v2.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "Driver": "stargz"}))
    put(containerd_samples, docker.parent / "containerd")
    with open_root(docker, driver="stargz") as session:
        assert names(session) == NAMES
        assert "files of this storage driver can't be read" in told(session)
        assert "has no snapshot" in told(session)
    assert (docker.parent / "containerd" / META).is_file()


def test_no_right_to_read(containerd_samples: Path, nobody: Callable[[], AbstractContextManager[None]]) -> None:
    """containerd's root is closed to everybody but root: that is not the same as empty."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        docker = copy(containerd_samples / "root/docker", home / "docker")
        place = put(containerd_samples, home / "containerd")
        for path in (home, docker, docker / "containers"):
            path.chmod(0o755)
        place.chmod(0)
        with nobody():
            with open_root(docker) as session:
                assert f"{place}” can't be read without privilege" in told(session)
            with pytest.raises(PermissionDenied, match="run as root"):
                open_root(place)
        place.chmod(0o700)


def test_no_descriptor_stays_open(containerd_samples: Path, docker: Path, overlay2_root: Path, tmp_path: Path) -> None:
    """Whatever is looked at on the way, taken or not."""
    put(containerd_samples, docker / "containerd/daemon")
    put(containerd_samples, docker.parent / "containerd")
    (docker.parent / "desktop-containerd").mkdir()
    copy(containerd_samples / "root-k8s/containerd", docker.parent / "desktop-containerd/daemon")
    shutil.copytree(overlay2_root / "image/overlay2", docker / "image/overlay2")
    for layer in (overlay2_root / "overlay2").iterdir():
        (docker / "overlay2" / layer.name).mkdir(parents=True)
    alone = put(containerd_samples, tmp_path / "alone")
    sibling = containerd_samples / "root/containerd"
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        for words in ({}, {"driver": "overlay2"}, {"containerd_root": alone}):
            with open_root(docker, **words) as session:
                session.info()
        for place in (alone, sibling):
            with open_root(place) as session:
                session.info()
        with pytest.raises(RootError):
            open_root(docker, containerd_root=tmp_path)
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
