"""Many entries looked at and read at once: the same as one by one, and as safe."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.hostfs.short_files import Look, look

KEY = "user.kept"


def seen(folder: Path, *names: str, longest: int = 60_000) -> list[Look | None]:
    return look(Directory.open_root(folder), names, longest, KEY)


@pytest.mark.parametrize("size", [1, 2, 511, 59_999, 60_000])
@pytest.mark.parametrize("value", [None, b"", b"one\0two"])
def test_bytes_and_attribute(tmp_path: Path, size: int, value: bytes | None) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    if value is not None:
        os.setxattr(tmp_path / "file", KEY, value)
    keys = () if value is None else (KEY,)
    assert seen(tmp_path, "file") == [Look(os.lstat(tmp_path / "file"), content, value, keys)]


def test_what_is_not_a_short_file_with_one_name_is_only_looked_at(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(bytes(60_001))
    (tmp_path / "linked").write_bytes(b"x")
    os.link(tmp_path / "linked", tmp_path / "again")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("linked")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    names = sorted(os.listdir(tmp_path))
    assert len(names) == 8
    assert seen(tmp_path, *names) == [Look(os.lstat(tmp_path / name)) for name in names]


def test_the_order_is_that_of_the_names_and_one_that_is_gone_is_none(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    found = seen(tmp_path, "c", "gone", "a", "b")
    assert [entry and entry.content for entry in found] == [b"c", None, b"a", b"b"]


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a file name"):
        seen(tmp_path, "../other")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="privilege to give up needs root")
def test_a_file_that_may_not_be_read_does_not_keep_the_others(
    tmp_path: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "open").write_text("y")
    tmp_path.chmod(0o755)
    top = Directory.open_root(tmp_path)
    with nobody():
        closed, opened = look(top, ["closed", "open"], 10, KEY)
    assert closed is not None
    assert isinstance(closed.content, PermissionError)
    assert opened is not None
    assert opened.content == b"y"
