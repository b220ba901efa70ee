"""Overlays without an engine: what the kernel mounts, and what is seen of the same directories without a mount."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tree_facts

from layerscope import open_root
from layerscope.cli.main import run
from layerscope.errors import RootError, UsageError
from layerscope.services import Session

needs_mounts = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and writing trusted.* attributes needs root"),
]


@contextmanager
def mounted(options: str, point: Path, folder: Path | None = None) -> Iterator[Path]:
    """The kernel's overlay with these options, as they are typed in ``folder``."""
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True, cwd=folder)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def seen(session: Session) -> dict[str, tuple[object, ...]]:
    return tree_facts.exact_of_session(session, session.find("overlay"))


def change(top: Path, number: int) -> None:
    """Something of each kind, done through a mount; another ``number`` changes other things."""
    (top / "new").mkdir(exist_ok=True)
    (top / "new" / f"by-{number}").write_text("new\n")
    os.setxattr(top / "new" / f"by-{number}", "user.note", b"kept")
    (top / "etc" / f"changed-{number}").write_text("changed\n")
    (top / "etc" / f"gone-{number}").unlink()
    (top / "etc" / f"mode-{number}").chmod(0o600)
    shutil.rmtree(top / f"again-{number}")
    (top / f"again-{number}").mkdir()
    (top / f"again-{number}" / "other").write_text("other\n")
    shutil.rmtree(top / f"lost-{number}")
    os.link(top / "etc" / "hosts", top / f"hosts-{number}")
    os.mkfifo(top / f"pipe-{number}")
    os.mknod(top / f"null-{number}", 0o20666, os.makedev(1, 3))


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Two lower directories with names that need escapes, the upper one made by the kernel; an upper and a work one."""
    base = tmp_path / "ba,se"
    (base / "etc").mkdir(parents=True)
    (base / "etc" / "hosts").write_text("hosts\n")
    (base / "etc" / "link").symlink_to("hosts")
    for number in (1, 2):
        for name in ("changed", "gone", "mode"):
            (base / "etc" / f"{name}-{number}").write_text(f"{name}\n")
        for name in ("again", "lost"):
            (base / f"{name}-{number}" / "deep").mkdir(parents=True)
            (base / f"{name}-{number}" / "deep" / "file").write_text("deep\n")
    for name in ("low:er", "upper", "work", "work-1"):
        (tmp_path / name).mkdir()
    options = rf"lowerdir={tmp_path}/ba\,se,upperdir={tmp_path}/low\:er,workdir={tmp_path}/work-1"
    with mounted(options, tmp_path / "merged") as merged:
        change(merged, 1)
    return tmp_path


OPTIONS = r"lowerdir={0}/low\:er:{0}/ba\,se,upperdir={0}/upper,workdir={0}/work"


class TestAgainstTheKernel:
    pytestmark = needs_mounts

    def test_tree_and_changes(self, stack: Path) -> None:
        options = OPTIONS.format(stack)
        with mounted(options, stack / "merged") as merged:
            change(merged, 2)
            expected = tree_facts.of_kernel(merged)
            with open_root(merged) as by_point, open_root(f"overlay:{merged}") as named:
                assert seen(by_point) == expected
                assert seen(named) == expected
                assert by_point.daemon().held is True
                assert str(merged) in by_point.daemon().evidence
        with open_root(f"overlay:{options}") as session:
            assert seen(session) == expected
            assert session.daemon().held is None
            added = {change.path for change in session.changes(session.find("overlay")) if change.kind == "A"}
            assert added == {"again-2/other", "hosts-2", "new/by-2", "null-2", "pipe-2"}
            assert [level.path for level in session.levels(session.find("overlay"))] == [
                str(stack / name) for name in ("ba,se", "low:er", "upper")
            ]

    def test_names_relative_to_the_current_directory(self, stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        options = r"lowerdir=low\:er:ba\,se,upperdir=upper,workdir=work"
        with mounted(options, stack / "merged", stack) as merged:
            expected = tree_facts.of_kernel(merged)
            monkeypatch.chdir("/")  # the mount keeps the names as they were typed, but not where
            with open_root(merged) as session:
                assert seen(session) == expected
            monkeypatch.chdir(stack)
            with open_root(f"overlay:{options}") as session:
                assert seen(session) == expected

    def test_user_xattr_decides_which_marks_count(self, tmp_path: Path) -> None:
        for path in ("base/user/below", "base/trusted/below", "top/user", "top/trusted"):
            (tmp_path / path).mkdir(parents=True)
        os.setxattr(tmp_path / "top/user", "user.overlay.opaque", b"y")
        os.setxattr(tmp_path / "top/trusted", "trusted.overlay.opaque", b"y")
        for option, hidden in (("", "trusted"), (",userxattr", "user")):
            options = f"lowerdir={tmp_path}/top:{tmp_path}/base{option}"
            with mounted(options, tmp_path / "merged") as merged, open_root(f"overlay:{options}") as session:
                expected = {str(path.relative_to(merged)) for path in merged.rglob("*")}
                assert f"{hidden}/below" not in expected
                assert set(seen(session)) == expected
                assert session.setting.xattr_prefix == hidden

    def test_data_only_directories(self, tmp_path: Path) -> None:
        for path in ("top", "data/blobs"):
            (tmp_path / path).mkdir(parents=True)
        (tmp_path / "data/blobs/b1").write_text("the data\n")
        (tmp_path / "data/unseen").write_text("not in the view\n")
        file = tmp_path / "top/file"
        file.touch()
        os.truncate(file, len("the data\n"))
        os.setxattr(file, "trusted.overlay.metacopy", b"")
        os.setxattr(file, "trusted.overlay.redirect", b"/blobs/b1")
        options = f"lowerdir={tmp_path}/top::{tmp_path}/data,metacopy=on,redirect_dir=follow"
        with mounted(f"ro,{options}", tmp_path / "merged") as merged:
            expected = tree_facts.of_kernel(merged)
        assert set(expected) == {"file"}
        with open_root(f"overlay:{options}") as session:
            assert seen(session) == expected
            with session.open_file(session.find("overlay"), "/file") as opened:
                assert opened.read() == b"the data\n"
            assert [found.level.number for found in session.stack(session.find("overlay"))] == [2, 1]

    def test_as_many_lower_directories_as_the_kernel_takes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # mount(2) takes a page of options: the names must be short
        for number in range(500):
            Path(str(number)).mkdir()
            if number % 50 == 0:
                Path(str(number), f"of-{number}").write_text(str(number))
            Path(str(number), "all").write_text(str(number))
        options = "lowerdir=" + ":".join(map(str, range(500)))
        with mounted(options, tmp_path / "merged", tmp_path) as merged:
            expected = tree_facts.of_kernel(merged)
        with open_root(f"overlay:{options}") as session:
            assert len(session.levels(session.find("overlay"))) == 500
            assert seen(session) == expected


def test_without_an_upper_directory_it_is_an_image(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    with open_root(f"overlay:lowerdir={tmp_path}/a:{tmp_path}/b") as session:
        assert session.containers() == []
        assert [usage.image.repo_tags for usage in session.images()] == [("overlay:latest",)]
        with session.open_file(session.find("overlay"), "/f") as file:
            assert file.read() == b"a"
        assert [step.level for step in session.blame(session.find("overlay"), "/f").steps] == [1, 2]


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("a")
    with open_root(f"overlay:lowerdir={tmp_path}/a:{tmp_path}/gone,upperdir={tmp_path}/no-upper") as session:
        assert set(seen(session)) == {"f"}
        assert {problem.path for problem in session.info().problems} == {f"{tmp_path}/gone", f"{tmp_path}/no-upper"}


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(RootError, match="none of its 2 directories is there"):
        open_root(f"overlay:lowerdir={tmp_path}/x:{tmp_path}/y")
    with pytest.raises(RootError, match="no overlay is mounted there"):
        open_root(f"overlay:{tmp_path}")
    with pytest.raises(UsageError, match="needs a lower directory"):
        open_root("overlay:upperdir=/x")


def test_nothing_is_extracted_into_the_overlay(tmp_path: Path) -> None:
    for name in ("a", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "f").write_text("a")
    with open_root(f"overlay:lowerdir={tmp_path}/a,upperdir={tmp_path}/upper") as session:
        with pytest.raises(UsageError, match="below the root"):
            session.extract(session.find("overlay"), "/f", tmp_path / "a" / "copy")
        session.extract(session.find("overlay"), "/f", tmp_path / "copy")
        out = io.BytesIO()
        assert session.export(session.find("overlay"), out) == []
        assert set(tree_facts.of_tar(out.getvalue())) == {"f"}
    assert (tmp_path / "copy").read_text() == "a"


def test_the_verbs_take_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "f").write_text("a")
    (tmp_path / "upper" / "g").write_text("g")
    root = f"overlay:lowerdir={tmp_path}/a,upperdir={tmp_path}/upper"
    for verb in ("info", "images", "ps", "stack overlay", "ls overlay", "inspect overlay", "diff overlay"):
        assert run(["--root", root, *verb.split()]) == 0, verb
    assert capfd.readouterr().out.splitlines()[-1] == "A /g"
