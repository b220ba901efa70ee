"""Who owns a path as the host names it: a thin device, a snapshot's folder in a mount line, a dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_roots import truth

from layerscope import open_root
from layerscope.model.claim import Category

Unpacked = Callable[[str], Path]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="devices of the samples are lost without root")


@pytest.mark.parametrize("sample", ["devicemapper/ext4", "devicemapper/xfs"])
@pytest.mark.parametrize(
    "form", ["/dev/mapper/{}", "{}", "/dev/mapper/{} on /mnt type ext4 (rw)", "/dev/mapper/{} /mnt ext4 rw 0 0"]
)
def test_a_thin_device_by_the_name_that_docker_tells(unpacked: Unpacked, sample: str, form: str) -> None:
    with open_root(unpacked(sample)) as session:
        for container in truth(sample, "inspect-containers"):
            device = form.format(container["GraphDriver"]["Data"]["DeviceName"])
            found = session.owners(device)
            assert {(owner.kind, owner.id) for owner in found} == {("container", container["Id"])}, device


def test_a_dataset_by_the_name_that_docker_tells(unpacked: Unpacked) -> None:
    with open_root(unpacked("zfs")) as session:
        for container in truth("zfs", "inspect-containers"):
            for name in container["GraphDriver"]["Data"].values():
                assert {owner.id for owner in session.owners(name)} == {container["Id"]}, name


def test_directories_of_a_mount_line(unpacked: Unpacked) -> None:
    """As ``mount`` prints it on the host where the root was, whose data root lay elsewhere."""
    with open_root(unpacked("overlay2")) as session:
        for container in truth("overlay2", "inspect-containers"):
            data = container["GraphDriver"]["Data"]
            line = f"overlay on /x type overlay (rw,lowerdir={data['LowerDir']},upperdir={data['UpperDir']})"
            found = session.owners(line)
            assert {owner.id for owner in found if owner.kind in ("container", "init")} == {container["Id"]}
            assert any(owner.kind == "image" for owner in found)


KINDS = {
    Category.IMAGE_LAYER: {"image"},
    Category.CONTAINER_RW: {"container"},
    Category.CONTAINER_INIT: {"init"},
    Category.CONTAINER_RECORD: {"container"},
    Category.LOG: {"log"},
    Category.VOLUME: {"volume"},
    Category.BUILD_CACHE: {"build-cache"},
    Category.PLUGIN: {"plugin"},
    Category.SWARM: {"record"},
    Category.NETWORK: {"record"},
    Category.ENGINE: {"record"},
    Category.LAYER_POOL: {"record"},
    Category.ORPHAN: {"orphan"},
    Category.UNKNOWN: set(),
}
"""What the owners of an entry of the ledger are called; that of a record is whatever the record is of."""
OF_CONTAINERD = {Category.CONTENT_BLOB: {"record"}}
SAMPLES = ["aufs", "btrfs", "devicemapper/ext4", "fuse-overlayfs", "overlay", "overlay2", "overlay2-buildkit", "vfs"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_entry_of_the_ledger_has_the_owner_that_the_ledger_says(unpacked: Unpacked, sample: str) -> None:
    with open_root(unpacked(sample)) as session:
        entries = session.ledger().entries
        assert len(entries) > 30
        for entry in entries:
            kinds = {owner.kind for owner in session.owners(entry.path)}
            if entry.category in KINDS:
                assert kinds == KINDS[entry.category], entry.path
            elif entry.path != ".":
                assert kinds and "orphan" not in kinds, entry.path


@pytest.mark.parametrize("place", ["root/docker", "root-k8s/containerd", "root-managed/docker"])
def test_each_entry_of_a_containerd_store_too(containerd_samples: Path, place: str) -> None:
    """Snapshots of other namespaces, and of an image's other platforms, are in use as those that are shown are."""
    with open_root(containerd_samples / place) as session:
        entries = session.ledger().entries
        kinds = {**KINDS, **OF_CONTAINERD}
        wanted = [entry for entry in entries if entry.category in kinds]
        assert len(wanted) > 15
        for entry in wanted:
            assert {owner.kind for owner in session.owners(entry.path)} == kinds[entry.category], entry.path


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_each_entry_of_a_podman_store_too(podman_samples: dict[str, Path], driver: str) -> None:
    with open_root(podman_samples[driver]) as session:
        entries = [entry for entry in session.ledger().entries if entry.category in KINDS]
        assert {entry.category for entry in entries} >= {Category.IMAGE_LAYER, Category.CONTAINER_RW}
        for entry in entries:
            assert {owner.kind for owner in session.owners(entry.path)} == KINDS[entry.category], entry.path


