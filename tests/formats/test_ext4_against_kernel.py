"""The ext4 reader against the kernel: file systems of many kinds, filled through a mount, read by both."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from file_system_witness import fill, kernels, mounted, readers

from layerscope.formats.blocks.inode_tree import InodeDirectory
from layerscope.formats.ext4 import FileSystem
from layerscope.hostfs.block_file import BlockFile

_MKFS = {
    "plain": ["-t", "ext4"],
    "blocks-of-1k": ["-t", "ext4", "-b", "1024"],
    "blocks-of-2k-and-large-inodes": ["-t", "ext4", "-b", "2048", "-I", "1024"],
    "small-inodes": ["-t", "ext4", "-I", "128"],
    "no-extents": ["-t", "ext4", "-b", "1024", "-O", "^extent,^64bit"],
    "no-64bit-no-checks": ["-t", "ext4", "-O", "^64bit,^metadata_csum,uninit_bg"],
    "inline-data": ["-t", "ext4", "-O", "inline_data", "-I", "512"],
    "many-groups-meta-bg": ["-t", "ext4", "-b", "1024", "-g", "1024", "-O", "meta_bg,^resize_inode"],
    "meta-bg-32bit": ["-t", "ext4", "-b", "1024", "-g", "1024", "-O", "meta_bg,^resize_inode,^64bit"],
    "bigalloc": ["-t", "ext4", "-O", "bigalloc", "-C", "65536"],
    "values-in-inodes": ["-t", "ext4", "-O", "ea_inode"],
    "large-directories": ["-t", "ext4", "-b", "1024", "-O", "large_dir"],
    "two-copies": ["-t", "ext4", "-b", "1024", "-g", "1024", "-O", "sparse_super2"],
    "no-types": ["-t", "ext4", "-O", "^filetype"],
    "linear-directories": ["-t", "ext4", "-O", "^dir_index"],
    "casefold": ["-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"],
    "own-seed": ["-t", "ext4", "-O", "metadata_csum_seed"],
    "ext3": ["-t", "ext3", "-b", "1024"],
    "ext2": ["-t", "ext2", "-b", "4096"],
}
_ALWAYS = {"plain", "no-extents", "inline-data", "many-groups-meta-bg", "values-in-inodes", "no-types", "ext2"}
"""Those that differ most; the others are read in the full run."""
_CASES = [
    pytest.param(words, id=name, marks=[] if name in _ALWAYS else [pytest.mark.full]) for name, words in _MKFS.items()
]
_HAVE_TOOLS = os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and Path("/dev/loop-control").exists()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not _HAVE_TOOLS, reason="needs root, mkfs.ext4 and loop devices: the kernel is the witness"),
]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(words, id=name, marks=[] if name in _ALWAYS else [pytest.mark.full])
        for name, words in _MKFS.items()
    ],
)
def test_the_reader_tells_what_the_kernel_tells(options: list[str], tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    made = subprocess.run(["mke2fs", "-q", "-F", "-N", "6000", *options, str(image)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    if options == _MKFS["casefold"] and not Path("/sys/fs/ext4/features/casefold").exists():
        pytest.skip("this kernel's ext4 is built without casefold")
    with mounted(image, "user_xattr,acl") as place:
        fill(place)
        if "casefold" in options:
            fold = place / "folding"
            fold.mkdir()
            subprocess.run(["chattr", "+F", str(fold)], check=True)
            (fold / "Straße").write_text("f")
    with mounted(image, "ro,noatime") as place:
        expected = kernels(place)
    system = FileSystem(BlockFile.open_path(image))
    found = readers(InodeDirectory(system, 1))
    assert system.faults == {}
    assert found.keys() == expected.keys()
    assert {path: found[path] for path in expected if found[path] != expected[path]} == {}
    assert len(expected) > 1700
    check = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


def test_a_copy_of_all_mounts_holds_none_of_ours(tmp_path: Path) -> None:
    """Other tests, sandboxes and engines make such copies at any time, and keep them for long."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(image)], check=True)
    with mounted(image, "rw") as place:
        (place / "file").write_text("x")
        words = ["unshare", "--mount", "sh", "-c", "echo copied; read -r _"]
        copy = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert copy.stdout is not None and copy.stdout.readline() == b"copied\n"
    try:
        assert not FileSystem(BlockFile.open_path(image)).superblock.needs_recovery
        with mounted(image, "ro") as place:
            assert (place / "file").read_text() == "x"
    finally:
        copy.communicate()


def test_blocks_of_64k_hold_what_was_put_there(tmp_path: Path) -> None:
    """No kernel with pages of 4 KiB mounts such a file system, so mke2fs fills it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sub").mkdir()
    for number in range(700):
        (folder / "sub" / f"{number:04}{'y' * 100}").write_bytes(b"%d" % number * 50)
    (folder / "large").write_bytes(random.Random(3).randbytes(1_000_001))
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(
        ["mke2fs", "-q", "-F", "-b", "65536", "-O", "^has_journal", "-d", str(folder), str(image)],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    system = FileSystem(BlockFile.open_path(image))
    found = readers(InodeDirectory(system, 1))
    expected = kernels(folder)
    assert system.faults == {}
    assert found.keys() - {"lost+found"} == expected.keys()
    for path, entry in expected.items():
        assert (found[path].content, found[path].mode) == (entry.content, entry.mode), path


def test_an_unfinished_journal_is_told(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(image)], check=True)
    copy = tmp_path / "copy"
    with mounted(image, "rw") as place:
        (place / "file").write_text("x")
        subprocess.run(["sync", "-f", str(place)], check=True)
        shutil.copyfile(image, copy)
    assert FileSystem(BlockFile.open_path(copy)).superblock.needs_recovery
    assert not FileSystem(BlockFile.open_path(image)).superblock.needs_recovery
