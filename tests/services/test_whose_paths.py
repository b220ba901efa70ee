"""Who owns a path as the host names it: a thin device, a snapshot's folder in a mount line, a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_roots import truth

from layerscope import open_root

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
