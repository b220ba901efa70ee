"""The details of a path: its life, what differs, facts of a copy, in every form; and what stands in their place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_screen import OneWidget, lines, press, settled, shown

from layerscope import open_root
from layerscope.model.entry import Entry
from layerscope.overlay import entry_at
from layerscope.services import Session
from layerscope.tui.screens.compare_view import CompareView
from layerscope.tui.screens.file_view import FileView
from layerscope.tui.widgets.details.body import DetailsBody
from layerscope.tui.widgets.details.comparison import ComparisonView
from layerscope.tui.widgets.details.facts import FactsView
from layerscope.tui.widgets.details.life_list import LifeList
from layerscope.tui.widgets.details.pane import Details
from layerscope.tui.widgets.details.summary import DetailsSummary
from layerscope.tui.widgets.frame.states import Empty, Failure, StateView

MOTD = {1: b"welcome\n", 2: b"welcome\nsecond line\n", 6: b"welcome\nsecond line\nthird line\n"}
needs_marks = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


class Look:
    """Details of one container's paths."""

    def __init__(self, session: Session, name: str = "editor", cut: int | None = None) -> None:
        self.session = session
        self.subject = session.find(name)
        self.view = session.view(self.subject)
        if cut is not None:
            self.view = self.view.cut(cut)
        self.details = Details()
        self.app = OneWidget(self.details)

    def show(self, entry: Entry | str | None) -> None:
        self.details.show(self.session, self.subject, entry, self.view)

    @property
    def life(self) -> list[str]:
        return [line for line in lines(self.details.query_one(LifeList))[1:] if line]

    @property
    def content(self) -> list[str]:
        return [line for line in lines(self.details.query_one(ComparisonView)) if line]

    @property
    def state(self) -> object:
        return self.details.query_one(StateView).state if self.details.has_class("-covered") else None


