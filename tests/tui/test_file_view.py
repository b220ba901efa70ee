"""The bytes of a file on the screen: text and hexadecimal, large and hostile files, search, places, other copies."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_roots import messages
from one_screen import OneScreen, lines, press, settled, shown
from textual.pilot import Pilot

from layerscope import open_root
from layerscope.errors import UsageError
from layerscope.services import Session
from layerscope.tui.screens.compare_view import CompareView
from layerscope.tui.screens.file_view import FileView
from layerscope.tui.sources.goto import Destination, parse_destination
from layerscope.tui.widgets.file.reader import FileReader
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.prompt import Prompt
from layerscope.tui.widgets.frame.states import Empty, Failure

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the sample can't be copied whole without root")


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


@pytest.fixture(scope="module")
def full_root(overlay2_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    """A copy of the root with more files in a container's writable layer, whose directory it is."""
    root = tmp_path_factory.mktemp("full") / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    with open_root(root) as opened:
        upper = root / (opened.levels(opened.find("editor"))[-1].path or "")
        (upper / "numbers").write_bytes(b"".join(b"line %d\n" % number for number in range(1, 200_001)))
        (upper / "hostile").write_bytes(
            b"a\x1b[31mred\x1b]0;title\x07\ttab\r\n\xff\xfe \xe2\x80\xae rtl \\n [red]markup[/]\n"
            + b"x" * 5000
            + b"\nend"
        )
        (upper / "empty").write_bytes(b"")
        with (upper / "sparse").open("wb") as file:
            file.truncate(10 << 30)
            file.seek(5 << 30)
            file.write(b"needle")
        yield opened, upper


def view_of(session: Session, path: str, level: int | None = None, cut: int | None = None) -> OneScreen:
    subject = session.find("editor")
    view = session.view(subject)
    return OneScreen(lambda: FileView(session, subject, path, view.cut(cut) if cut else view, level))


def reader(pilot: Pilot[None]) -> FileReader:
    return pilot.app.screen.query_one(FileReader)


def legend(pilot: Pilot[None]) -> str:
    return lines(pilot.app.screen.query_one("#over"))[-1]


def title(pilot: Pilot[None]) -> str:
    return lines(pilot.app.screen.query_one("#over"))[0]


async def test_text_with_line_numbers(session: Session):
    async with view_of(session, "etc/motd").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert [line for line in lines(reader(pilot).rows) if line] == [
            "  1 │ welcome",
            "  2 │ second line",
            "  3 │ third line",
        ]
        assert "layer 6 of editor" in title(pilot)
        assert "text · 31 B · line 1 · 0%" in legend(pilot)
        await press(pilot, "down")
        assert "line 2" in legend(pilot)


async def test_what_the_cut_serves_and_what_a_level_stores(session: Session):
    async with view_of(session, "etc/motd", cut=3).run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "as of layer 3, from layer 2" in title(pilot)
        assert len(reader(pilot).rows.rows) == 2
        await press(pilot, "left_square_bracket")
        assert "layer 1" in title(pilot)
        assert lines(reader(pilot).rows)[0] == "  1 │ welcome"
        assert len(reader(pilot).rows.rows) == 1
        await press(pilot, "right_square_bracket", "right_square_bracket")
        assert "layer 6" in title(pilot)
        assert len(reader(pilot).rows.rows) == 3
        await press(pilot, "d")
        assert isinstance(pilot.app.screen, CompareView)


