"""Pane 4: one path in depth. What each layer did to it, how its copies differ, where they lie and what they cost.

It reads by itself, on a thread, a moment after the last change, so it can follow a cursor. Its form follows its own
size, not the screen's, for it may be enlarged:

| size | form |
|---|---|
| up to 5 lines | three lines: path, the two nearest copies, what differs |
| narrow | life, content, facts one below the other |
| from 84 columns | life above facts, content beside them |
| from 150 columns | life, content, facts side by side |
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from msgspec import Struct
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Static

from layerscope.errors import LayerscopeError
from layerscope.model.entry import Entry
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services import Session
from layerscope.services.file.copies import Copy, Life, life
from layerscope.tui.keys import picked
from layerscope.tui.look import copy_path
from layerscope.tui.sources.comparison import Comparison, content_of
from layerscope.tui.sources.facts import facts_of
from layerscope.tui.sources.life import LifeRow, life_rows
from layerscope.tui.text import escape
from layerscope.tui.widgets.details.body import DetailsBody
from layerscope.tui.widgets.details.comparison import ComparisonView
from layerscope.tui.widgets.details.facts import FactsView
from layerscope.tui.widgets.details.life_list import LifeList
from layerscope.tui.widgets.details.summary import DetailsSummary, heading
from layerscope.tui.widgets.frame.reading import asking, read_on_thread
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading, State, StateView, why_not
from layerscope.tui.widgets.rows.line_view import LineView

DEBOUNCE = 0.08
_SUMMARY_LINES = 5
_TYPE_WORDS = {"dir": "directory", "char": "character device", "block": "block device"}
_NOTHING = Empty("nothing chosen", "move to a file to see its life through the layers")


def _nothing_to_open(path: str, row: LifeRow | None, copy: Copy | None) -> str:
    """Why there are no bytes to show at a row of a life."""
    if copy is not None:
        what = _TYPE_WORDS.get(copy.type, copy.type)
        return f"/{path} is a {what} in layer {copy.level.number}: there are no bytes to show"
    if row is None:
        return f"no layer holds a copy of /{path}"
    one = row.first == row.last
    return f"{'layer' if one else 'layers'} {row.levels} {'holds' if one else 'hold'} no copy of /{path}"


class Looked(Struct, frozen=True):
    """What is looked at: a path (no leading slash) in the levels of ``subject`` up to ``cut``."""

    session: Session
    subject: Subject
    path: str
    view: MergedView

    @property
    def cut(self) -> int:
        """The topmost level of the view."""
        return self.view.levels[-1].number if self.view.levels else 0


class Details(Widget):
    """Shows one path of a view. Call :meth:`show` as often as the cursor moves."""

    BINDINGS: ClassVar[list[BindingType]] = [*picked(("path.diff", "Diff"), ("path.copy", ""))]
    DEFAULT_CSS = """
    Details {
        height: 1fr;
        width: 1fr;
        padding: 0 1;
        background: $background;
        & > .details--head { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        & > .details--state { display: none; height: 1fr; padding: 0 1; }
        & > DetailsSummary { display: none; }
        &.-summary > .details--head, &.-summary > DetailsBody { display: none; }
        &.-summary > DetailsSummary { display: block; }
        &.-covered > DetailsBody, &.-covered > .details--head, &.-covered > DetailsSummary { display: none; }
        &.-covered > .details--state { display: block; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.looked: Looked | None = None
        self.life: Life | None = None

    def compose(self) -> ComposeResult:
        """A line above, three parts, and what stands in their place."""
        yield Static("", classes="details--head", markup=False)
        yield DetailsBody()
        yield DetailsSummary()
        yield StateView(_NOTHING, classes="details--state")

    def on_mount(self) -> None:
        """Nothing is there yet."""
        self._stand_in(_NOTHING)

    def focus(self, scroll_visible: bool = True) -> Details:
        """Give the focus to the part that has something to choose."""
        target: Widget = self.query_one(StateView)
        if not self.has_class("-covered"):
            target = self.query_one(DetailsSummary if self.has_class("-summary") else LifeList)
        target.focus(scroll_visible)
        return self

    # ------------------------------------------------------------------ what is shown
    def show(self, session: Session, subject: Subject, entry: Entry | str | None, view: MergedView) -> None:
        """Show a path of ``view`` (whose levels are those up to the cut): an entry, or the path itself.

        What was asked for before is given up. None: there is nothing to show.
        """
        if entry is None:
            self.looked = self.life = None
            self.workers.cancel_group(self, "details")
            self._stand_in(_NOTHING)
            return
        path = entry.path if isinstance(entry, Entry) else entry.strip("/")
        self.looked = Looked(session, subject, path, view)
        self._read(self.looked, DEBOUNCE)

    def reload(self) -> None:
        """Read the same path again."""
        if self.looked is not None:
            self._read(self.looked, 0)

    @work(exclusive=True, group="details")
    async def _read(self, looked: Looked, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            found = await read_on_thread(
                lambda tick: life(looked.session, looked.subject, looked.path, stopped=asking(tick)),
                lambda count: self._stand_in(Loading("reading", hints=())),
            )
        except (LayerscopeError, OSError) as error:
            self.life = None
            self._stand_in(Failure(why_not("read it", error), hints=()))
            return
        self.life = found
        self._stand_in(None)
        rows = life_rows(found, looked.cut)
        serving = next((index for index, row in enumerate(rows) if row.serves), 0)
        self.query_one(".details--head", Static).update(
            heading(self, looked.path, found, rows, looked.cut), layout=False
        )
        self.query_one(DetailsBody).show_life(rows, found.levels, serving)
        self.query_one(DetailsSummary).show(looked.path, found, rows, looked.cut)
        self._show_content(looked, found)

    @on(LineView.Highlighted)
    def follow_copy(self, event: LineView.Highlighted) -> None:
        """Show the copy under the cursor, compared with the one below it."""
        event.stop()
        if self.looked is not None and self.life is not None and event.line_view is self.query_one(LifeList):
            self._show_content(self.looked, self.life)

    @work(exclusive=True, group="details-content")
    async def _show_content(self, looked: Looked, found: Life) -> None:
        row = self.query_one(LifeList).current
        copy = self._copy_at(row, found)
        view, facts = self.query_one(ComparisonView), self.query_one(FactsView)
        if copy is None:
            view.show(None)
            facts.show([])
            return
        facts.show(facts_of(copy, found, looked.cut))
        try:
            comparison: Comparison | None = await read_on_thread(
                lambda tick: content_of(copy, found, stopped=asking(tick)), lambda count: None
            )
        except (LayerscopeError, OSError) as error:
            view.show(None)
            self.query_one(DetailsSummary).tell(None)
            self.notify(str(error), severity="warning", markup=False)
            return
        view.show(comparison, found.levels)
        self.query_one(DetailsSummary).tell(comparison)

    @staticmethod
    def _copy_at(row: LifeRow | None, found: Life) -> Copy | None:
        """The copy of a row; of a row without one, the next further down, which is what was taken away there."""
        if row is None:
            return None
        return row.copy or next((copy for copy in found.copies if copy.level.number < row.last), None)

    def _stand_in(self, state: State | None) -> None:
        covering = self.query_one(StateView)
        had_focus = self.has_focus_within
        self.set_class(state is not None, "-covered")
        if state is not None:
            covering.state = state
        if had_focus and (state is not None) != covering.has_focus:
            self.focus()

    def on_resize(self, event: Resize) -> None:
        """Take the form that the size asks for: of this widget, not of the screen, for it may be enlarged."""
        self.set_class(event.size.height <= _SUMMARY_LINES, "-summary")

    # ------------------------------------------------------------------ keys
    @on(LineView.Chosen)
    def open_copy(self, event: LineView.Chosen) -> None:
        """Show the bytes of the copy under the cursor."""
        event.stop()
        self.action_choose()

    def action_choose(self) -> None:
        """Show the bytes of the copy under the cursor on the whole screen."""
        looked, found = self.looked, self.life
        if looked is None or found is None:
            return
        row = self.query_one(LifeList).current
        copy = self._copy_at(row, found)
        if copy is None or not copy.is_file:
            self.notify(escape(_nothing_to_open(looked.path, row, copy)), markup=False)
            return
        from layerscope.tui.screens.file_view import FileView

        self.app.push_screen(FileView(looked.session, looked.subject, looked.path, looked.view, copy.level.number))

    def action_diff(self) -> None:
        """Compare two copies on the whole screen."""
        looked, found = self.looked, self.life
        if looked is None or found is None:
            return
        from layerscope.tui.screens.compare_view import CompareView

        copy = self._copy_at(self.query_one(LifeList).current, found)
        self.app.push_screen(
            CompareView(looked.session, looked.subject, looked.path, new=copy.level.number if copy else None)
        )

    def action_copy_path(self) -> None:
        """Copy where the copy under the cursor lies on disk."""
        found = self.life
        copy = self._copy_at(self.query_one(LifeList).current, found) if found else None
        if self.looked is not None and copy is not None and copy.place:
            copy_path(self, f"{self.looked.session.path}/{copy.place}")
