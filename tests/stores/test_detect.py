"""What lies at a path: worlds, remapped and rootless roots, roots of other kinds, and no roots at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from layerscope.errors import PermissionDenied, RootError, UnsupportedError, UsageError
from layerscope.hostfs import Directory
from layerscope.stores.detect import Detection, World, choose_driver, detect, open_directory

EDITOR = "a02447c1b8e684d72a269f88836d2c0b50b7570912f7e2f53ab053ca4f34707e"
CONTENT = "imagedb/content/sha256"


def look(path: Path) -> Detection:
    return detect(open_directory(path), path)


def add_images(root: Path, driver: str, count: int) -> None:
    folder = root / "image" / driver / CONTENT
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:064x}").write_text("{}")


def set_driver(root: Path, container: str, driver: str) -> None:
    path = root / "containers" / container / "config.v2.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "Driver": driver}))


def test_a_plain_root(overlay2_root: Path) -> None:
    found = look(overlay2_root)
    assert found.worlds == (World("overlay2", images=8, containers=3),)
    assert choose_driver(found, overlay2_root) == "overlay2"
    assert (found.remapped, found.other_drivers, found.problems) == ((), (), ())


def test_the_driver_with_most_images_is_the_default(records_copy: Path) -> None:
    add_images(records_copy, "vfs", 9)
    add_images(records_copy, "btrfs", 1)
    set_driver(records_copy, EDITOR, "vfs")
    found = look(records_copy)
    assert found.worlds == (World("vfs", 9, 1), World("overlay2", 8, 2), World("btrfs", 1, 0))
    assert choose_driver(found, records_copy) == "vfs"
    assert choose_driver(found, records_copy, "overlay2") == "overlay2"
    (problem,) = found.problems
    assert "overlay2 (8 images, 2 containers)" in problem.what and problem.path == "image"


def test_containers_decide_between_drivers_of_as_many_images(records_copy: Path) -> None:
    add_images(records_copy, "vfs", 8)
    assert look(records_copy).drivers == ("overlay2", "vfs")
    for container in (records_copy / "containers").iterdir():
        set_driver(records_copy, container.name, "vfs")
    assert look(records_copy).drivers == ("vfs", "overlay2")


def test_a_driver_that_is_not_there_is_refused_with_those_that_are(records_copy: Path) -> None:
    with pytest.raises(UsageError, match="overlay2") as told:
        choose_driver(look(records_copy), records_copy, "zfs")
    assert told.value.exit_code == 2 and "zfs" in str(told.value)


def test_containers_of_a_containerd_store_are_mentioned(records_copy: Path) -> None:
    shutil.rmtree(records_copy / "image/overlay2/layerdb/mounts" / EDITOR)
    set_driver(records_copy, EDITOR, "overlayfs")
    found = look(records_copy)
    assert found.other_drivers == ("overlayfs",)
    assert found.worlds == (World("overlay2", 8, 2),)
    assert any("overlayfs" in problem.what for problem in found.problems)


def test_remapped_roots_are_offered(records_copy: Path, tmp_path: Path) -> None:
    inner = tmp_path / "outer/165536.165536"
    inner.parent.mkdir()
    records_copy.rename(inner)
    (inner.parent / "1.2").mkdir()
    found = look(inner.parent)
    assert found.remapped == ("165536.165536",) and found.worlds == ()
    with pytest.raises(RootError, match="165536"):
        choose_driver(found, inner.parent)
    assert look(inner).worlds == (World("overlay2", 8, 3),)
    shutil.copytree(inner / "image", inner.parent / "image")
    both = look(inner.parent)
    assert both.remapped == ("165536.165536",) and both.drivers == ("overlay2",)


def test_rootless_by_place(records_copy: Path, tmp_path: Path) -> None:
    home = tmp_path / "home/.local/share/docker"
    home.parent.mkdir(parents=True)
    records_copy.rename(home)
    assert look(home).rootless


@pytest.mark.root
def test_rootless_by_owner(records_copy: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    assert not look(records_copy).rootless
    os.chown(records_copy, 1000, 1000)
    assert look(records_copy).rootless
    remapped = tmp_path / "1000.1000"
    records_copy.rename(remapped)
    assert not look(remapped).rootless


def test_a_root_from_before_1_10_is_named(tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    (tmp_path / "containers").mkdir()
    (tmp_path / "repositories-aufs").write_text("{}")
    with pytest.raises(UnsupportedError, match=r"1\.10"):
        choose_driver(look(tmp_path), tmp_path)


def test_a_containerd_store_is_named(tmp_path: Path) -> None:
    """As docker 29 leaves it: an ``image/`` without any driver's records."""
    (tmp_path / "rootfs/overlayfs").mkdir(parents=True)
    (tmp_path / "image").mkdir()
    (tmp_path / "image/identity-cache.db").write_text("")
    (tmp_path / "buildkit").mkdir()
    (tmp_path / "buildkit/history_c8d.db").write_text("")
    meta = tmp_path / "containerd/daemon/io.containerd.metadata.v1.bolt"
    meta.mkdir(parents=True)
    (meta / "meta.db").write_text("")
    found = look(tmp_path)
    assert len(found.features) == 3
    with pytest.raises(UnsupportedError, match="containerd image store"):
        choose_driver(found, tmp_path)