@pytest.mark.parametrize("driver", ["overlay2", "overlay", "vfs"])
def test_records_of_a_layer_and_of_an_image(unpacked: Unpacked, driver: str) -> None:
    """The folder of docker's records has the driver's name, too."""
    containers, images = truth(driver, "inspect-containers"), truth(driver, "inspect-images")
    with open_root(unpacked(driver)) as session:
        for container in containers:
            found = session.owners(f"/var/lib/docker/image/{driver}/layerdb/mounts/{container['Id']}/mount-id")
            assert {(owner.kind, owner.id) for owner in found} == {("container", container["Id"])}
        for image in images:
            hex_digits = image["Id"].removeprefix("sha256:")
            found = session.owners(f"image/{driver}/imagedb/content/sha256/{hex_digits}")
            assert image["Id"] in {owner.id for owner in found}


@pytest.mark.parametrize("steps", [[], ["checkpoints"], ["checkpoints", "hostconfig.json"]], ids=len)
def test_a_container_that_was_never_finished_is_nobodys(records_copy: Path, steps: list[str]) -> None:
    """docker was killed before it had a config: its folder and its layers are no container's, as in the ledger."""
    container = next(one for one in sorted((records_copy / "containers").iterdir()))
    shutil.rmtree(container)
    container.mkdir()
    for name in steps:
        (container / name).touch()
    mount = records_copy / "image/overlay2/layerdb/mounts" / container.name
    layers = [f"overlay2/{(mount / name).read_text()}" for name in ("mount-id", "init-id")]
    with open_root(records_copy) as session:
        ledger = {entry.path: entry.category for entry in session.ledger().entries}
        for path in (f"containers/{container.name}", *layers):
            assert ledger[path] is Category.ORPHAN
            found = session.owners(path)
            assert {(owner.kind, owner.claimed_by) for owner in found} == {("orphan", None)}
            assert path in {owner.path for owner in found}
            assert all("interrupted" in owner.reason for owner in found)


def test_files_that_no_list_of_things_has(unpacked: Unpacked) -> None:
    root = unpacked("overlay2")
    (name,) = (one for one in (root / "volumes").iterdir() if one.name == "metadata.db")
    container = next(iter(truth("overlay2", "inspect-containers")))["Id"]
    with open_root(root) as session:
        for path in ("volumes/metadata.db", str(name), "network/files/local-kv.db"):
            assert [owner.kind for owner in session.owners(path)] == ["record"], path
        assert {owner.id for owner in session.owners(f"containers/{container}/hostname")} == {container}
        for path in ("volumes/../../etc/passwd", "/etc/passwd", "network/nothing", "../network", "/", "network/.."):
            assert session.owners(path) == [], path


def test_a_folder_among_the_volumes_that_holds_none(records_copy: Path) -> None:
    (records_copy / "volumes/no-data/below").mkdir(parents=True)
    with open_root(records_copy) as session:
        ledger = {entry.path: entry.category for entry in session.ledger().entries}
        assert ledger["volumes/no-data"] is Category.UNKNOWN
        assert session.owners("volumes/no-data") == []
        assert session.owners("volumes/no-data/below") == []
