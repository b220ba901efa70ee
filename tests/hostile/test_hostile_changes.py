"""What changes while it is exported: the tar is one, and says what its headers promise."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spoiled import CONTAINER, Root

from layerscope import open_root
from layerscope.errors import LayerscopeError
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView


class Meddler(io.RawIOBase):
    """Where an export goes; when the header of a member is written, something happens to the root."""

    def __init__(self, happenings: dict[str, Callable[[], None]]) -> None:
        self.data = bytearray()
        self._happenings = happenings

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        for name in [name for name in self._happenings if name.encode() in data]:
            self._happenings.pop(name)()
        return len(data)


def _listed_by_tar(data: bytes, path: Path) -> list[str]:
    """The names in a tar, read to its end by GNU tar."""
    path.write_bytes(data)
    done = subprocess.run(["tar", "-tf", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_export_of_files_that_change(root: Root, tmp_path: Path) -> None:
    folder = root.upper / "moving"
    folder.mkdir()
    size = 3_000_000
    for name in ("1-shrinks", "2-grows", "3-vanishes-soon", "5-is-emptied"):
        (folder / name).write_bytes(b"a" * size)
    (folder / "4-folder").mkdir()
    (folder / "4-folder" / "in").write_bytes(b"in")
    happenings = {
        "moving/1-shrinks": lambda: os.truncate(folder / "1-shrinks", 1_000_000),
        "moving/2-grows": lambda: os.truncate(folder / "2-grows", size * 2),
        "moving/": lambda: ((folder / "3-vanishes-soon").unlink(), shutil.rmtree(folder / "4-folder")),
        "moving/5-is-emptied": lambda: os.truncate(folder / "5-is-emptied", 0),
    }
    out = Meddler(happenings)  # type: ignore[arg-type]
    with open_root(root.path) as session:
        problems = session.export(session.find(CONTAINER), out)  # type: ignore[arg-type]
    assert happenings == {}, "everything happened"
    names = _listed_by_tar(bytes(out.data), tmp_path / "tar")
    assert "moving/3-vanishes-soon" not in names and "sticky/t" in names
    with tarfile.open(fileobj=io.BytesIO(bytes(out.data))) as tar:
        for name in ("1-shrinks", "2-grows", "5-is-emptied"):
            member = tar.getmember(f"moving/{name}")
            file = tar.extractfile(member)
            assert file is not None
            content = file.read()
            assert len(content) == member.size == size
            assert set(content) <= {ord("a"), 0}
        assert tar.extractfile("moving/1-shrinks").read().startswith(b"a" * 900_000)  # type: ignore[union-attr]
        assert tar.extractfile("moving/2-grows").read() == b"a" * size  # type: ignore[union-attr]
    told = {problem.path: problem.what for problem in problems}
    assert "shorter" in told["moving/1-shrinks"] and "longer" in told["moving/2-grows"]
    assert "moving/5-is-emptied" in told


def test_export_of_a_root_that_vanishes(root: Root) -> None:
    """The whole driver's folder goes away half way: the tar ends well, and so does the verb."""
    out = Meddler({"etc/": lambda: shutil.rmtree(root.path / "overlay2")})
    with open_root(root.path) as session:
        try:
            session.export(session.find(CONTAINER), out)  # type: ignore[arg-type]
        except LayerscopeError:
            pass
    with tarfile.open(fileobj=io.BytesIO(bytes(out.data))) as tar:
        assert "bin/tl" in tar.getnames()


def test_a_full_disk_under_an_export_is_told(root: Root) -> None:
    with (
        open_root(root.path) as session,
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OSError, match="space"),
    ):
        session.export(session.find(CONTAINER), full)  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [False, True], ids=["its own", "of an image, too"])
def test_counts_of_a_level_whose_directories_go_when_they_were_listed(
    root: Root, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """As ``rm -rf`` in a container does it. What was listed is counted, and no problem of the root."""
    top = root.upper / ("etc" if shared else "moving")
    for number in range(9):
        (top / f"{number}" / "in").mkdir(parents=True)
    listing_of = MergedView.listing_of

    def listed_before_it_went(view: MergedView, part: Part) -> Any:
        found = listing_of(view, part)
        if part.path == top.name:
            for number in range(9):
                shutil.rmtree(top / f"{number}", ignore_errors=True)
        return found

    with open_root(root.path) as session:
        subject = session.find(CONTAINER)
        before = session.stack(subject)[0].counts
        monkeypatch.setattr(MergedView, "listing_of", listed_before_it_went)
        after = session.stack(subject)[0].counts
        assert session.problems() == ()
    assert before is not None and after is not None
    # Each of the nine and what is in it; then some or none of the nine, which is no business of others.
    assert 0 <= before.added - after.added <= 18
    assert (before.modified, before.metadata, before.deleted) == (after.modified, after.metadata, after.deleted)
