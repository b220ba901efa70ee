"""Mount points with odd names, as the kernel lists them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerscope.hostfs.mounts import mounts_below, parse_mountinfo

NAMES = (
    "plain",
    "a blank",
    "tab\tand\nnewline",
    "back\\slash",
    "return\rhere",
    "\x0b\x0c\x1c\x1d\x1e",
    "\x85\u2028\u2029",
    "#",
)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file system mounted at each name."""
    done: list[Path] = []
    try:
        for name in NAMES:
            point = tmp_path / name
            point.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(point)], check=True)
            done.append(point)
        yield tmp_path
    finally:
        for point in done:
            subprocess.run(["umount", str(point)], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_every_mount_is_seen_whatever_its_name(mounted: Path) -> None:
    """Characters that end a line elsewhere don't in mountinfo: what is mounted under such a name isn't overlooked."""
    assert {mount.point for mount in mounts_below(mounted)} == {str(mounted / name) for name in NAMES}


def test_lines_without_a_mount_are_passed_over() -> None:
    good = "22 1 254:0 / /a rw - ext4 /dev/vda rw"
    text = "\n".join(
        ["", "x", good.replace("22", "\u00b2"), good.replace("22", "9" * 5000), good.partition(" - ")[0], good]
    )
    assert [mount.point for mount in parse_mountinfo(text)] == ["/a"]
