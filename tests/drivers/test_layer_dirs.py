"""Layers whose files lie elsewhere than in the root, handed over one by one; and zfs, asked on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tree_facts
from sample_roots import DATA, truth

from layerscope import open_root
from layerscope.cli.main import run
from layerscope.errors import RootError, UsageError
from layerscope.hostfs import mounts
from layerscope.hostfs.mounts import Mount
from layerscope.services.opening import live_zfs

Unpacked = Callable[[str], Path]
LISTED = DATA / "zfs" / "truth" / "zfs-list.tsv"
FAKE = """#!/bin/sh
printf '%s\\n' "$0" "$@" > {told}
[ -e {answer} ] && exec cat {answer}
{else_}
"""


def copied(root: Path, place: Path) -> Path:
    """A copy that a test may take apart."""
    subprocess.run(["cp", "-a", "--sparse=always", str(root), str(place)], check=True)
    return place


# ---------------------------------------------------------------------- directories
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices of the samples are lost without root")
def test_subvolumes_that_lie_elsewhere(unpacked: Unpacked, tmp_path: Path) -> None:
    """All answers are the daemon's, and the paths of levels say where they were read."""
    root = copied(unpacked("btrfs"), tmp_path / "root")
    (root / "btrfs/subvolumes").rename(tmp_path / "elsewhere")
    given = {path.name: path for path in (tmp_path / "elsewhere").iterdir()}
    with open_root(root) as session:
        assert any("contents missing" in problem.what for problem in session.info().problems)
    with open_root(root, layer_dirs=given) as session:
        assert not any("missing" in problem.what for problem in session.info().problems)
        told = session.info().features
        assert all(any(f"read from {path}" in one for one in told) for path in given.values())
        letters = {0: "C", 1: "A", 2: "D"}
        answers = truth("btrfs", "api-changes")
        for name, theirs in answers.items():
            ours = {f"{change.kind} /{change.path}" for change in session.changes(session.find(name))}
            assert ours == {f"{letters[change['Kind']]} {change['Path']}" for change in theirs or ()}, name
        assert len(answers) > 2
        name, listed = min(truth("btrfs", "export").items())
        wanted = tree_facts.by_first_name(tree_facts.of_export_truth([{"pax": {}, **entry} for entry in listed]))
        assert tree_facts.of_session(session, session.find(name)) == wanted
        paths = [level.path or "" for level in session.levels(session.find(name))]
        assert set(paths) <= {str(path) for path in given.values()}
        assert all(session.directory(path).scan() for path in paths)


def test_a_dataset_that_is_mounted_elsewhere(unpacked: Unpacked, tmp_path: Path) -> None:
    """By ID, by the name of a dataset or snapshot, by the beginning of an ID; what isn't handed over stays unknown."""
    (container,) = (one for one in truth("zfs", "inspect-containers") if one["Name"] == "/c1")
    dataset = container["GraphDriver"]["Data"]["Dataset"]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/motd").write_text("from the dataset\n")
    whole = dataset.rpartition("/")[2]
    for name in (whole, dataset, f"{dataset}@404204410"):
        with open_root(unpacked("zfs"), layer_dirs={name: tmp_path}) as session:
            subject = session.find("c1")
            assert session.levels(subject)[-1].path == str(tmp_path)
            with session.open_file(subject, "/etc/motd") as file:
                assert file.read() == b"from the dataset\n"
            assert any("aren't mounted here" in problem.what for problem in session.problems())
    with pytest.raises(UsageError, match=f"is ambiguous: it fits the layers {whole[:16]}, {whole[:16]}-init"):
        open_root(unpacked("zfs"), layer_dirs={whole[:20]: tmp_path})
    with pytest.raises(UsageError, match="no layer 'tank/docker/' here; there are "):
        open_root(unpacked("zfs"), layer_dirs={"tank/docker/": tmp_path})


def test_a_device_that_is_mounted_elsewhere(unpacked: Unpacked, tmp_path: Path) -> None:
    """The top of a device holds docker's own things; the layer's files are in ``rootfs``."""
    (container,) = (one for one in truth("devicemapper/ext4", "inspect-containers") if one["Name"] == "/c1")
    root = unpacked("devicemapper/ext4")
    mount = (root / f"image/devicemapper/layerdb/mounts/{container['Id']}/mount-id").read_text()
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "id").write_text("base")
    (tmp_path / "rootfs/etc/motd").write_text("from the device\n")
    for place in (tmp_path, tmp_path / "rootfs"):
        with open_root(root, layer_dirs={mount: place}) as session:
            subject = session.find("c1")
            assert session.levels(subject)[-1].path == str(tmp_path / "rootfs")
            with session.open_file(subject, "/etc/motd") as file:
                assert file.read() == b"from the device\n"
            assert session.problems() == ()