def short(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"{digest[:4]}…{digest[-2:]}"


async def test_life_top_first_with_sizes_and_digests(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show("etc/motd")
        await settled(pilot)
        rows = [line.split() for line in look.life]
        assert [row[0] for row in rows] == ["▌6", "▌3-5", "▌2", "▌1"]
        assert [row[-1] for row in rows if row[0] != "▌3-5"] == [short(MOTD[6]), short(MOTD[2]), short(MOTD[1])]
        assert " ".join(rows[0][1:5]) == "rw ~ copied up,"
        assert rows[0][-3:-1] == ["31", "B"]
        assert "not present" in look.life[1]


async def test_the_two_nearest_copies_are_compared(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show("etc/motd")
        await settled(pilot)
        assert "--- layer 2" in look.content[0]
        assert "+++ layer 6" in look.content[0]
        assert look.content[0].endswith("+1 -0")
        text = "\n".join(look.content)
        assert "+ third line" in text
        assert "@@ -1,2 +1,3 @@" in text
        # The row under the cursor is what is compared with the one below it.
        look.details.focus()
        await press(pilot, "down", "down")
        assert "--- layer 1" in look.content[0]
        assert "+ second line" in "\n".join(look.content)


async def test_an_only_copy_shows_its_beginning(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show("new/deep/f")
        await settled(pilot)
        assert "layer 6" in look.content[0]
        place = session.path / (session.levels(look.subject)[5].path or "") / "new/deep/f"
        assert place.read_text().rstrip() in "\n".join(look.content)


async def test_facts_wide_and_beside_the_life(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(170, 20)) as pilot:
        look.show("etc/motd")
        await settled(pilot)
        assert look.details.query_one(DetailsBody).has_class("-three")
        facts = "".join("".join(lines(look.details.query_one(FactsView))).replace("▏", "").split())
        level = session.levels(look.subject)[5]
        place = session.path / (level.path or "") / "etc/motd"
        assert f"{level.path}/etc/motd" in facts
        assert f"inode{place.stat().st_ino}" in facts
        assert "stored31Bbeside28Bbelow;59Bpaidinall" in facts
        await pilot.resize_terminal(120, 20)
        await settled(pilot)
        assert look.details.query_one(DetailsBody).has_class("-two")
        assert look.details.query_one(FactsView).region.x == look.details.query_one(LifeList).region.x
        await pilot.resize_terminal(70, 24)
        await settled(pilot)
        assert look.details.query_one(DetailsBody).has_class("-one")
        parts = [look.details.query_one(kind).region for kind in (LifeList, ComparisonView, FactsView)]
        assert [part.y for part in parts] == sorted(part.y for part in parts)
        assert all(part.height >= 2 for part in parts)


async def test_three_lines_where_there_is_no_room(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(80, 3)) as pilot:
        look.show("etc/motd")
        await settled(pilot)
        text = lines(look.details.query_one(DetailsSummary))
        assert text[0].startswith("/etc/motd  ~ copied up, changed")
        assert f"▌6 rw 31 B {short(MOTD[6])}" in text[1]
        assert "3-5: not present" in text[1]
        assert text[2].startswith("+1 -0 lines")
        look.details.focus()
        await press(pilot, "enter")
        assert isinstance(look.app.screen, FileView)


async def test_levels_above_the_cut_are_told_but_do_not_count(session: Session):
    look = Look(session, cut=3)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show("etc/motd")
        await settled(pilot)
        assert [line.split()[0] for line in look.life] == ["▌6", "▌4-5", "▌3", "▌2", "▌1"]
        row = look.details.query_one(LifeList).current
        assert row is not None
        assert (row.last, row.serves) == (2, True)
        assert "2 copies, 28 B paid" in shown(look.details)


@needs_marks
@pytest.mark.root
async def test_what_is_gone_and_what_hides(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(130, 20)) as pilot:
        look.show("data/a.txt")
        await settled(pilot)
        assert "✗ deleted by a whiteout" in shown(look.details)
        assert "file a of the base layer" in "\n".join(look.content)
        assert "1 copy, 25 B paid" in shown(look.details)
        look.show("data/sub/x")
        await settled(pilot)
        assert "╌ hidden by its parent" in look.life[0]
        look.show("data/sub")
        await settled(pilot)
        assert "⊘ opaque" in look.life[0]
        look.show("data/link")
        await settled(pilot)
        assert "replaced by a dir" in look.life[0]
        assert "type  symlink → dir" in "\n".join(look.content)


async def test_an_entry_or_its_path(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show(entry_at(look.view, "etc/motd"))
        await settled(pilot)
        assert "/etc/motd" in shown(look.details)
        look.show("/etc/app.conf")
        await settled(pilot)
        assert "/etc/app.conf" in shown(look.details)
        assert "same content, other mtime" in shown(look.details)


async def test_nothing_chosen_and_nothing_there(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        assert isinstance(look.state, Empty)
        look.show("not/there")
        await settled(pilot)
        assert isinstance(look.state, Failure)
        assert "no such path" in look.state.message
        look.show("etc/motd")
        await settled(pilot)
        assert look.state is None
        look.show(None)
        await settled(pilot)
        assert isinstance(look.state, Empty)


async def test_only_the_last_of_many_is_read(session: Session, monkeypatch: pytest.MonkeyPatch):
    from layerscope.tui.widgets.details import pane as details

    asked: list[str] = []
    read = details.life
    monkeypatch.setattr(
        details,
        "life",
        lambda session, subject, path, **more: asked.append(path) or read(session, subject, path, **more),
    )
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        for path in ("etc", "data", "bin/tl", "etc/motd"):
            look.show(path)
        await settled(pilot)
        assert asked == ["etc/motd"]
        assert "/etc/motd" in shown(look.details)


async def test_from_a_copy_to_its_bytes_and_to_a_comparison(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show("etc/motd")
        await settled(pilot)
        look.details.focus()
        await press(pilot, "down", "down", "enter")
        screen = look.app.screen
        assert isinstance(screen, FileView)
        assert screen.level == 2
        await press(pilot, "escape", "d")
        compare = look.app.screen
        assert isinstance(compare, CompareView)
        assert compare.new is not None
        assert compare.new.level.number == 2


def told(look: Look) -> str:
    """The last toast."""
    return [note.message for note in look.app._notifications][-1]


async def test_why_there_are_no_bytes_to_show(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show(".dockerenv")  # the init layer brings it: 5 of 6
        await settled(pilot)
        look.details.focus()
        await press(pilot, "G", "enter")
        assert told(look) == "layers 1-4 hold no copy of /.dockerenv"
        assert not isinstance(look.app.screen, FileView)
        look.show("etc")
        await settled(pilot)
        await press(pilot, "G", "enter")
        assert told(look) == "/etc is a directory in layer 1: there are no bytes to show"
        look.show("nothing/here")
        await settled(pilot)


async def test_how_many_entries_a_level_holds(session: Session):
    look = Look(session)
    base = session.levels(look.subject)[0]
    assert base.path is not None
    async with look.app.run_test(size=(120, 30)) as pilot:
        for name in ("bin", "etc"):
            count = len(list((session.path / base.path / name).iterdir()))
            look.show(name)
            await settled(pilot)
            look.details.focus()
            await press(pilot, "G")
            entries = "1 entry" if count == 1 else f"{count} entries"
            assert f"layer 1 itself holds {entries} here" in "\n".join(look.content)


async def test_a_name_is_data(session: Session):
    look = Look(session)
    async with look.app.run_test(size=(120, 20)) as pilot:
        look.show("[red]x[/]\x1b[31m")
        await settled(pilot)
        text = shown(look.details)
        assert "/[red]x[/]" in text
        assert "\x1b" not in text
        look.show("data/ünï ✓.txt")
        await settled(pilot)
        assert "/data/ünï ✓.txt" in shown(look.details)


async def test_ascii_alone(session: Session):
    look = Look(session)
    look.app = OneWidget(look.details, ascii_only=True)
    for size in ((170, 20), (120, 20), (80, 4)):
        look = Look(session)
        look.app = OneWidget(look.details, ascii_only=True)
        async with look.app.run_test(size=size) as pilot:
            for path in ("etc/motd", "etc"):  # a text that differs; another time, with an arrow
                look.show(path)
                await settled(pilot)
                told = shown(look.details)
                assert told.isascii() and "\\u" not in told
