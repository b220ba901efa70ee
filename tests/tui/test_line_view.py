"""The line view: what keys and mouse do, what is drawn anew, and what the terminal may see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import pytest
from rich.segment import Segment
from textual.app import ComposeResult
from textual.events import MouseScrollDown

from layerscope.tui.look import LookApp
from layerscope.tui.widgets.rows.cursor import after_splice, moved, nearest, top_showing
from layerscope.tui.widgets.rows.line_view import LineView


class Lines(LineView[str]):
    """Rows as they are, a bar in the last cell; rows that begin with # can't be selected."""

    HEADER = True

    def __init__(self, rows: list[str] | None = None) -> None:
        super().__init__(rows, id="lines")
        self.drawn: list[int] = []
        self.header_clicks: list[int] = []

    def draw_header(self, width: int) -> Iterable[Segment]:
        yield Segment("HEADER")

    def draw_row(self, index: int, row: str, width: int) -> Iterable[Segment]:
        self.drawn.append(index)
        yield Segment(row.ljust(width - 1))
        yield Segment("|")

    def selectable(self, index: int) -> bool:
        return not self.rows[index].startswith("#")

    def header_clicked(self, x: int) -> None:
        self.header_clicks.append(x)


class Bare(LineView[str]):
    def draw_row(self, index: int, row: str, width: int) -> Iterable[Segment]:
        yield Segment(row)


class LinesApp(LookApp[None]):
    CSS = "Screen { layout: vertical; }"
    AUTO_FOCUS: ClassVar[str] = "#lines"

    def __init__(self, view: LineView[str]) -> None:
        super().__init__()
        self.view = view
        self.highlighted: list[int] = []
        self.chosen: list[int] = []

    def compose(self) -> ComposeResult:
        yield self.view

    def on_line_view_highlighted(self, event: LineView.Highlighted) -> None:
        assert event.control is self.view
        self.highlighted.append(event.index)

    def on_line_view_chosen(self, event: LineView.Chosen) -> None:
        self.chosen.append(event.index)


def numbered(count: int) -> list[str]:
    return [f"row {n}" for n in range(count)]


def shown(view: LineView[str]) -> list[str]:
    """The lines on the screen, without padding and the bar."""
    return [view.render_line(y).text.strip().removesuffix("|").strip() for y in range(view.size.height)]


SIZE = (30, 11)  # a header and ten rows


async def test_draws_only_what_is_on_the_screen():
    app = LinesApp(Lines(numbered(100_000)))
    async with app.run_test(size=SIZE):
        assert shown(app.view) == ["HEADER", *numbered(10)]
        assert set(app.view.drawn) == set(range(10))


async def test_rows_end_where_the_scrollbar_begins():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        line = app.view.render_line(1)
        assert line.cell_length == 30
        assert line.text[28] == "|"
        app.view.set_rows(numbered(3))
        await pilot.pause()
        assert app.view.render_line(1).text[29] == "|"
        assert shown(app.view) == ["HEADER", *numbered(3), *[""] * 7]


@pytest.mark.parametrize(
    ("keys", "cursor", "top"),
    [
        (["down"], 1, 0),
        (["j", "j", "k"], 1, 0),
        (["up"], 0, 0),
        (["down"] * 9, 9, 0),
        (["down"] * 10, 10, 1),
        (["pagedown"], 9, 0),
        (["pagedown", "pagedown"], 18, 9),
        (["pagedown", "pagedown", "pageup"], 9, 9),
        (["ctrl+d"], 5, 0),
        (["ctrl+d", "ctrl+d", "ctrl+d"], 15, 6),
        (["G", "ctrl+u"], 94, 90),
        (["G"], 99, 90),
        (["end", "down"], 99, 90),
        (["G", "g"], 0, 0),
        (["end", "home"], 0, 0),
        (["G", "up"], 98, 90),
        (["G"] + ["up"] * 10, 89, 89),
        (["h", "l", "left", "right"], 0, 0),
    ],
)
async def test_keys_move_the_cursor(keys: list[str], cursor: int, top: int):
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*keys)
        assert (app.view.cursor, app.view.scroll_offset.y) == (cursor, top)
        assert shown(app.view)[1:] == [f"row {top + n}" for n in range(10)]
        assert app.highlighted[-1] == cursor


