"""Unified diffs that GNU patch accepts, and bytes compared where there is no text."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerscope import open_root
from layerscope.analysis.changes.lines import line_blocks
from layerscope.errors import LayerscopeError
from layerscope.services import Session
from layerscope.services.file import difference as module
from layerscope.services.file.copies import Cancelled, Copy, life
from layerscope.services.file.difference import ByteDiff, LineKind, TextDiff, byte_diff, split_lines, text_diff

needs_patch = pytest.mark.skipif(shutil.which("patch") is None, reason="GNU patch is not installed")


def compared(old: bytes, new: bytes) -> TextDiff:
    old_lines, new_lines = split_lines(old), split_lines(new)
    return TextDiff(old_lines, new_lines, line_blocks(old_lines, new_lines))


def as_patch(diff: TextDiff) -> bytes:
    """As ``diff -u`` writes it."""
    lines = ["--- a", "+++ b"]
    for line in diff.lines():
        if line.kind is LineKind.HUNK:
            lines.append(line.text)
        elif line.kind is LineKind.NO_END:
            lines.append("\\ No newline at end of file")
        else:
            lines.append(line.kind + line.text)
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def some_text(rng: random.Random, lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + (b"\n" if rng.random() < 0.7 else b"")


@needs_patch
@pytest.mark.parametrize("seed", range(40))
def test_patch_makes_the_new_text_of_the_old(seed: int, tmp_path: Path):
    rng = random.Random(seed)
    old_lines = [b"line %d \xff\t\\" % rng.randrange(12) for _ in range(rng.randrange(3, 60))]
    new_lines = list(old_lines)
    for _ in range(rng.randrange(1, 7)):
        place = rng.randrange(len(new_lines) + 1)
        new_lines[place : place + rng.randrange(3)] = [b"new %d" % rng.randrange(9)] * rng.randrange(3)
    old, new = some_text(rng, old_lines), some_text(rng, new_lines)
    file = tmp_path / "file"
    file.write_bytes(old)
    written = as_patch(compared(old, new))
    if old == new:
        assert written == b"--- a\n+++ b\n"
        return
    subprocess.run(["patch", "-s", "--fuzz=0", str(file)], input=written, check=True, capture_output=True)
    assert (file.read_bytes() if file.exists() else b"") == new


def test_lines_are_numbered_in_both_texts():
    diff = compared(b"a\nb\nc\n", b"a\nB\nB2\nc")
    assert [tuple(line) for line in diff.lines()] == [
        ("@", None, None, "@@ -1,3 +1,4 @@"),
        (" ", 1, 1, "a"),
        ("-", 2, None, "b"),
        ("-", 3, None, "c"),
        ("+", None, 2, "B"),
        ("+", None, 3, "B2"),
        ("+", None, 4, "c"),
        ("\\", None, None, "no newline at the end of the file"),
    ]
    assert (diff.added, diff.removed) == (3, 2)


def test_all_lines_without_hunks():
    old = b"".join(b"%d\n" % number for number in range(50))
    diff = compared(old, old.replace(b"25\n", b"x\n"))
    assert [line.kind for line in diff.lines()].count(LineKind.SAME) == 6
    everything = list(diff.lines(None))
    assert len(everything) == 51
    assert LineKind.HUNK not in {line.kind for line in everything}


# ---------------------------------------------------------------------- copies
@pytest.fixture
def changed_root(overlay2_root: Path, tmp_path: Path) -> Iterator[tuple[Session, Path]]:
    """A copy of a root whose container can be given files, and the directory of its writable layer."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    with open_root(root) as session:
        yield session, root / (session.levels(session.find("editor"))[-1].path or "")


def copies_of(session: Session, upper: Path, content: bytes) -> tuple[Copy, Copy]:
    """``/etc/motd`` as the writable layer has it now, and the copy below."""
    (upper / "etc" / "motd").write_bytes(content)
    new, old = life(session, session.find("editor"), "etc/motd").copies[:2]
    return old, new


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the sample can't be copied whole without root")


@needs_root
def test_two_copies_of_a_text(changed_root: tuple[Session, Path]):
    old, new = copies_of(*changed_root, b"welcome\nchanged\n")
    found = text_diff(old, new)
    assert isinstance(found, TextDiff)
    assert [(line.kind, line.text) for line in found.lines()][1:] == [
        (" ", "welcome"),
        ("-", "second line"),
        ("+", "changed"),
    ]


@needs_root
def test_binary_and_huge_files_are_no_texts(changed_root: tuple[Session, Path], monkeypatch: pytest.MonkeyPatch):
    assert text_diff(*copies_of(*changed_root, b"a\0b")) == "binary"
    monkeypatch.setattr(module, "TEXT_LINES", 3)
    assert text_diff(*copies_of(*changed_root, b"\n" * 4)) == "too large"
    monkeypatch.setattr(module, "TEXT_BYTES", 30)
    assert text_diff(*copies_of(*changed_root, b"x" * 31)) == "too large"


@needs_root
@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"welcome\nsecond line\n", None),
        (b"welcome\nSecond line\n", 8),
        (b"welcome\n", 8),
        (b"", 0),
        (b"welcome\nsecond line\n" + b"x" * 300_000, 20),
    ],
    ids=["same", "one-byte", "shorter", "empty", "longer"],
)
def test_bytes_are_compared_to_the_first_difference(
    changed_root: tuple[Session, Path], content: bytes, first: int | None
):
    old, new = copies_of(*changed_root, content)
    told: list[int] = []
    found = byte_diff(old, new, "binary", progress=told.append)
    assert isinstance(found, ByteDiff)
    assert found.first == first
    assert (found.new_size, found.new_sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.old_sha256 == hashlib.sha256(b"welcome\nsecond line\n").hexdigest()
    assert sum(told) == len(content) + 20
    if first is not None:
        assert found.new_piece == content[found.piece_offset :][:64]
        assert found.piece_offset <= first <= found.piece_offset + 64


@needs_root
def test_given_up(changed_root: tuple[Session, Path]):
    old, new = copies_of(*changed_root, b"x")
    with pytest.raises(Cancelled):
        byte_diff(old, new, "binary", stopped=lambda: True)
    with pytest.raises(Cancelled):
        text_diff(old, new, stopped=lambda: True)


@needs_root
def test_a_copy_that_vanished_is_told(changed_root: tuple[Session, Path]):
    old, new = copies_of(*changed_root, b"x")
    (changed_root[1] / "etc" / "motd").unlink()
    with pytest.raises(LayerscopeError, match="/etc/motd in level 6"):
        text_diff(old, new)
