"""The engine as a stand-in for :mod:`os`: names, parameters, results; one writer for each upper directory."""

from __future__ import annotations

import errno
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerscope.overlay import Overlay

NAMESAKES = """lstat stat listdir readlink open truncate mkdir rmdir unlink rename link symlink mknod mkfifo chmod chown
lchown getxattr listxattr setxattr removexattr access"""
# Directory descriptors mean nothing here: all paths are relative to the merged root.
NOT_HERE = {"dir_fd", "src_dir_fd", "dst_dir_fd"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/file").write_text("text")
    os.symlink("file", tmp_path / "lower/link")
    return tmp_path


@pytest.fixture
def overlay(home: Path) -> Iterator[Overlay]:
    with Overlay([home / "lower"], home / "upper", home / "work") as opened:
        yield opened


@pytest.mark.parametrize("name", NAMESAKES.split())
def test_parameters_are_those_of_the_namesake(name: str) -> None:
    theirs = inspect.signature(getattr(os, name)).parameters
    ours = inspect.signature(getattr(Overlay, name)).parameters
    wanted = [parameter for parameter in theirs if parameter not in NOT_HERE]
    assert [parameter for parameter in ours if parameter != "self"] == wanted
    for parameter in wanted:
        # "." is how the engine spells os's None, the current directory.
        default = "." if theirs[parameter].default is None else theirs[parameter].default
        assert ours[parameter].default == default, parameter
        keyword_only = theirs[parameter].kind is inspect.Parameter.KEYWORD_ONLY
        assert (ours[parameter].kind is inspect.Parameter.KEYWORD_ONLY) == keyword_only, parameter


def test_path_objects_are_taken(overlay: Overlay, home: Path) -> None:
    path, new = Path("file"), Path("new")
    assert overlay.stat(path).st_size == overlay.lstat(path).st_size == 4
    assert overlay.readlink(Path("link")) == "file"
    assert overlay.access(path, os.R_OK)
    assert overlay.read_bytes(path) == b"text"
    overlay.mkdir(new)
    overlay.write_bytes(new / "a", b"a")
    overlay.link(new / "a", new / "b")
    overlay.rename(new / "a", new / "c")
    overlay.symlink(path, new / "s")
    overlay.mkfifo(new / "p")
    overlay.chmod(new / "b", 0o600)
    overlay.chown(new / "b", -1, -1)
    overlay.lchown(new / "s", -1, -1)
    overlay.utime(new / "b", ns=(1, 2))
    overlay.truncate(new / "b", 0)
    os.close(overlay.open(new / "d", os.O_CREAT | os.O_WRONLY))
    assert overlay.listxattr(new / "b") == []
    assert sorted(overlay.listdir(new)) == ["b", "c", "d", "p", "s"]
    assert [str(top) for top, _, _ in overlay.walk(new)] == ["new"]
    assert [copy.level for copy in overlay.layers_of(path)] == [1]
    for name in "bcdps":
        overlay.unlink(new / name)
    overlay.rmdir(new)
    assert os.listdir(home / "upper") == []


@pytest.mark.parametrize("follow", [True, False])
def test_link_takes_the_link_itself_as_os_does(overlay: Overlay, home: Path, follow: bool) -> None:
    os.link(home / "lower/link", home / "linked", follow_symlinks=follow)
    overlay.link("link", "linked", follow_symlinks=follow)
    assert overlay.readlink("linked") == os.readlink(home / "linked") == "file"


@pytest.mark.parametrize("seconds", [0, 1, 1.5, 1700000000.3, 1700000000.999999999, 1e9 + 0.1, 0.1, -1.5, 1700000001])
def test_seconds_are_cut_as_os_cuts_them(overlay: Overlay, home: Path, seconds: float) -> None:
    os.utime(home / "lower/file", (seconds, seconds))
    expected = (home / "lower/file").stat()
    overlay.utime("file", (seconds, seconds))
    found = (home / "upper/file").stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (expected.st_atime_ns, expected.st_mtime_ns)


# ---------------------------------------------------------------------- one writer
def test_a_second_writer_is_busy(overlay: Overlay, home: Path) -> None:
    with pytest.raises(OSError) as caught:
        Overlay([home / "lower"], home / "upper", home / "work")
    assert caught.value.errno == errno.EBUSY
    assert caught.value.filename == str(home / "upper")
    other = f"from layerscope.overlay import Overlay; Overlay([{str(home / 'lower')!r}], {str(home / 'upper')!r}, 'w')"
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, cwd=home, timeout=60)
    assert b"[Errno 16]" in done.stderr


def test_the_next_writer_comes_when_the_first_has_gone(home: Path) -> None:
    for _ in range(2):
        with Overlay([home / "lower"], home / "upper", home / "work") as overlay:
            overlay.write_bytes("new", b"x")
    forgotten = Overlay([home / "lower"], home / "upper", home / "work")
    del forgotten
    Overlay([home / "lower"], home / "upper", home / "work").close()


def test_a_writer_that_could_not_start_holds_nothing(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Overlay([home / "lower"], home / "upper", home / "absent")
    Overlay([home / "lower"], home / "upper", home / "work").close()


def test_readers_need_no_claim(overlay: Overlay, home: Path) -> None:
    with Overlay([home / "upper", home / "lower"]) as reader:
        assert reader.read_bytes("file") == b"text"
