"""The ext4 reader on small images: against the kernel's recorded answers, and on damaged and hostile ones."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from file_system_witness import Told, readers
from memory_device import MemoryDevice

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks.inode_tree import InodeDirectory
from layerscope.formats.ext4 import FileSystem, is_ext4
from layerscope.model.tree import LayerDirectory

_DATA = Path(__file__).parents[1] / "data" / "ext4"
_BLOCK = 1024


@cache
def image(name: str) -> bytes:
    """A small image."""
    return gzip.decompress((_DATA / f"{name}.img.gz").read_bytes())


def opened(data: bytes) -> tuple[FileSystem, InodeDirectory[Any]]:
    system = FileSystem(MemoryDevice(data))
    return system, InodeDirectory(system, 1)


def recorded(name: str) -> dict[str, Told]:
    """What the kernel said of an image."""
    found = {}
    for path, fields in json.loads((_DATA / f"{name}.json").read_text()).items():
        fields["times"] = tuple(fields["times"])
        fields["xattrs"] = {key: base64.b64decode(value) for key, value in fields["xattrs"].items()}
        found[path] = Told(**fields)
    return found


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    """An image with a field changed."""
    copy = bytearray(data)
    struct.pack_into(layout, copy, offset, *values)
    return bytes(copy)


def inode_offset(system: FileSystem, number: int) -> int:
    """Where an inode lies in its image."""
    group, index = divmod(number - 1, system.superblock.inodes_per_group)
    return system.group(group).inode_table * _BLOCK + index * system.superblock.inode_bytes


@pytest.mark.parametrize("name", ["small", "ext2"])
def test_every_entry_is_as_the_kernel_told_it(name: str) -> None:
    system, top = opened(image(name))
    assert is_ext4(system.device)
    expected = recorded(name)
    assert readers(top) == expected
    assert len(expected) > 130
    assert system.faults == {}
    assert not system.superblock.needs_recovery


# ---------------------------------------------------------------------- the interface
def test_the_interface_answers_as_system_calls_do() -> None:
    _system, top = opened(image("small"))
    assert isinstance(top, LayerDirectory)
    for call, number in (
        (lambda: top.stat("missing"), errno.ENOENT),
        (lambda: top.stat("a/b"), errno.EINVAL),
        (lambda: top.enter(".."), errno.EINVAL),
        (lambda: top.enter("text").scan(), errno.ENOTDIR),
        (lambda: top.enter("missing").enter("below").stat_self(), errno.ENOENT),
        (lambda: top.open("deep"), errno.EISDIR),
        (lambda: top.open("fifo"), errno.EINVAL),
        (lambda: top.open("short"), errno.EINVAL),
        (lambda: top.readlink("text"), errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == number
    assert top.stats(["missing", "text"])[0] is None
    assert top.xattr("user.colour", "text") == b"blue"
    assert top.xattr("user.other", "text") is None
    assert top.xattr_names("text") == {"user.colour", "security.capability"}


def test_files_can_be_read_anywhere() -> None:
    _system, top = opened(image("small"))
    with top.open("holes") as file:
        whole = file.read()
        assert len(whole) == 38 * 1024 + 4
        assert whole[: 3 * 1024] == b"0000".ljust(2048, b"\0") + b"0002".ljust(1024, b"\0")
        for offset, size in ((0, 1), (1023, 2), (2047, 2050), (38 * 1024, 100), (50_000, 10)):
            file.seek(offset)
            assert file.read(size) == whole[offset : offset + size]
        assert file.seek(-4, os.SEEK_END) == 38 * 1024
        assert file.read() == b"0038"


# ---------------------------------------------------------------------- hostile directories
def test_directories_named_twice_are_entered_by_their_own_parent_only() -> None:
    system, top = opened(image("loops"))
    found = {}
    pending: list[tuple[str, LayerDirectory]] = [("", top)]
    while pending:
        path, directory = pending.pop()
        try:
            listed = dict(directory.scan())
        except OSError as error:
            found[path] = error.errno
            continue
        pending.extend((f"{path}/{name}", directory.enter(name)) for name, kind in listed.items() if kind == "d")
        assert len(pending) < 50
    # "deep/again" has the right parent, but is the second name there.
    assert found == {"/deep/er/est/up": errno.EIO, "/elsewhere": errno.EIO, "/root": errno.EIO}
    assert any("its parent is inode 2, not" in fault for fault in system.faults)
    assert "'root' names the top directory" in system.faults
    assert any("a second name for a directory: b'again'" in fault for fault in system.faults)


def entry_offset(data: bytes, name: bytes) -> int:
    """Where the directory entry of a name begins."""
    return data.index(bytes([len(name)]) + b"\x01" + name) - 6


@pytest.mark.parametrize("name", [b"te/t", b"te\0t"])
def test_names_that_cant_be_are_left_out(name: bytes) -> None:
    data = bytearray(image("small"))
    at = entry_offset(image("small"), b"text")
    data[at + 8 : at + 12] = name
    system, top = opened(bytes(data))
    assert "text" not in dict(top.scan())
    assert f"an entry whose name can't be one: {name!r}" in "".join(system.faults)


def test_an_entry_of_an_unused_inode_is_told_and_its_neighbours_stay() -> None:
    data = image("small")
    system, top = opened(patched(data, entry_offset(data, b"text"), "<I", 250))
    names = [name for name, _kind in top.scan()]
    stats = dict(zip(names, top.stats(names), strict=True))
    assert stats["text"] is None
    assert all(stat is not None for name, stat in stats.items() if name != "text")
    with pytest.raises(OSError, match="inode 250 is named, but not in use") as caught:
        top.stat("text")
    assert caught.value.errno == errno.EIO
    assert "inode 250 is named, but not in use" in system.faults


def test_an_entry_of_another_kind_than_its_inode_is_refused() -> None:
    data = image("small")
    system, _top = opened(data)
    deep = system.listing(system.inode(2)).entries["deep"][0]
    _system, top = opened(patched(data, entry_offset(data, b"text"), "<I", deep))
    with pytest.raises(OSError, match="is not of the kind that its directory entry 'text' tells"):
        top.stat("text")


def test_a_damaged_block_of_a_directory_costs_the_rest_of_that_block() -> None:
    system, _top = opened(image("small"))
    many = system.inode(system.listing(system.inode(2)).entries["many"][0])
    extents, damage = system.extents(many)
    assert damage == ""
    block = extents[0].physical
    assert block is not None
    whole = set(system.listing(many).entries)
    # The second block of the directory: its first entry gets a length that can't be.
    system, _top = opened(patched(image("small"), (block + 1) * _BLOCK + 4, "<H", 3))
    left = set(system.listing(many).entries)
    assert 0 < len(whole - left) < len(whole)
    assert any("a damaged entry of 3 bytes at byte 0" in fault for fault in system.faults)


# ---------------------------------------------------------------------- damaged numbers
@pytest.mark.parametrize(
    ("offset", "layout", "value", "said"),
    [
        (56, "<H", 0, "no ext4 superblock: no magic 0xef53"),
        (24, "<I", 7, "block size 131072"),
        (24, "<I", 0xFFFFFFFF, "block size"),
        (88, "<H", 100, "inode size 100"),
        (32, "<I", 0, "0 blocks per group"),
        (40, "<I", 0, "0 inodes per group"),
        (40, "<I", 1 << 20, "1048576 inodes per group"),
        (254, "<H", 63, "group descriptors of 63 bytes"),
        (20, "<I", 9, "first data block 9"),
        (4, "<I", 1, "1 blocks"),
        (0, "<I", 1 << 31, "2147483648 inodes in 1 groups of 256"),
    ],
)
def test_a_superblock_whose_numbers_cant_be_is_refused(offset: int, layout: str, value: int, said: str) -> None:
    with pytest.raises(CorruptError, match=said):
        FileSystem(MemoryDevice(patched(image("small"), 1024 + offset, layout, value)))


def test_features_that_cant_be_read_are_named() -> None:
    features = struct.unpack_from("<I", image("small"), 1024 + 96)[0]
    with pytest.raises(UnsupportedError, match="can't be read: journal_dev, 0x40000000"):
        FileSystem(MemoryDevice(patched(image("small"), 1024 + 96, "<I", features | 0x40000008)))


def test_a_wrong_check_value_is_told_and_the_rest_is_read() -> None:
    data = patched(patched(image("small"), 1024 + 120, "<I", 1), 2 * _BLOCK + 14, "<H", 999)
    system, top = opened(data)
    assert readers(top) == recorded("small")
    assert list(system.faults) == ["the superblock's check value is wrong", "the check value of block group 0 is wrong"]


@pytest.mark.parametrize("name", ["small", "ext2"])
def test_an_image_cut_short_gives_what_is_left(name: str) -> None:
    whole = recorded(name)
    for kept in (3, 90, 110, 130, 160):
        system, top = opened(image(name)[: kept * _BLOCK])
        assert next(iter(system.faults)) == f"it is cut short: {kept * _BLOCK} bytes of {1 << 20}"
        if kept == 3:
            with pytest.raises(OSError, match="are asked for, but there are only 3072"):
                top.scan()
            continue
        listed = dict(top.scan())
        assert kept < 160 or listed
        for entry in listed:
            try:
                with top.open(entry) as file:
                    content = file.read()
            except OSError as error:
                assert error.errno in (errno.EIO, errno.EISDIR, errno.EINVAL)
                continue
            assert len(content) == whole[entry].size


def test_an_extent_tree_that_names_itself_ends() -> None:
    system, top = opened(image("small"))
    number = top.stat("holes").st_ino
    offset = inode_offset(system, number) + 40
    magic, _entries, _room, depth = struct.unpack_from("<4H", image("small"), offset)
    assert (magic, depth) == (0xF30A, 1)
    below = struct.unpack_from("<I", image("small"), offset + 16)[0]
    data = patched(image("small"), below * _BLOCK, "<4H", magic, 2, 4, 1)
    data = patched(data, below * _BLOCK + 12, "<IIHH", 0, below, 0, 0)
    data = patched(data, offset + 6, "<H", 2)
    system, top = opened(data)
    with top.open("holes") as file, pytest.raises(OSError, match=f"extent node at block {below}") as caught:
        file.read()
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(
    ("place", "layout", "values", "said"),
    [
        (0, "<H", (0x1234,), "has magic 0x1234"),
        (2, "<H", (5,), "5 of 4 entries"),
        (4, "<H", (500,), "of 500 entries"),
        (6, "<H", (9,), "of depth 9"),
        (16, "<I", (1 << 30,), "there are only 1024"),
    ],
)
def test_an_extent_tree_whose_numbers_cant_be_is_refused(
    place: int, layout: str, values: tuple[int, ...], said: str
) -> None:
    system, top = opened(image("small"))
    offset = inode_offset(system, top.stat("holes").st_ino) + 40
    _system, top = opened(patched(image("small"), offset + place, layout, *values))
    with top.open("holes") as file, pytest.raises(OSError, match=said):
        file.read()


def test_blocks_of_numbers_that_name_each_other_end() -> None:
    system, top = opened(image("ext2"))
    offset = inode_offset(system, top.stat("large").st_ino) + 40
    single = struct.unpack_from("<I", image("ext2"), offset + 12 * 4)[0]
    data = patched(image("ext2"), offset + 13 * 4, "<I", single)
    _system, top = opened(patched(data, offset - 40 + 4, "<I", 1 << 24))
    with top.open("large") as file, pytest.raises(OSError, match=f"the block of numbers {single} is reached twice"):
        file.read()


def test_a_link_of_a_size_that_cant_be_is_refused() -> None:
    system, top = opened(image("small"))
    offset = inode_offset(system, top.stat("long").st_ino)
    _system, top = opened(patched(image("small"), offset + 4, "<I", 1 << 30))
    with pytest.raises(OSError, match="a symlink of 1073741824 bytes can't be"):
        top.readlink("long")


def test_damaged_attributes_cost_themselves_only() -> None:
    data = bytearray(image("small"))
    at = data.index(b"colour") - 16
    struct.pack_into("<H", data, at + 2, 60_000)
    system, top = opened(bytes(data))
    assert top.xattr("user.colour", "text") is None
    assert "its value lies outside of its block" in "".join(system.faults)
    with top.open("text") as file:
        assert file.read() == b"words\n" * 30


def test_encrypted_contents_are_not_shown_as_if_they_were_plain() -> None:
    system, top = opened(image("small"))
    offset = inode_offset(system, top.stat("large").st_ino) + 32
    flags = struct.unpack_from("<I", image("small"), offset)[0]
    _system, top = opened(patched(image("small"), offset, "<I", flags | 0x800))
    with pytest.raises(OSError, match="encrypted"):
        top.open("large")