async def test_hexadecimal(session: Session):
    place = session.path / (session.levels(session.find("editor"))[0].path or "") / "bin/tl"
    content = place.read_bytes()
    async with view_of(session, "bin/tl").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert reader(pilot).as_bytes  # it is a program
        first = lines(reader(pilot).rows)[0]
        assert first.startswith("00000000  " + content[:8].hex(" ") + "  " + content[8:16].hex(" "))
        assert ".ELF" in first
        assert len(reader(pilot).rows.rows) == -(-len(content) // 16)
        await pilot.resize_terminal(200, 24)
        await settled(pilot)
        assert content[16:24].hex(" ") in lines(reader(pilot).rows)[0]
        assert len(reader(pilot).rows.rows) == -(-len(content) // 32)


async def test_the_form_changes_at_the_same_place(session: Session):
    async with view_of(session, "etc/motd").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "G", "t")
        assert reader(pilot).as_bytes
        assert reader(pilot).rows.cursor == 1  # offset 20
        assert "0x10 of 0x1f" in legend(pilot)
        await press(pilot, "t")
        assert not reader(pilot).as_bytes
        assert reader(pilot).rows.cursor == 1  # byte 16 is in the second line


@needs_root
async def test_nothing_in_a_file_reaches_the_terminal(full_root: tuple[Session, Path]):
    async with view_of(full_root[0], "hostile").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        text = lines(reader(pilot).rows)
        assert text[0] == "  1 │ a\\x1b[31mred\\x1b]0;title\\x07    tab\\r"
        assert text[1] == "  2 │ \\xff\\xfe \\u202e rtl \\n [red]markup[/]"
        assert text[2].startswith("  3 │ xxx")
        assert text[3].startswith("    │ xxx")
        assert [line for line in text if line][-1] == "  4 │ end"
        assert all(line.isprintable() for line in text)
        await press(pilot, "down", "down", "right")
        assert lines(reader(pilot).rows)[1].startswith("  2 │  \\u202e rtl")


@needs_root
async def test_far_lines_and_offsets(full_root: tuple[Session, Path]):
    async with view_of(full_root[0], "numbers").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "colon", *"150000", "enter")
        row = reader(pilot).rows
        assert "line 150,000" in legend(pilot)
        assert any("line 150000" in line for line in lines(row))
        await press(pilot, "colon", *"0x5", "enter")
        assert "line 1 " in legend(pilot)
        await press(pilot, "end")
        assert "line 200,000" in legend(pilot)
        assert "line 200000" in lines(row)[-1]
        await press(pilot, "colon", *"99999999", "enter")
        assert "line 200,000" in legend(pilot)
        await press(pilot, "colon")
        offered = shown(pilot.app.screen.query_one(KeyBar))
        assert "Go" in offered and "Cancel" in offered and "hits" not in offered
        await press(pilot, *"far", "enter")
        assert "'far' is no place" in shown(pilot.app.screen.query_one(Prompt))
        await press(pilot, "escape")
        assert not pilot.app.screen.query(Prompt)
        assert pilot.app.screen.focused is row


@needs_root
async def test_search_forwards_backwards_and_around(full_root: tuple[Session, Path]):
    async with view_of(full_root[0], "numbers").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Search" in shown(pilot.app.screen.query_one(KeyBar))
        await press(pilot, "n")
        assert messages(pilot) == ["nothing is looked for: press / first"]
        await press(pilot, "slash", *"LINE 777", "enter")
        assert "line 1 " in legend(pilot)  # capitals count: nothing found
        await press(pilot, "slash", *"line 777", "enter")
        assert "line 777 " in legend(pilot)
        await press(pilot, "n")
        assert "line 7,770" in legend(pilot)
        await press(pilot, "N", "N")
        assert "line 177,799" in legend(pilot) or "line 77,799" in legend(pilot)
        await press(pilot, "slash", *"line 199999", "enter")
        assert "line 199,999" in legend(pilot)
        await press(pilot, "n")  # the only one
        assert "line 199,999" in legend(pilot)
        assert reader(pilot).rows.needle is not None
        await press(pilot, "escape")
        assert reader(pilot).rows.needle is None
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, FileView)


