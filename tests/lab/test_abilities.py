"""What is found out about a file system and a user, and taking trees away again."""

from __future__ import annotations

import io
import os
import stat as modes
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from layerscope.errors import CommitError
from layerscope.hostfs.removal import remove_tree
from layerscope.lab.root.abilities import ROOT, Abilities, DeviceForm, WhiteoutForm, abilities_in
from layerscope.services.layer_tar import unpack_tar

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting, devices, and privilege to give up need root")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of nobody's; not below tmp_path, which only root may enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chown(folder, 65534, 65534)
        yield Path(folder)
        os.chown(folder, 0, 0)


@pytest.mark.root
@needs_root
def test_root_on_a_linux_file_system_can_do_what_docker_does(tmp_path: Path) -> None:
    assert abilities_in(tmp_path) == ROOT
    assert abilities_in(tmp_path, "user").prefix == "user.overlay."
    assert os.listdir(tmp_path) == []


@pytest.mark.root
@needs_root
def test_a_user_gets_the_next_best_forms(home: Path, nobody: Callable[[], AbstractContextManager[None]]) -> None:
    with nobody():
        found = abilities_in(home)
    # Devices 0:0 need no privilege since Linux 5.8.
    assert found == Abilities("user.overlay.", WhiteoutForm.DEVICE, False, DeviceForm.REFUSE, user_xattrs=True)
    assert os.listdir(home) == []


@pytest.mark.parametrize(
    ("form", "dialect"),
    [(WhiteoutForm.DEVICE, (False, False)), (WhiteoutForm.XATTR, (True, False)), (WhiteoutForm.NAME, (False, True))],
)
def test_what_was_made_is_read_with_the_marks_it_was_made_with(form: WhiteoutForm, dialect: tuple[bool, bool]) -> None:
    reading = Abilities("user.overlay.", form).dialect
    assert (reading.xattrs, reading.names, reading.devices) == (*dialect, True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    point = tmp_path / "disk"
    point.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield point
    subprocess.run(["umount", point], check=True)


@pytest.mark.root
@needs_root
@pytest.mark.parametrize(("count", "size"), [(40, 60_000), (1, 5_000_000)])
def test_a_full_disk_leaves_nothing_behind(small_disk: Path, count: int, size: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(count):
            member = tarfile.TarInfo(f"d/f{number}")
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    out.seek(0)
    with pytest.raises(CommitError, match=r"cannot unpack d/f\d+: (the disk is full|it has 5000000 bytes, but only)"):
        unpack_tar(out, small_disk / "layer")
    assert os.listdir(small_disk) == []


# ---------------------------------------------------------------------- taking away
def test_a_tree_goes_and_what_its_links_name_stays(tmp_path: Path) -> None:
    (tmp_path / "kept/d").mkdir(parents=True)
    (tmp_path / "kept/f").touch()
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / ".removed-1").mkdir()
    (tree / "a/link").symlink_to(tmp_path / "kept")
    (tree / "a/b/out").symlink_to("../../../kept/d")
    os.mkfifo(tree / "a/b/c/pipe")
    os.link(tmp_path / "kept/f", tree / "a/f")
    remove_tree(tree)
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert sorted(os.listdir(tmp_path / "kept")) == ["d", "f"]
    remove_tree(tree)


def test_a_link_is_no_tree(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    with pytest.raises(OSError, match="link"):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()


@pytest.mark.root
@needs_root
def test_closed_directories_go_without_privilege(
    home: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    with nobody():
        (home / "tree/a/b/c").mkdir(parents=True)
        (home / "tree/a/b/f").touch()
        for path in ("tree/a/b/c", "tree/a/b", "tree/a"):
            (home / path).chmod(0)
        remove_tree(home / "tree")
    assert os.listdir(home) == []
    assert modes.S_ISDIR(home.stat().st_mode)
