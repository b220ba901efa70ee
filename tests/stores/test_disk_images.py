"""Images of disks given in the place of a root: what they are, and what has to be done first."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from layerscope import open_root
from layerscope.errors import RootError

MAKERS = {
    "a btrfs file system": ("mkfs.btrfs", "-q", "-f"),
    "an ext file system": ("mkfs.ext4", "-q", "-F"),
    "an xfs file system": ("mkfs.xfs", "-q", "-f"),
}


@pytest.mark.parametrize("what", MAKERS)
def test_a_file_system_that_is_not_mounted(tmp_path: Path, what: str) -> None:
    program, *options = MAKERS[what]
    if (found := shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")) is None:
        pytest.skip(f"{program} is not installed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([found, *options, str(image)], check=True, capture_output=True)
    with pytest.raises(RootError, match=f"it is {what}: mount it read-only") as told:
        open_root(image)
    assert told.value.exit_code == 3


@pytest.mark.parametrize("size", [0, 1, 511, 512, 70_000])
def test_a_file_that_is_nothing(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    with pytest.raises(RootError, match="neither a root nor an image archive"):
        open_root(tmp_path / "file")
