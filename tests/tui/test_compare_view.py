"""Two copies of a path on the screen, any two; what isn't text; what is long."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_screen import OneScreen, lines, press, settled, shown
from textual.pilot import Pilot

from layerscope import open_root
from layerscope.services import Session
from layerscope.tui.screens.compare_view import CompareView
from layerscope.tui.sources import comparison
from layerscope.tui.widgets.details.comparison import ComparisonView
from layerscope.tui.widgets.details.copy_strip import CopyStrip
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.states import Failure, Loading

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the sample can't be copied whole without root")


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


def compare(session: Session, path: str, **sides: int) -> OneScreen:
    return OneScreen(lambda: CompareView(session, session.find("editor"), path, **sides))


def content(pilot: Pilot[None]) -> list[str]:
    return [line for line in lines(pilot.app.screen.query_one(ComparisonView)) if line]


def keys(pilot: Pilot[None]) -> str:
    return shown(pilot.app.screen.query_one(KeyBar))


def strip(pilot: Pilot[None]) -> list[str]:
    return lines(pilot.app.screen.query_one(CopyStrip))


async def test_the_newest_with_the_one_below(session: Session):
    async with compare(session, "etc/motd").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        assert strip(pilot)[0].split() == ["copies", "1", "-2", "+6"]
        assert strip(pilot)[1].startswith("--- layer 2")
        assert strip(pilot)[2].startswith("+++ layer 6 rw")
        assert " 1 1   welcome" in content(pilot)
        assert "   3 + third line" in content(pilot)
        assert "+1 -0 lines" in lines(pilot.app.screen.query_one("#over"))[-1]


async def test_any_two(session: Session):
    async with compare(session, "etc/motd").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "left_square_bracket")
        assert strip(pilot)[0].split() == ["copies", "-1", "2", "+6"]
        assert "Old side" in keys(pilot)
        assert sum(line.split()[1] == "+" for line in content(pilot) if len(line.split()) > 1) == 2
        await press(pilot, "left_square_bracket", "left_curly_bracket")
        assert strip(pilot)[0].split() == ["copies", "-1", "+2", "6"]
        await press(pilot, "right_curly_bracket", "right_square_bracket", "right_square_bracket")
        assert strip(pilot)[1].startswith("--- layer 6")
        assert "the contents are the same" in content(pilot)


async def test_sides_that_are_asked_for(session: Session):
    async with compare(session, "etc/motd", old=6, new=1).run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        assert [line[:11] for line in strip(pilot)[1:3]] == ["--- layer 6", "+++ layer 1"]
        assert "+0 -2 lines" in lines(pilot.app.screen.query_one("#over"))[-1]
    async with compare(session, "etc/motd", new=1).run_test(size=(100, 30)) as pilot:
        await settled(pilot)  # there is none below the oldest: what came of it
        assert [line[:11] for line in strip(pilot)[1:3]] == ["--- layer 1", "+++ layer 2"]


async def test_one_copy_alone(session: Session):
    async with compare(session, "new/deep/f").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        assert "no other copy is stored" in strip(pilot)[1]
        assert all(word not in keys(pilot) for word in ("Old side", "New side", "Next change", "All lines"))
        await press(pilot, "left_square_bracket", "left_curly_bracket", "n", "U")
        assert content(pilot)


async def test_nothing_there(session: Session):
    async with compare(session, "not/there").run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        state = pilot.app.screen.query_one("#over").state  # type: ignore[attr-defined]
        assert isinstance(state, Failure)
        await press(pilot, "left_square_bracket", "U", "n", "escape")
        assert not isinstance(pilot.app.screen, CompareView)


async def test_all_lines_and_changes_one_by_one(session: Session, overlay2_root: Path, tmp_path: Path):
    root = tmp_path / "root"
    if os.geteuid() != 0:
        pytest.skip("the sample can't be copied whole without root")
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    with open_root(root) as opened:
        levels = opened.levels(opened.find("editor"))
        old = [b"line %d\n" % number for number in range(300)]
        new = list(old)
        new[50], new[200] = b"changed 50\n", b"changed 200\n"
        (root / (levels[1].path or "") / "etc/motd").write_bytes(b"".join(old))
        (root / (levels[5].path or "") / "etc/motd").write_bytes(b"".join(new))
        async with compare(opened, "etc/motd").run_test(size=(100, 14)) as pilot:
            await settled(pilot)
            view = pilot.app.screen.query_one(ComparisonView)
            assert "@@ -48,7 +48,7 @@" in shown(view)
            assert len(view.rows) == 1 + 2 * 9  # mtime; two hunks of 8 lines with their headings
            await press(pilot, "U")
            assert len(view.rows) == 1 + 302
            await press(pilot, "n")
            assert "changed 50" in shown(view)
            await press(pilot, "n")
            assert "changed 200" in shown(view)
            await press(pilot, "N")
            assert "changed 50" in shown(view)


@needs_root
async def test_no_text_is_compared_byte_by_byte(session: Session):
    levels = session.levels(session.find("editor"))
    old, new = (
        hashlib.sha256((session.path / (level.path or "") / "data/sparse").read_bytes()).hexdigest()
        for level in (levels[0], levels[5])
    )
    async with compare(session, "data/sparse").run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        text = "\n".join(content(pilot))
        assert f"- 65,536 bytes  sha256 {old}" in text
        assert f"+ 200,000 bytes  sha256 {new}" in text
        assert "the first byte that differs is at 65,536 (0x10000)" in text


@needs_root
async def test_reading_whole_files_can_be_given_up(session: Session, monkeypatch: pytest.MonkeyPatch):
    def endless(old: object, new: object, why: str, stopped: object, progress: object) -> None:
        while not stopped():  # type: ignore[operator]
            progress(1)  # type: ignore[operator]

    monkeypatch.setattr(comparison, "byte_diff", endless)
    async with compare(session, "data/sparse").run_test(size=(120, 30)) as pilot:
        pane = pilot.app.screen.query_one("#over")
        while not isinstance(pane.state, Loading) or pane.state.count is None:  # type: ignore[attr-defined]
            await pilot.pause(0.02)
        await pilot.press("escape")
        await settled(pilot)
        assert isinstance(pilot.app.screen, CompareView)
        assert "binary: 65.5 kB before, 200 kB now" in content(pilot)
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, CompareView)


@needs_root
async def test_what_is_no_file(session: Session):
    async with compare(session, "data/link").run_test(size=(100, 20)) as pilot:
        await settled(pilot)
        assert "type  symlink → dir" in content(pilot)
        assert "target  a.txt → none" in content(pilot)


async def test_ascii_alone(session: Session):
    app = OneScreen(lambda: CompareView(session, session.find("editor"), "etc/motd"), ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert shown(pilot.app.screen).isascii()
