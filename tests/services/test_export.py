"""Files out of a view: how much an export asks of the kernel, and what is left when a copy ends early."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import system_calls

from layerscope import open_root
from layerscope.hostfs import Directory
from layerscope.hostfs.short_files import Look
from layerscope.model.problem import Problem
from layerscope.overlay import MergedView
from layerscope.overlay.view import ViewLevel
from layerscope.services.export import entries
from layerscope.services.export.extract import extract
from layerscope.services.export.path import copy_out
from layerscope.services.export.view import export_tar

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting, and trusted.* marks, need root")
needs_strace = pytest.mark.skipif(system_calls.no_strace() is not None, reason=str(system_calls.no_strace()))


def view_of(*tops: Path) -> MergedView:
    """The tops of layers, base first, as one file system."""
    return MergedView([ViewLevel(number, Directory.open_root(top)) for number, top in enumerate(tops, 1)])


def exported(view: MergedView, export: Callable[..., list[Problem]] = export_tar) -> tuple[bytes, list[Problem]]:
    out = io.BytesIO()
    problems = export(view, out)
    return out.getvalue(), problems


def contents(data: bytes) -> dict[str, bytes]:
    """The bytes of each file in a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isreg()}
        return {name: file.read() for name, file in files.items() if file is not None}


# ---------------------------------------------------------------------- what it asks for
@needs_strace
def test_a_short_file_is_looked_at_and_read_once(tmp_path: Path) -> None:
    """Beside what the start of the program costs: two opens and closes, one look, one read, one list of attributes."""
    counts: list[Counter[str]] = []
    for files in (100, 300):
        top = tmp_path / str(files)
        top.mkdir()
        for number in range(files):
            (top / f"{number:03}").write_bytes(b"x" * 50)
        command = system_calls.layerscope("export", "overlay", "--root", f"overlay:lowerdir={top}")
        heard = system_calls.calls(command, "%file,%desc", tmp_path / "heard")
        counts.append(Counter("stat" if "stat" in call.name else call.name for call in heard))
    more = {name: (counts[1][name] - counts[0][name]) / 200 for name in counts[1]}
    asked = {name: round(number, 1) for name, number in more.items() if number >= 0.1}
    assert asked == {"openat": 2, "close": 2, "read": 1, "flistxattr": 1, "stat": 1}


def test_what_is_small_is_written_together(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / str(number)).write_bytes(b"x" * 2000)
    (tmp_path / "large").write_bytes(b"y" * 3_000_000)
    written: list[int] = []

    class Out(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            written.append(len(data))
            return len(data)

    assert export_tar(view_of(tmp_path), Out()) == []  # type: ignore[arg-type]
    assert sum(written) == 600 * (512 + 2048) + 512 + 3_000_320 + 1024
    assert len(written) <= 20 and max(written) < 600_000


# ---------------------------------------------------------------------- whose bytes
@needs_root
@pytest.mark.root
def test_a_short_metadata_only_copy_has_the_bytes_that_the_kernel_shows(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for folder in (lower, upper):
        folder.mkdir()
    for name in ("copied", "own"):
        (lower / name).write_bytes(b"from below")
    (upper / "copied").write_bytes(b"\0" * 10)
    os.setxattr(upper / "copied", "trusted.overlay.metacopy", b"")
    (upper / "own").write_bytes(b"its own...")
    os.setxattr(upper / "own", "user.note", b"no mark")
    point = tmp_path / "merged"
    point.mkdir()
    options = f"lowerdir={upper}:{lower},metacopy=on"
    script = 'mount -t overlay overlay -o "$1" "$2" && tar -C "$2" -cf - copied own'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", options, point], capture_output=True)
    assert done.returncode == 0, done.stderr
    data, problems = exported(view_of(lower, upper))
    assert contents(data) == contents(done.stdout) == {"copied": b"from below", "own": b"its own..."}
    assert problems == []
    extract(view_of(lower, upper), "/", tmp_path / "out")
    assert (tmp_path / "out" / "copied").read_bytes() == b"from below"


def test_links_are_kept_in_what_is_copied_out(tmp_path: Path) -> None:
    (tmp_path / "tree" / "in").mkdir(parents=True)
    (tmp_path / "tree" / "b").write_bytes(b"twice")
    os.link(tmp_path / "tree" / "b", tmp_path / "tree" / "in" / "a")
    view = view_of(tmp_path)
    data, problems = exported(view, lambda view, out: copy_out(view, "/tree", out))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        listed = [(member.name, member.linkname) for member in tar]
    assert listed == [("tree", ""), ("tree/b", ""), ("tree/in", ""), ("tree/in/a", "tree/b")]
    assert problems == []


def test_an_entry_that_cannot_be_looked_at_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "bad", "c"):
        (tmp_path / name).write_text(name)
    look = entries.look

    def failing(directory: Directory, names: list[str], longest: int, key: str) -> list[Look | None]:
        if "bad" in names:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return look(directory, names, longest, key)

    monkeypatch.setattr(entries, "look", failing)
    data, problems = exported(view_of(tmp_path))
    assert contents(data) == {"a": b"a", "c": b"c"}
    assert [(problem.path, problem.what) for problem in problems] == [("bad", "cannot read: Input/output error")]


# ---------------------------------------------------------------------- when a copy ends early
@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Folders with files, one of them large."""
    top = tmp_path / "tree"
    for folder in ("one", "two/three"):
        (top / folder).mkdir(parents=True)
        for number in range(50):
            (top / folder / str(number)).write_bytes(b"x" * number)
    (top / "two" / "large").write_bytes(b"y" * 3_000_000)
    return top


@pytest.mark.parametrize("after", [1, 40, 90])
def test_an_interrupted_extract_leaves_nothing(tree: Path, tmp_path: Path, after: int) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "mine").write_text("stays")
    left = iter(range(after))

    def passed() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(view_of(tree), "/", place, passed)
    assert os.listdir(place) == ["mine"]


def test_an_extract_that_is_interrupted_in_a_file_leaves_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Any, out: Any, _: int) -> None:
        out.write(source.read(1000))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(KeyboardInterrupt):
        extract(view_of(tree), "/two/large", tmp_path / "large")
    assert os.listdir(tmp_path) == ["tree"]


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("path", ["/two/large", "/two"])
def test_a_full_disk_ends_an_extract_and_nothing_is_left(tree: Path, tmp_path: Path, path: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "layerscope", "extract", f"overlay:{path}", disk / "out"]
    script = 'mount -t tmpfs -o size=512k tmpfs "$0" && { "$@"; echo "ended with $?"; ls -A "$0"; }'
    words = ["unshare", "--mount", "sh", "-c", script, disk, *command, "--root", f"overlay:lowerdir={tree}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "ended with 4\n", done
    assert "No space left on device" in done.stderr


def test_every_entry_is_counted(tree: Path, tmp_path: Path) -> None:
    counted: list[str] = []
    with open_root(f"overlay:lowerdir={tree}") as session:
        subject = session.find("overlay")
        session.export(subject, io.BytesIO(), lambda: counted.append("exported"))
        session.extract(subject, "/", tmp_path / "out", lambda: counted.append("extracted"))
    assert Counter(counted) == {"exported": 104, "extracted": 104}
    assert (tmp_path / "out" / "two" / "three" / "49").read_bytes() == b"x" * 49