async def test_arrow_key_draws_two_rows_anew():
    app = LinesApp(Lines(numbered(1000)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "down")
        app.view.drawn.clear()
        await pilot.press("down")
        assert sorted(app.view.drawn) == [3]  # row 2 without the cursor was finished before
        app.view.drawn.clear()
        await pilot.press("up", "down")
        assert app.view.drawn == []


async def test_row_that_changed_is_drawn_again():
    app = LinesApp(Lines(numbered(50)))
    async with app.run_test(size=SIZE) as pilot:
        app.view.drawn.clear()
        app.view.rows[4] = "changed"
        app.view.refresh_row(4)
        app.view.refresh_row(40)
        await pilot.pause()
        assert app.view.drawn == [4]
        assert shown(app.view)[5] == "changed"


async def test_theme_change_draws_all_rows_again():
    app = LinesApp(Lines(numbered(50)))
    async with app.run_test(size=SIZE) as pilot:
        before = app.view.render_line(2)
        app.theme = "layerscope-light"
        await pilot.pause()
        after = app.view.render_line(2)
        assert [segment.style for segment in before] != [segment.style for segment in after]


async def test_focus_changes_the_ground_of_the_cursor_row():
    app = LinesApp(Lines(numbered(50)))
    async with app.run_test(size=SIZE) as pilot:
        grounds = []
        for focus in (True, False):
            app.set_focus(app.view if focus else None)
            await pilot.pause()
            grounds.append([next(iter(app.view.render_line(y))).style.bgcolor.triplet.hex for y in (1, 2)])
        palette = app.look.palette
        assert grounds[0] == [palette["cursor"], palette["background"]]
        assert grounds[1] == [palette["cursor-blurred"], palette["background"]]


async def test_enter_chooses():
    app = LinesApp(Lines(numbered(5)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "enter")
        assert app.chosen == [1]


async def test_clicks():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("G")
        await pilot.click(Lines, offset=(3, 4))
        assert (app.view.cursor, app.chosen) == (93, [])
        await pilot.double_click(Lines, offset=(3, 6))
        assert (app.view.cursor, app.chosen) == (95, [95])
        await pilot.click(Lines, offset=(7, 0))
        assert (app.view.cursor, app.view.header_clicks) == (95, [7])
        await pilot.click(Lines, offset=(3, 2), button=3)
        assert app.view.cursor == 95


async def test_click_below_the_rows_means_nothing():
    app = LinesApp(Lines(numbered(2)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.double_click(Lines, offset=(3, 7))
        assert (app.view.cursor, app.chosen) == (0, [])


async def test_wheel_scrolls_and_leaves_the_cursor():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        app.view.post_message(MouseScrollDown(app.view, 3, 3, 0, 1, 0, shift=False, meta=False, ctrl=False))
        await pilot.pause()
        assert app.view.cursor == 0
        assert app.view.scroll_offset.y > 0
        top = app.view.scroll_offset.y
        assert shown(app.view)[1] == f"row {top}"
        await pilot.press("down")
        assert (app.view.cursor, app.view.scroll_offset.y) == (1, 1)


async def test_headings_are_skipped():
    app = LinesApp(Lines(["# one", "a", "# two", "# three", "b", "# end"]))
    async with app.run_test(size=SIZE) as pilot:
        assert app.view.cursor == 1
        await pilot.press("down")
        assert app.view.cursor == 4
        await pilot.press("down", "G")
        assert app.view.cursor == 4
        await pilot.press("up")
        assert app.view.cursor == 1
        await pilot.press("up", "g")
        assert app.view.cursor == 1
        await pilot.click(Lines, offset=(2, 3))
        assert app.view.cursor == 1


async def test_heading_above_the_first_row_comes_into_sight():
    app = LinesApp(Lines(["# head", *numbered(30)]))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("G", "g")
        assert (app.view.cursor, app.view.scroll_offset.y) == (1, 1)
        await pilot.press("up")
        assert (app.view.cursor, app.view.scroll_offset.y) == (1, 0)


async def test_no_rows():
    app = LinesApp(Lines())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "G", "pageup", "enter", "g", "ctrl+d")
        assert (app.view.cursor, app.highlighted, app.chosen) == (0, [], [])
        assert shown(app.view) == ["HEADER", *[""] * 10]
        app.view.set_rows(numbered(3), cursor=2)
        await pilot.pause()
        assert (app.view.cursor, app.highlighted) == (2, [2])


async def test_splice_keeps_the_cursor_on_its_row():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("G", "up")
        app.highlighted.clear()
        app.view.splice(10, 5, ["x"] * 3)
        await pilot.pause()
        assert app.view.rows[app.view.cursor] == "row 98"
        assert app.highlighted == [96]
        # What was on the screen stays where it was.
        assert shown(app.view)[1:] == [f"row {n}" for n in range(90, 100)]
        app.view.splice(98, 0, ["y"] * 4)
        await pilot.pause()
        assert app.view.rows[app.view.cursor] == "row 98"
        assert len(app.view.rows) == 102


async def test_rows_that_come_and_go_above_the_screen_do_not_move_it():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        app.view.cursor = 50
        await pilot.pause()
        before = shown(app.view)
        app.view.splice(10, 0, ["x"] * 7)
        await pilot.pause()
        assert shown(app.view) == before
        app.view.splice(5, 20, [])
        await pilot.pause()
        assert shown(app.view) == before
        assert app.view.rows[app.view.cursor] == "row 50"


async def test_fold_brings_the_cursor_back_into_sight():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        app.view.cursor = 60
        await pilot.pause()
        app.view.splice(20, 50, [])
        await pilot.pause()
        assert app.view.cursor == 19
        assert "row 19" in shown(app.view)


async def test_fold_under_the_cursor_goes_to_the_row_above():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("G")
        app.view.splice(3, 97, [])
        await pilot.pause()
        assert (app.view.cursor, app.view.scroll_offset.y) == (2, 0)
        assert shown(app.view) == ["HEADER", "row 0", "row 1", "row 2", *[""] * 7]
        assert app.highlighted[-1] == 2
        app.view.splice(0, 3, [])
        await pilot.pause()
        assert shown(app.view) == ["HEADER", *[""] * 10]


async def test_rows_given_before_there_is_a_screen():
    view = Lines()
    view.set_rows(numbered(100), cursor=50)
    app = LinesApp(view)
    async with app.run_test(size=SIZE):
        assert view.cursor == 50
        assert "row 50" in shown(view)
        assert app.highlighted == [50]


async def test_resize_keeps_the_cursor_in_sight():
    app = LinesApp(Lines(numbered(100)))
    async with app.run_test(size=(30, 40)) as pilot:
        await pilot.press("pagedown")
        assert app.view.cursor == 38
        await pilot.resize_terminal(30, 8)
        await pilot.pause()
        assert "row 38" in shown(app.view)


async def test_cursor_is_kept_within_the_rows():
    app = LinesApp(Lines(numbered(5)))
    async with app.run_test(size=SIZE):
        app.view.cursor = 99
        assert app.view.cursor == 4
        app.view.cursor = -3
        assert app.view.cursor == 0


async def test_terminal_never_sees_control_characters_or_markup():
    evil = ["\x1b[2J\x07", "a\nb", "[red]x[/]", "\udcff", "\u202eabc", "wide 日本語 " * 20]
    app = LinesApp(Bare(evil, id="lines"))
    async with app.run_test(size=SIZE):
        lines = [app.view.render_line(y) for y in range(6)]
        assert [line.text.rstrip() for line in lines[:5]] == [
            "\\x1b[2J\\x07",
            "a\\nb",
            "[red]x[/]",
            "\\xff",
            "\\u202eabc",
        ]
        assert {line.cell_length for line in lines} == {30}


async def test_list_without_header_uses_all_lines():
    app = LinesApp(Bare(numbered(50), id="lines"))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("G")
        assert shown(app.view) == [f"row {n}" for n in range(39, 50)]


def anywhere(index: int) -> bool:
    return True


def test_cursor_arithmetic():
    assert moved(3, 4, 5, anywhere) == 4
    assert moved(0, 1, 0, anywhere) == 0
    assert nearest(3, 6, 1, lambda n: n in (1, 5)) == 5
    assert nearest(3, 6, -1, lambda n: n in (1, 5)) == 1
    assert nearest(3, 4, 1, lambda n: n == 0) == 0
    assert nearest(2, 4, 1, lambda n: False) == 2
    assert [after_splice(cursor, 3, 2, 0) for cursor in range(7)] == [0, 1, 2, 2, 2, 3, 4]
    assert [after_splice(cursor, 3, 2, 1) for cursor in range(7)] == [0, 1, 2, 3, 3, 4, 5]
    assert [after_splice(cursor, 3, 0, 2) for cursor in range(5)] == [0, 1, 2, 5, 6]
    assert after_splice(0, 0, 1, 0) == 0
    assert [top_showing(cursor, 5, 10) for cursor in (0, 5, 14, 15)] == [0, 5, 5, 6]