@needs_root
async def test_ten_gigabytes(full_root: tuple[Session, Path]):
    session, upper = full_root
    if (upper / "sparse").stat().st_blocks > 1 << 20:
        pytest.skip("this file system stores holes")
    async with view_of(session, "sparse").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "10.7 GB" in legend(pilot)
        await press(pilot, "end")
        assert "0x27ffffff0 of 0x280000000" in legend(pilot)
        await press(pilot, "colon", *"50%", "enter")
        assert "0x140000000" in legend(pilot)
        assert any("6e 65 65 64 6c 65" in line for line in lines(reader(pilot).rows))
        await press(pilot, "colon", *"0x13ff00000", "enter")
        await press(pilot, "slash", *"needle", "enter")
        assert "0x140000000" in legend(pilot)


def is_looking(pilot: Pilot) -> bool:
    return any(part.startswith("looking") for part in reader(pilot).status())


async def seen(condition: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


@needs_root
async def test_a_search_can_be_given_up(full_root: tuple[Session, Path]):
    async with view_of(full_root[0], "sparse").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "slash", *"nowhere")
        # Not as the pilot does it, who waits until nothing happens any more: the search would be over.
        pilot.app.simulate_key("enter")
        assert await seen(lambda: is_looking(pilot))
        pilot.app.simulate_key("escape")
        assert await seen(lambda: not is_looking(pilot))
        assert not [note.message for note in pilot.app._notifications if "not found" in note.message]
        assert isinstance(pilot.app.screen, FileView)


@needs_root
async def test_an_empty_file_and_what_is_no_file(full_root: tuple[Session, Path]):
    session = full_root[0]
    for path, kind, words in (
        ("empty", Empty, "the file is empty"),
        ("etc", Failure, "it is a directory"),
        ("not/there", Failure, "no such path"),
        ("srv/fifo2", Failure, "no regular file"),
    ):
        async with view_of(session, path).run_test(size=(80, 24)) as pilot:
            await settled(pilot)
            state = pilot.app.screen.query_one("#over").state  # type: ignore[attr-defined]
            assert isinstance(state, kind), path
            assert words in (state.why if isinstance(state, Empty) else state.message)
            offered = shown(pilot.app.screen.query_one(KeyBar))
            assert "Back" in offered and not any(word in offered for word in ("Search", "Go to", "Text/Hex"))
            await press(pilot, "t", "slash", "n", "colon", "d", "right_square_bracket")
            await press(pilot, "escape")
            assert not isinstance(pilot.app.screen, FileView) or isinstance(pilot.app.screen, CompareView)


@needs_root
async def test_read_again_shows_what_was_written_since(full_root: tuple[Session, Path]):
    session, upper = full_root
    (upper / "log").write_bytes(b"one\n")
    async with view_of(session, "log").run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert len(reader(pilot).rows.rows) == 1
        with (upper / "log").open("ab") as file:
            file.write(b"two\n")
        await press(pilot, "r")
        assert lines(reader(pilot).rows)[1] == "  2 │ two"


async def test_q_goes_back_and_files_are_closed(session: Session):
    app = view_of(session, "etc/motd")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        opened = reader(pilot).opened
        assert opened is not None
        await press(pilot, "q")
        assert app.results == [None]
        assert opened.pages.stream(0, 4) == b""


@pytest.mark.parametrize(
    ("text", "lines_count", "expected"),
    [
        ("120", True, Destination(line=120)),
        ("1,200", True, Destination(line=1200)),
        ("0", True, Destination(line=1)),
        ("120", False, Destination(offset=120)),
        ("0x1F", True, Destination(offset=31)),
        ("50%", True, Destination(offset=500)),
        ("12.5 %", False, Destination(offset=125)),
        ("0xffffff", True, Destination(offset=999)),
        ("100%", True, Destination(offset=999)),
    ],
)
def test_places(text: str, lines_count: bool, expected: Destination):
    assert parse_destination(text, 1000, lines=lines_count) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "0x", "9" * 40, "1e3", "%"])
def test_no_places(text: str):
    with pytest.raises(UsageError, match="no place"):
        parse_destination(text, 1000, lines=True)
