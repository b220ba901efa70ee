"""Records as a JSON tree, the list of problems, and help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_roots import messages
from one_screen import OneScreen, lines, press, settled, shown
from textual.pilot import Pilot

from layerscope import open_root
from layerscope.model.problem import Problem, Severity
from layerscope.services import Session
from layerscope.tui.glyphs import ASCII, UNICODE, Mark
from layerscope.tui.keys import KEYS
from layerscope.tui.screens.help import HelpRows, HelpScreen
from layerscope.tui.screens.inspect import InspectScreen
from layerscope.tui.screens.problems import ProblemList, ProblemsScreen
from layerscope.tui.sources.help_lines import GAP_CELLS, help_blocks, in_columns
from layerscope.tui.sources.json_items import JsonItems, json_row, small_containers
from layerscope.tui.sources.wrapping import wrapped
from layerscope.tui.widgets.details.facts import FactsView
from layerscope.tui.widgets.file.json_tree import JsonTree
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.states import Empty


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


# ---------------------------------------------------------------------- records
def tree(pilot: Pilot[None]) -> JsonTree:
    return pilot.app.screen.query_one(JsonTree)


async def test_records_as_they_are_on_disk(session: Session):
    subject = session.find("editor")
    assert subject.container is not None
    folder = session.path / "containers" / subject.container.id
    record = json.loads((folder / "config.v2.json").read_text())
    app = OneScreen(lambda: InspectScreen(session, subject))
    async with app.run_test(size=(100, 60)) as pilot:
        await settled(pilot)
        text = lines(tree(pilot))
        assert any(line.split() == ["├─", "ID", f'"{record["ID"]}"'] for line in text)
        assert any("Running" in line and "false" in line for line in text)
        assert "Records of container editor" in lines(pilot.app.screen.query_one("#over"))[0]
        # The keys that lead to the row under the cursor.
        await press(pilot, "n", "slash", *"not there", "enter", "n")
        assert messages(pilot) == ["nothing is looked for: press / first", "not found"]
        await press(pilot, "slash", *"OOMKilled", "enter")
        assert ".config.v2.json.State.OOMKilled" in lines(pilot.app.screen.query_one("#over"))[-1]


async def test_find_goes_through_folded_parts(session: Session):
    subject = session.find("layerscope/app:1.0")
    app = OneScreen(lambda: InspectScreen(session, subject))
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "Z")
        assert not tree(pilot).model.opened
        await press(pilot, "slash", *"sha256", "enter")
        first = tree(pilot).cursor
        row = tree(pilot).current
        assert row is not None
        assert row.value.contains("sha256")
        await press(pilot, "n")
        assert tree(pilot).cursor != first
        await press(pilot, "N")
        assert tree(pilot).cursor == first
        await press(pilot, "escape")
        assert tree(pilot).wanted == ""
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, InspectScreen)


def test_keys_may_hold_anything():
    items = JsonItems({"a/b": {"": [1, "x\x1b[31m", None, True]}, "c": {}})
    top = items.children("")
    assert [(item.name, item.foldable, item.value.key) for item in top] == [("0", True, "a/b"), ("1", False, "c")]
    assert [item.value.text for item in items.children("0/0")] == ["1", "x\x1b[31m", "null", "true"]
    assert items.keys("0/0/1") == ["a/b", "", 1]
    assert items.at("0/0/3") is True
    assert [path for path, _ in items.walk()] == ["0", "0/0", "0/0/0", "0/0/1", "0/0/2", "0/0/3", "1"]
    assert small_containers(items, 3) == {"0"}
    assert small_containers(items, 100) == {"0", "0/0"}


def test_values_that_are_hard_to_write():
    assert json_row("n", 1 << 40_000).text.startswith("0x1000")
    assert len(json_row("s", "x" * 100_000).text) == 4096
    assert json_row("f", 1e300).text == "1e+300"
    assert json_row("l", []).text == "0 items"
    assert json_row("d", {"a": 1}).text == "1 member"


def test_deep_nesting_needs_no_stack():
    value: object = 1
    for _ in range(3000):
        value = [value]
    items = JsonItems(value)
    assert sum(1 for _ in items.walk()) == 3000
    assert len(small_containers(items, 80)) == 79


# ---------------------------------------------------------------------- problems
PROBLEMS = [
    Problem("", "marks can't be seen", "", "run as root", Severity.NOTE),
    Problem("overlay2/l/ABC", "short name missing", "the engine can't use it", "ln -s …", Severity.WARNING),
    Problem("image/[red]\x1b", "is no JSON", "this image isn't shown"),
]


async def test_problems_the_worst_first_and_all_about_one():
    app = OneScreen(lambda: ProblemsScreen(PROBLEMS, "/var/lib/docker"))
    async with app.run_test(size=(100, 24)) as pilot:
        await settled(pilot)
        text = [line.split() for line in lines(pilot.app.screen.query_one(ProblemList)) if line]
        assert [row[1] for row in text] == ["error", "warning", "note"]
        assert "1 error · 1 warning · 1 note" in lines(pilot.app.screen.query_one("#over"))[-1]
        facts = shown(pilot.app.screen.query_one(FactsView))
        assert "/var/lib/docker/image/[red]\\x1b" in facts
        assert "this image isn't shown" in facts
        await press(pilot, "down")
        facts = shown(pilot.app.screen.query_one(FactsView))
        assert "the engine can't use it" in facts
        assert "ln -s" in facts
        assert "\x1b" not in shown(pilot.app.screen)
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, ProblemsScreen)


async def test_no_problems():
    app = OneScreen(lambda: ProblemsScreen([]))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert isinstance(pilot.app.screen.query_one("#over").state, Empty)  # type: ignore[attr-defined]
        assert "Copy the path" not in shown(pilot.app.screen.query_one(KeyBar))
        await press(pilot, "y")


# ---------------------------------------------------------------------- help
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 55)])
async def test_help_has_every_action(size: tuple[int, int]):
    app = OneScreen(HelpScreen)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        rows = pilot.app.screen.query_one(HelpRows)
        cells = [cell for row in rows.rows for cell in row if cell is not None]
        words = " ".join(cell.text for cell in cells)
        for key in KEYS:
            assert all(part in words for part in key.description.split(" "))
        assert len(rows.rows[0]) == {80: 1, 120: 2, 200: 3}[size[0]]
        assert all(len(line) <= size[0] for line in lines(rows))
        await press(pilot, "G")
        assert rows.scroll_offset.y == max(0, len(rows.rows) - rows.size.height)
        await press(pilot, "question_mark")
        assert not isinstance(pilot.app.screen, HelpScreen)


async def test_help_shows_the_users_own_keys(tmp_path: Path):
    (tmp_path / "keys.toml").write_text('[find]\nsort = "ctrl+o"\n')
    app = OneScreen(HelpScreen)
    app.user_keys = {"find.sort": "ctrl+o"}
    async with app.run_test(size=(80, 60)) as pilot:
        await settled(pilot)
        (line,) = [line for line in lines(pilot.app.screen.query_one(HelpRows)) if "next sort order" in line]
        assert line.split()[0] == "^o"


def test_columns_keep_blocks_whole_and_all_lines():
    blocks = help_blocks(str, {}, UNICODE)
    for width in (30, 78, 118, 198, 400):
        rows = in_columns(blocks, width)
        columns = [[row[place] for row in rows] for place in range(len(rows[0]))]
        room = (width - GAP_CELLS * (len(columns) - 1)) // len(columns)
        headings = [cell.text for column in columns for cell in column if cell is not None and not cell.sign]
        assert headings == [block[0].text for block in blocks]
        assert all(column[0] is not None and not column[0].sign for column in columns)
        assert room > 20


def test_signs_are_explained_in_both_sets():
    for glyphs in (UNICODE, ASCII):
        signs = {line.sign for block in help_blocks(str, {}, glyphs) for line in block}
        assert {glyphs.marks[mark] for mark in Mark} <= signs


async def test_help_in_ascii():
    app = OneScreen(HelpScreen, ascii_only=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert shown(pilot.app.screen).isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("short", ["short"]),
        ("overlay2/abcdef/diff/etc", ["overlay2/", "abcdef/", "diff/etc"]),
        ("x" * 25, ["x" * 10, "x" * 10, "x" * 5]),
        ("x" * 35, ["x" * 10, "x" * 10, "x" * 9 + "…"]),
        ("", [""]),
        ("日本語日本語", ["日本語日本", "語"]),
    ],
)
def test_wrapping(text: str, expected: list[str]):
    assert wrapped(text, 10, 3, "…") == expected


def test_help_names_no_mode_that_is_not_there():
    modes = [key.action for key in KEYS if key.action.startswith("mode(")]
    assert modes == ["mode('explore')", "mode('disk')"]


def test_one_key_of_two_that_terminals_cannot_tell_apart():
    texts = [line.sign for block in help_blocks(lambda key: key, {}, UNICODE) for line in block]
    assert "Z ctrl+space" in texts
    assert not [text for text in texts if "ctrl+@" in text]


async def test_a_problem_reads_as_a_sentence():
    problem = Problem("image/x/size", "is missing", "its size isn't known", "", Severity.ERROR)
    app = OneScreen(lambda: ProblemsScreen([problem]))
    async with app.run_test(size=(100, 20)) as pilot:
        await settled(pilot)
        assert "image/x/size  is missing" in shown(pilot.app.screen.query_one(ProblemList))
