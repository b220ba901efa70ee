"""A file's bytes and one of its attributes, read through one descriptor: the same as by two, and as safe."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from layerscope.errors import CorruptError
from layerscope.hostfs import Directory

KEY = "user.kept"


@pytest.mark.parametrize("size", [0, 1, 60_000, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("value", [None, b"", b"one\0two"])
def test_bytes_and_attribute(tmp_path: Path, size: int, value: bytes | None) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    if value is not None:
        os.setxattr(tmp_path / "file", KEY, value)
    top = Directory.open_root(tmp_path)
    assert top.read_with_xattr("file", size, KEY) == (content, value)
    assert (top.read("file", size), top.xattr(KEY, "file")) == (content, value)


@pytest.mark.parametrize("size", [1, 65_537])
def test_a_file_longer_than_the_limit_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    with pytest.raises(CorruptError, match="longer than"):
        Directory.open_root(tmp_path).read_with_xattr("file", size - 1, KEY)


def test_a_file_that_is_longer_than_it_says_is_read_to_its_end() -> None:
    """Those of the kernel have the size 0."""
    content = Path("/proc/self/mountinfo").read_bytes()
    found, _ = Directory.open_root("/proc/self").read_with_xattr("mountinfo", 10 << 20, KEY)
    assert found == content


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_is_no_file_is_never_opened(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "entry").symlink_to("/etc/hostname")
    else:
        os.mkfifo(tmp_path / "entry")
    with pytest.raises(OSError, match="not a regular file") as caught:
        Directory.open_root(tmp_path).read_with_xattr("entry", 10, KEY)
    assert caught.value.errno == errno.EINVAL
