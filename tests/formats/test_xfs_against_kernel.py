"""The XFS adapter against the kernel, where the optional library is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from file_system_witness import fill, kernels, mounted, readers
from memory_device import MemoryDevice

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks import xfs
from layerscope.formats.blocks.inode_tree import InodeDirectory
from layerscope.formats.blocks.xfs import XfsFileSystem, is_xfs
from layerscope.hostfs.block_file import BlockFile

_MKFS = {
    "plain": [],
    "inodes-of-1k": ["-i", "size=1024"],
    "times-until-2038": ["-m", "bigtime=0"],
}
_HAVE_TOOLS = os.geteuid() == 0 and shutil.which("mkfs.xfs") is not None and Path("/dev/loop-control").exists()
_HAVE_XFS = "xfs" in Path("/proc/filesystems").read_text() if Path("/proc/filesystems").exists() else False


@pytest.mark.root
@pytest.mark.skipif(not (_HAVE_TOOLS and _HAVE_XFS), reason="needs root, mkfs.xfs, loop devices and the kernel's xfs")
@pytest.mark.parametrize("options", _MKFS.values(), ids=list(_MKFS))
def test_the_adapter_tells_what_the_kernel_tells(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("dissect.xfs", reason="dissect.xfs, which is optional, isn't installed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-f", *options, str(image)], check=True, capture_output=True)
    with mounted(image, "rw") as place:
        fill(place)
    with mounted(image, "ro,noatime") as place:
        expected = kernels(place)
    system = XfsFileSystem(BlockFile.open_path(image))
    found = readers(InodeDirectory(system, 1))
    assert found.keys() == expected.keys()
    outside = {path for path in expected if found[path].xattrs != expected[path].xattrs}
    assert all(not found[path].xattrs for path in outside), "attributes are shown whole or not at all"
    assert len(system.faults) == len(outside)
    assert all("lie outside of it and are not shown" in fault for fault in system.faults)
    assert "names" not in outside
    differing = {path for path in expected if found[path]._replace(xattrs={}) != expected[path]._replace(xattrs={})}
    assert {path: (found[path], expected[path]) for path in differing} == {}


@pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="needs mkfs.xfs")
def test_directory_blocks_that_the_library_misreads_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("dissect.xfs", reason="dissect.xfs, which is optional, isn't installed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-f", "-n", "size=16384", str(image)], check=True)
    with pytest.raises(UnsupportedError, match="directory blocks of 16384 bytes"):
        XfsFileSystem(BlockFile.open_path(image))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(xfs, "import_module", missing)
    with pytest.raises(
        UnsupportedError, match=r"can't be read without dissect.xfs \(pip install 'layerscope\[xfs\]' adds it\)"
    ):
        XfsFileSystem(MemoryDevice(b"XFSB" + bytes(8192)))


def test_what_only_begins_like_xfs_is_refused() -> None:
    pytest.importorskip("dissect.xfs", reason="dissect.xfs, which is optional, isn't installed")
    device = MemoryDevice(b"XFSB" + bytes(100_000))
    assert is_xfs(device)
    with pytest.raises(CorruptError, match="xfs: its superblock can't be read"):
        XfsFileSystem(device)