def test_what_is_wrong_with_what_was_given(
    unpacked: Unpacked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (container, *_) = truth("zfs", "inspect-containers")
    name = container["GraphDriver"]["Data"]["Dataset"]
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(RootError, match=f"cannot open {path}"):
            open_root(unpacked("zfs"), layer_dirs={name: path})
    layer = next(path.name for path in (unpacked("overlay2") / "overlay2").iterdir() if len(path.name) == 64)
    with pytest.raises(UsageError, match="layer_dirs has no meaning for layers of overlay2"):
        open_root(unpacked("overlay2"), layer_dirs={layer: tmp_path})
    for word in ("", "=", "a=", f"={tmp_path}", "abc"):
        assert run(["--root", str(unpacked("zfs")), "info", f"--layer-dir={word}"]) == 2
        assert "expected ID=DIR" in capsys.readouterr().err
    assert run(["--root", str(unpacked("zfs")), "--layer-dir", f"{name}={tmp_path}", "info", "--json"]) == 1
    assert f"is read from {tmp_path}" in " ".join(json.loads(capsys.readouterr().out)["features"])


# ---------------------------------------------------------------------- zfs, asked here
class Fake:
    """A command ``zfs`` that prints what the real one printed of the sample, since no zfs can be had in a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told, self.answer = folder / "told", folder / "answer"
        shutil.copy(LISTED, self.answer)
        (folder / "bin").mkdir()
        self.instead("exit 1")

    def instead(self, command: str) -> None:
        """What it does if it has no answer."""
        program = self.folder / "bin/zfs"
        program.write_text(FAKE.format(told=self.told, answer=self.answer, else_=command))
        program.chmod(0o755)

    @property
    def words(self) -> list[str]:
        """How it was called; empty if it wasn't."""
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The command, first on PATH."""
    made = Fake(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return made


@pytest.fixture
def on_zfs(unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample, as if it lay on a mounted dataset."""
    root = unpacked("zfs")
    mount = Mount(1, "0:50", "/", os.path.realpath(root), "zfs", "tank/docker", "rw", "rw")
    monkeypatch.setattr(mounts, "mounts", lambda: [Mount(0, "8:1", "/", "/", "ext4", "/dev/sda1", "rw", "rw"), mount])
    return root


def test_zfs_is_asked_about_a_root_that_lies_on_it(fake: Fake, on_zfs: Path) -> None:
    with open_root(on_zfs) as session, open_root(on_zfs, zfs_list=LISTED) as handed:
        for one in session.store.containers():
            shares = [[level.disk for level in opened.stack(opened.find(one.id))] for opened in (session, handed)]
            assert shares[0] == shares[1] and shares[0][0] is not None
        assert "figures of datasets are those of zfs list -r tank/docker on this machine" in session.info().features
        assert f"figures of datasets are those in {LISTED}" in handed.info().features
    columns = "name,used,referenced,usedbydataset,usedbysnapshots,usedbychildren,written,origin,"
    columns += "defer_destroy,compressratio,creation,quota,mountpoint"
    wanted = ["list", "-Hp", "-t", "filesystem,snapshot", "-o", columns, "-r", "tank/docker"]
    assert fake.words == [f"{fake.folder}/bin/zfs", *wanted]


def test_it_is_asked_once_and_not_when_its_answer_was_handed_over(fake: Fake, on_zfs: Path) -> None:
    with open_root(on_zfs, zfs_list=LISTED) as session:
        session.info()
    assert fake.words == []
    with open_root(on_zfs) as session:
        session.images()
        assert fake.words == [], "opening and records need no figures"
        session.info()
        fake.told.unlink()
        session.info()
        assert fake.words == []


def test_it_is_not_asked_about_any_other_root(fake: Fake, unpacked: Unpacked) -> None:
    with open_root(unpacked("zfs")) as session:
        session.info()
        assert {level.disk for level in session.stack(session.find("c1"))} == {None}
    assert fake.words == []


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ("exit 3", "failed (3)"),
        ("sleep 60", "took more than 0.3 seconds"),
        ("yes | head -c 3000000", "printed more than 2000000 bytes"),
        ("echo no list", "must be what this prints"),
        ("printf '\\377\\000\\n'", "must be what this prints"),
    ],
)
def test_an_answer_that_is_none(
    instead: str, said: str, fake: Fake, on_zfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answer.unlink()
    fake.instead(f"exec {instead}" if instead.startswith("sleep") else instead)
    monkeypatch.setattr(live_zfs, "_SECONDS", 0.3)
    if "head" in instead:
        monkeypatch.setattr(live_zfs, "_SECONDS", 10)
        monkeypatch.setattr(live_zfs, "_MOST_BYTES", 2_000_000)
    with open_root(on_zfs) as session:
        (told,) = (one for one in session.info().features if "figures" in one)
        assert {level.disk for level in session.stack(session.find("c1"))} == {None}
    assert said in told
