"""What drivers keep outside of the root, handed over when it is opened: zfs's figures, a thin pool's halves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_roots import DATA, truth

from layerscope import open_root
from layerscope.cli.main import run
from layerscope.errors import LayerscopeError, UsageError
from layerscope.services.blocks import device_blocks

Unpacked = Callable[[str], Path]
LISTED = DATA / "zfs" / "truth" / "zfs-list.tsv"


# ---------------------------------------------------------------------- zfs
def test_figures_of_datasets(unpacked: Unpacked) -> None:
    """``written`` of the container's dataset is what zfs says, however large docker calls the container."""
    lines = {line.split("\t")[0]: line.split("\t") for line in LISTED.read_text().splitlines()}
    with open_root(unpacked("zfs"), zfs_list=LISTED) as session:
        for container in truth("zfs", "inspect-containers"):
            dataset = container["GraphDriver"]["Data"]["Dataset"]
            top, *_ = session.stack(session.find(container["Id"]))
            assert top.disk is not None
            assert (top.disk.referenced, top.disk.exclusive) == (int(lines[dataset][2]), int(lines[dataset][3]))
            assert top.disk.written == int(lines[dataset][6])


def test_origins_are_the_layers_of_the_records(unpacked: Unpacked) -> None:
    with open_root(unpacked("zfs"), zfs_list=LISTED) as with_list, open_root(unpacked("zfs")) as without:
        for container in truth("zfs", "inspect-containers"):
            subject = without.find(container["Id"])
            assert with_list.levels(subject) == without.levels(subject)
        assert [problem.what for problem in with_list.problems()] == [problem.what for problem in without.problems()]


def test_an_origin_that_differs_is_told(unpacked: Unpacked, tmp_path: Path) -> None:
    (container, *_) = truth("zfs", "inspect-containers")
    dataset = container["GraphDriver"]["Data"]["Dataset"]
    lines = [line.split("\t") for line in LISTED.read_text().splitlines()]
    for line in lines:
        if line[0] == f"{dataset}-init":
            line[7] = "-"
    listed = tmp_path / "list"
    listed.write_text("\n".join("\t".join(line) for line in lines))
    with open_root(unpacked("zfs"), zfs_list=listed) as session:
        assert len(session.levels(session.find(container["Id"]))) == 2
        assert any("origin" in problem.path and "layers below" in problem.what for problem in session.problems())


def test_without_the_list_nothing_is_told_of_the_disk(unpacked: Unpacked) -> None:
    with open_root(unpacked("zfs")) as session:
        assert {level.disk for level in session.stack(session.find("c1"))} == {None}


def test_the_command_line_takes_it(unpacked: Unpacked, capsys: pytest.CaptureFixture[str]) -> None:
    run(["--root", str(unpacked("zfs")), "--zfs-list", str(LISTED), "stack", "c1", "--json"])
    top = json.loads(capsys.readouterr().out)[0]
    assert top["disk"] == {"referenced": 4307968, "exclusive": 218624, "written": 218624}


# ---------------------------------------------------------------------- devicemapper
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices of the samples are lost without root")
def test_a_pool_that_lies_elsewhere(unpacked: Unpacked, tmp_path: Path) -> None:
    """With its halves outside, nothing but records is told; handed over, all is as it was inside."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", "--sparse=always", str(unpacked("devicemapper/ext4")), str(root)], check=True)
    with open_root(root) as session:
        wanted, _ = device_blocks(session, session.find("c1"))
        names = [entry.path for entry in session.entries(session.find("c1"), recursive=True)]
    for half in ("metadata", "data"):
        shutil.move(root / "devicemapper" / "devicemapper" / half, tmp_path / half)
    with open_root(root) as session, pytest.raises(LayerscopeError, match="thin-metadata"):
        device_blocks(session, session.find("c1"))
    with open_root(root, thin_metadata=tmp_path / "metadata", thin_data=tmp_path / "data") as session:
        assert device_blocks(session, session.find("c1"))[0] == wanted
        assert [entry.path for entry in session.entries(session.find("c1"), recursive=True)] == names


# ---------------------------------------------------------------------- what fits nothing
@pytest.mark.parametrize("name", ["thin_metadata", "thin_data", "zfs_list"])
def test_what_has_no_meaning_here(unpacked: Unpacked, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no meaning for layers of overlay2"):
        open_root(unpacked("overlay2"), **{name: LISTED})


def test_a_list_that_is_none(unpacked: Unpacked, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list").write_text("NAME  USED\n")
    for path, said in ((tmp_path / "list", "must be what this prints: zfs list"), (tmp_path / "none", "cannot read")):
        assert run(["--root", str(unpacked("zfs")), "--zfs-list", str(path), "ps"]) == 3
        assert said in capsys.readouterr().err
