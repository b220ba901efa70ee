"""Without Unicode and without colour nothing essential is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pytest
from rich.segment import Segment
from textual.app import ComposeResult
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Footer, Input

from layerscope.tui.glyphs import Mark, bar, guides
from layerscope.tui.keys import bindings
from layerscope.tui.look import LookApp
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Failure, Loading
from layerscope.tui.widgets.rows.line_view import LineView


class Marks(LineView[Mark]):
    """One row of each kind, all of the same name."""

    def draw_row(self, index: int, row: Mark, width: int) -> Iterable[Segment]:
        look = self.look
        yield Segment(look.glyphs.stripe, look.layer_style(index % 3 + 1, 3))
        yield Segment(look.glyphs.marks[row] + " ", look.sign_style(row))
        yield Segment(guides([False, True], look.glyphs), look.style("faint"))
        yield Segment(look.text("naïve 日本"), look.name_style(row))
        yield Segment(bar(0.7, 6, look.glyphs), look.style("primary"))


class PlainApp(LookApp[None]):
    BINDINGS: ClassVar = [*bindings("app", "screen")]
    AUTO_FOCUS: ClassVar[str] = "#marks"

    def compose(self) -> ComposeResult:
        with Pane(title="Marks", number=1, id="pane-1"):
            yield Marks(list(Mark) * 3, id="marks")
        with Pane(title="Work", number=2, id="pane-2"):
            yield Marks([])
        with Pane(title="Broken", number=3, id="pane-3"):
            yield Marks([])
        yield Input("text")
        yield Footer()


def cells(app: LookApp[None]) -> list[tuple[Widget, str]]:
    """All text on the screen, widget by widget, scrollbars too."""
    widgets = [app.screen, *app.screen.walk_children(with_self=False)]
    widgets += [widget.vertical_scrollbar for widget in widgets if widget.show_vertical_scrollbar]
    return [
        (widget, line.text)
        for widget in widgets
        if widget.is_on_screen and widget.outer_size
        for line in widget.render_lines(Region(0, 0, *widget.outer_size))
    ]


async def test_ascii_app_draws_nothing_else():
    app = PlainApp(ascii_only=True, settings=Path("/nonexistent"))
    async with app.run_test(size=(80, 30)) as pilot:
        app.query_one("#pane-2", Pane).state = Loading("Hashing", 3, 7)
        app.query_one("#pane-3", Pane).state = Failure("gone", "日本")
        await pilot.pause()
        found = cells(app)
        assert [(widget, text) for widget, text in found if not text.isascii()] == []
        assert len({type(widget).__name__ for widget, _ in found}) > 6
        frame = [text for widget, text in found if widget.id == "pane-1"]
        assert frame[0].startswith("+- 1 Marks -")
        assert "na\\u00efve \\u65e5\\u672c####" in "".join(text for widget, text in found if widget.id == "marks")
        await pilot.press("ctrl+p")
        await pilot.pause()
        palette = cells(app)
        assert [(widget, text) for widget, text in palette if not text.isascii()] == []
        assert any("command" in type(widget).__name__.lower() for widget, _ in palette)


async def test_unicode_app_does_draw_more():
    app = PlainApp(settings=Path("/nonexistent"))
    async with app.run_test(size=(80, 30)):
        assert any(not text.isascii() for _, text in cells(app))


def without_color(view: LineView[Mark], y: int) -> list[tuple[str, tuple[bool | None, ...]]]:
    """A line as a terminal shows it that knows attributes but no colours."""
    found: list[tuple[str, tuple[bool | None, ...]]] = []
    for segment in view.render_line(y):
        style = segment.style
        assert style is not None
        found.append((segment.text, (style.bold, style.strike, style.underline, style.reverse)))
    return found


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
async def test_no_color_keeps_every_mark_and_the_cursor(ascii_only: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = PlainApp(ascii_only=ascii_only, settings=Path("/nonexistent"))
    assert app.look.no_color
    async with app.run_test(size=(80, 30)) as pilot:
        view = app.query_one("#marks", Marks)
        view.cursor = len(Mark) - 1
        await pilot.pause()
        rows = [without_color(view, y) for y in range(5)]
        assert all(one != other for one, other in itertools.combinations(rows, 2))
        view.set_rows([Mark.SAME, Mark.SAME, Mark.WHITEOUT])
        await pilot.pause()
        focused = [without_color(view, y) for y in range(3)]
        assert all(attributes[3] for _, attributes in focused[0])  # reverse
        assert focused[0] != focused[1]
        assert any(attributes[1] for _, attributes in focused[2])  # struck through
        app.query_one(Input).focus()
        await pilot.pause()
        blurred = [without_color(view, y) for y in range(2)]
        assert blurred[0] not in (focused[0], blurred[1])


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
async def test_no_color_keeps_the_pane_with_the_focus_apart(ascii_only: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = PlainApp(ascii_only=ascii_only, settings=Path("/nonexistent"))
    async with app.run_test(size=(80, 30)) as pilot:
        await pilot.pause()
        tops = []
        for number in (1, 2):
            pane = app.query_one(f"#pane-{number}", Pane)
            title = next(iter(pane.render_lines(Region(0, 0, *pane.outer_size))))
            styles = [segment.style for segment in title if segment.text.strip("+-─━╭╮┏┓ ")]
            tops.append((title.text[0], {(style.bold, style.reverse) for style in styles if style}))
        assert tops[0] == ("+" if ascii_only else "┏", {(True, True)})
        assert tops[1][0] == ("+" if ascii_only else "╭")
        assert (True, True) not in tops[1][1]
        assert app.query_one("#pane-1", Pane).styles.border_top[0] == ("ascii" if ascii_only else "heavy")
        border = app.query_one("#pane-1", Pane).render_lines(Region(0, 0, 80, 1))[0]
        for segment in border:
            color = segment.style.color.triplet if segment.style and segment.style.color else None
            assert color is None or len({color.red, color.green, color.blue}) == 1  # Textual made it grey


async def test_with_color_the_cursor_is_a_ground_not_reverse():
    app = PlainApp(settings=Path("/nonexistent"))
    async with app.run_test(size=(80, 30)):
        view = app.query_one("#marks", Marks)
        assert not any(attributes[3] for _, attributes in without_color(view, 0))
