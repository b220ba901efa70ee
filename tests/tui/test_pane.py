"""Frames and their looks: title, focus, and what they show while there is no content."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Region

from layerscope.tui.look import LookApp
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading, StateView
from layerscope.tui.widgets.rows.line_view import LineView


class Lines(LineView[str]):
    def draw_row(self, index: int, row: str, width: int) -> Iterable[Segment]:
        yield Segment(row)


class PanesApp(LookApp[None]):
    CSS = "Screen { layout: horizontal; } Pane { width: 1fr; }"

    def compose(self) -> ComposeResult:
        with Pane(title="Layers of [red]web[/]\x1b", number=2, id="one"):
            yield Lines(["a", "b"])
        with Pane(title="Details", id="two"):
            yield Lines(["c"])


def frame(pane: Pane) -> list[str]:
    """The frame's lines; what is inside is drawn by other widgets."""
    return [line.text for line in pane.render_lines(Region(0, 0, *pane.outer_size))]


def text_of(view: StateView) -> list[str]:
    lines = [line.text.strip() for line in view.render_lines(Region(0, 0, *view.outer_size))]
    return [line for line in lines if line]


async def test_titles_have_numbers_and_are_never_markup():
    app = PanesApp()
    async with app.run_test(size=(80, 10)) as pilot:
        one, two = app.query_one("#one", Pane), app.query_one("#two", Pane)
        assert frame(one)[0].startswith("╭─ 2 Layers of [red]web[/]\\x1b ─")
        assert frame(two)[0].startswith("╭─ Details ─")
        one.set_title("x" * 100)
        one.set_legend("[b]legend")
        two.set_title(Content.assemble(("ok", "bold")))
        await pilot.pause()
        assert len(frame(one)[0]) == 40
        assert "[b]legend" in frame(one)[-1]
        assert frame(two)[0].startswith("╭─ ok ─")


async def test_frame_lights_up_with_the_focus_inside():
    app = PanesApp()
    async with app.run_test(size=(80, 10)) as pilot:
        one, two = app.query_one("#one", Pane), app.query_one("#two", Pane)
        seen = []
        for focused in (one, two):
            focused.query_one(Lines).focus()
            await pilot.pause()
            seen.append([pane.styles.border_top[1].hex.lower() for pane in (one, two)])
        palette = app.look.palette
        assert seen == [[palette["primary"], palette["frame"]], [palette["frame"], palette["primary"]]]


async def test_state_covers_the_content_and_gives_the_focus_back():
    app = PanesApp()
    async with app.run_test(size=(80, 10)) as pilot:
        pane = app.query_one("#one", Pane)
        lines = pane.query_one(Lines)
        lines.focus()
        await pilot.press("down")
        pane.state = Loading("Reading layers", 1200)
        await pilot.pause()
        view = pane.query_one(StateView)
        assert not lines.is_on_screen
        assert app.focused is view
        assert text_of(view) == ["Reading layers…", "1,200 entries", "esc cancel"]
        pane.state = Failure("cannot read a\\nb of layer 3", "overlay2/x\x1b\\/link")
        await pilot.pause()
        assert text_of(view) == ["▲ cannot read a\\nb of layer 3", "overlay2/x\\x1b\\\\/link", "r read again"]
        pane.state = None
        await pilot.pause()
        assert lines.is_on_screen
        assert app.focused is lines
        assert lines.cursor == 1
        assert not view.is_on_screen


async def test_state_elsewhere_leaves_the_focus_alone():
    app = PanesApp()
    async with app.run_test(size=(80, 10)) as pilot:
        lines = app.query_one("#two", Pane).query_one(Lines)
        lines.focus()
        await pilot.pause()
        pane = app.query_one("#one", Pane)
        pane.state = Empty("no containers", "start one, or look at the images")
        await pilot.pause()
        assert app.focused is lines
        assert text_of(pane.query_one(StateView)) == ["no containers", "start one, or look at the images"]
        pane.state = None
        await pilot.pause()
        assert app.focused is lines


async def test_progress_at_the_bottom_while_the_content_fills():
    app = PanesApp()
    async with app.run_test(size=(80, 10)) as pilot:
        pane = app.query_one("#one", Pane)
        pane.set_legend("legend")
        pane.show_progress(Loading("Scanning", 12_345, rate=8000.4))
        await pilot.pause()
        assert "Scanning…  12,345 entries, 8,000/s" in frame(pane)[-1]
        pane.show_progress(None)
        await pilot.pause()
        assert "legend" in frame(pane)[-1]


def test_progress_texts():
    assert Loading("x").progress() == ""
    assert Loading("x", 0).progress() == "0 entries"
    assert Loading("x", 1200, 4000, 800.0, "layers").progress() == "1,200 of 4,000 layers, 800/s"


async def test_bar_only_when_the_total_is_known():
    app = PanesApp()
    async with app.run_test(size=(80, 12)) as pilot:
        pane = app.query_one("#one", Pane)
        pane.state = Loading("Hashing", 1, 4, hints=())
        await pilot.pause()
        view = pane.query_one(StateView)
        assert text_of(view) == ["Hashing…", "██████────────────────── " + " 25%", "1 of 4 entries"]
        pane.state = Loading("Hashing", 1, hints=())
        await pilot.pause()
        assert text_of(view) == ["Hashing…", "1 entries"]
