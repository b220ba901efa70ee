"""The stored copies of a path, against what the engine that wrote the root exported and listed as changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat as modes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from layerscope import open_root
from layerscope.errors import UsageError
from layerscope.model.blame import BlameEvent
from layerscope.model.level import Role
from layerscope.services import Session
from layerscope.services.file.copies import Cancelled, Life, life, metadata_differences

needs_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="owners, device nodes and trusted.* marks of the sample are lost when unpacked without root",
)
pytestmark = [pytest.mark.root, needs_root]
CONTAINERS = ["editor", "idle", "writer"]


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_copy_at_the_top_is_what_was_exported(session: Session, name: str, sample_truth: Callable[..., Any]):
    subject = session.find(f"container:{name}")
    for member in sample_truth("overlay2", "export")[name]:
        found = life(session, subject, member["name"])
        step = found.at(found.levels)
        assert step is not None
        assert step.copy is not None, member["name"]
        copy = step.copy
        if member["type"] == "0" and member["name"] != ".dockerenv":
            assert (copy.stat.st_size, step.sha256) == (member["size"], member["sha256"]), member["name"]
            with copy.open() as file:
                assert hashlib.sha256(file.read()).hexdigest() == member["sha256"]
        assert (copy.stat.st_uid, copy.stat.st_gid) == (member["uid"], member["gid"])
        if member["type"] == "2":
            assert copy.target == member["link"]
        # Where it is said to lie, it lies.
        assert os.lstat(session.path / copy.place).st_ino == copy.stat.st_ino


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_writable_layer_did_what_docker_diff_says(session: Session, name: str, sample_truth: Callable[..., Any]):
    subject = session.find(f"container:{name}")
    for line in sample_truth("overlay2", "diff")[name]:
        kind, path = line.split(" ", 1)
        found = life(session, subject, path)
        top = found.steps[0]
        assert top.level.role is Role.RW, line
        if kind == "A":
            assert top.event in (BlameEvent.CREATED, BlameEvent.RECREATED), line
        elif kind == "D":
            assert top.event in (BlameEvent.DELETED, BlameEvent.HIDDEN), line
            assert found.at(found.levels) is top
            assert found.copies
        else:
            assert top.copy is not None, line
            assert top.event not in (BlameEvent.CREATED, BlameEvent.DELETED, BlameEvent.HIDDEN), line


def test_an_opaque_directory_replaces_the_one_below(session: Session):
    """The container removed the directory and made it anew; the kernel wrote the mark."""
    subject = session.find("editor")
    found = life(session, subject, "data/sub")
    place = session.path / found.copies[0].place
    assert os.getxattr(place, "trusted.overlay.opaque") == b"y"
    assert [step.event for step in found.steps] == [BlameEvent.REPLACED, BlameEvent.CREATED]
    assert found.copies[0].opaque
    assert [step.event for step in session.blame(subject, "/data/sub").steps] == [
        BlameEvent.CREATED,
        BlameEvent.REPLACED,
    ]


def test_what_was_paid_counts_every_copy(session: Session):
    subject = session.find("editor")
    found = life(session, subject, "/etc/motd")
    sizes = [os.lstat(session.path / copy.place).st_size for copy in found.copies]
    assert len(sizes) == 3
    assert found.paid_bytes(found.levels) == sum(sizes)
    assert found.paid_bytes(found.copies[1].level.number) == sum(sizes[1:])
    assert found.below(found.copies[0]) is found.copies[1]
    assert found.below(found.copies[2]) is None


def test_the_cut_of_the_subject_does_not_count(session: Session):
    whole, cut = session.find("editor"), session.find("editor@2")
    assert told(life(session, cut, "etc/motd")) == told(life(session, whole, "etc/motd"))


def told(found: Life) -> list[tuple[object, ...]]:
    """All that a life says, without what its copies are read through."""
    return [
        (*structs.astuple(step)[:3], step.sha256, step.copy and structs.astuple(step.copy)[:-1]) for step in found.steps
    ]


def test_metadata_that_differs(session: Session):
    subject = session.find("editor")
    new, old = life(session, subject, "data/perm/owner").copies
    assert [(difference.name, difference.old, difference.new) for difference in metadata_differences(old, new)] == [
        ("owner", "0:0", "1000:1000")
    ]


def test_a_large_file_is_not_read(session: Session):
    found = life(session, session.find("editor"), "data/perm/owner", read_bytes=4)
    assert [step.sha256 for step in found.steps] == [None, None]
    assert "content?" in found.steps[0].fields


def test_nothing_there_and_given_up(session: Session):
    subject = session.find("editor")
    with pytest.raises(UsageError, match="no such path"):
        life(session, subject, "not/there")
    with pytest.raises(Cancelled):
        life(session, subject, "etc/motd", stopped=lambda: True)


def test_a_path_through_a_file_is_no_traceback(session: Session):
    with pytest.raises(UsageError):
        life(session, session.find("editor"), "etc/motd/below")


def test_a_copy_that_vanished_is_told(overlay2_root: Path, tmp_path: Path):
    root = tmp_path / "root"
    shutil.copytree(overlay2_root, root, symlinks=True, ignore_dangling_symlinks=True, ignore=_no_devices)
    with open_root(root) as opened:
        found = life(opened, opened.find("editor"), "new/deep/f")
        (root / found.copies[0].place).unlink()
        with pytest.raises(UsageError, match="cannot read the copy of /new/deep/f in level 6"):
            found.copies[0].open()


def _no_devices(folder: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if not (Path(folder, name).is_symlink() or Path(folder, name).is_dir() or Path(folder, name).is_file())
    ]


def test_what_one_level_itself_holds_in_a_directory(session: Session):
    copy = life(session, session.find("editor"), "data").copies[0]
    stored = sorted(os.listdir(session.path / copy.place), key=os.fsencode)
    gone = [name for name in stored if modes.S_ISCHR(os.lstat(session.path / copy.place / name).st_mode)]
    entries = copy.entries(100)
    assert [entry.name for entry in entries.first] == stored
    assert [entry.name for entry in entries.first if entry.whiteout] == gone
    assert (entries.count, entries.whiteouts) == (len(stored), len(gone))
    assert gone
    assert copy.entries(2).first == entries.first[:2]