def test_a_root_of_containers_storage(podman_samples: dict[str, Path]) -> None:
    """Its drivers are told by their folders of records; nothing of docker's is looked for."""
    for driver, path in podman_samples.items():
        found = detect(open_directory(path), path)
        assert (found.shares_storage, found.is_docker, found.rootless) == (True, False, os.geteuid() != 0)
        assert [(world.driver, world.images, world.containers) for world in found.worlds] == [
            ("overlay", 13, 5) if driver == "overlay" else ("vfs", 4, 1)
        ]
        assert choose_driver(found, path) == driver
        with pytest.raises(UsageError, match="has no records of the driver"):
            choose_driver(found, path, "btrfs")


@pytest.mark.parametrize("name", ["io.containerd.metadata.v1.bolt"])
def test_roots_of_other_engines_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UnsupportedError, match=name.split("-")[0].split(".")[0]):
        choose_driver(look(tmp_path), tmp_path)


def test_a_directory_that_is_no_root_tells_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "image").mkdir()
    (tmp_path / "bad\x1b[31mname").mkdir()
    with pytest.raises(RootError, match="holiday") as told:
        choose_driver(look(tmp_path), tmp_path)
    assert told.value.exit_code == 3 and "\x1b" not in str(told.value)
    empty = tmp_path / "holiday"
    with pytest.raises(RootError, match="nothing"):
        choose_driver(look(empty), empty)


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    reasons = {"file": "not a directory", "fifo": "not a directory", "none": "no such", "loop": "symbolic links"}
    for name, reason in reasons.items():
        with pytest.raises(RootError, match=reason):
            open_directory(tmp_path / name)


def test_the_root_itself_may_be_reached_through_a_link(overlay2_root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(overlay2_root)
    assert look(tmp_path / "link").drivers == ("overlay2",)


def test_no_right_to_read(records_copy: Path, nobody: Callable[[], AbstractContextManager[None]]) -> None:
    (records_copy / "image").chmod(0)
    root = Directory.open_root(records_copy)
    with nobody(), pytest.raises(PermissionDenied, match="run as root"):
        choose_driver(detect(root, records_copy), records_copy)
    records_copy.chmod(0)
    with nobody():
        with pytest.raises(PermissionDenied, match="run as root"):
            open_directory(records_copy)
        with pytest.raises(PermissionDenied):
            detect(root, records_copy)
    records_copy.chmod(0o755)
    (records_copy / "image").chmod(0o755)
