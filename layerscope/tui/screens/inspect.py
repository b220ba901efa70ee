"""The engine's own records of an image or container, as a JSON tree that folds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.widget import Widget

from layerscope.errors import LayerscopeError
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.tui.keys import picked
from layerscope.tui.look import look_of
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.widgets.file.json_tree import JsonTree
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.prompt import Prompt
from layerscope.tui.widgets.frame.states import Failure, Loading, why_not
from layerscope.tui.widgets.rows.line_view import LineView

_LONGEST_COPY = 1 << 20


class InspectScreen(OverScreen[None]):
    """Shows the records of ``subject``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(
            ("find.filter", "Find"),
            ("find.next", "Next", "hit(1)"),
            ("find.previous", "", "hit(-1)"),
            ("path.copy", "Copy"),
            ("screen.reload", ""),
        )
    ]

    def __init__(self, session: Session, subject: Subject) -> None:
        super().__init__()
        self.session = session
        self.subject = subject
        self._hits: list[str] = []

    def content(self) -> Iterable[Widget]:
        """The tree."""
        return (JsonTree(),)

    @property
    def records(self) -> JsonTree:
        """The tree."""
        return self.query_one(JsonTree)

    def on_mount(self) -> None:
        """Read the records."""
        kind = "container" if self.subject.container else "image"
        self.pane.set_title(f"Records of {kind} {self.subject.name}")
        self.read()

    @work(exclusive=True, group="records")
    async def read(self) -> None:
        """Read the records, and show them."""
        self.pane.state = Loading("reading", hints=())
        try:
            found = await asyncio.to_thread(self.session.records, self.subject)
        except (LayerscopeError, OSError) as error:
            self.pane.state = Failure(why_not("read the records", error), hints=(("r", "read again"), ("esc", "back")))
            return
        self.pane.state = None
        self.records.show(found)
        self.records.focus()

    def action_reload(self) -> None:
        """Read them again."""
        self.read()

    # ------------------------------------------------------------------ what is told
    @on(LineView.Highlighted)
    def tell_place(self, event: LineView.Highlighted) -> None:
        """Tell the keys that lead to the row."""
        event.stop()
        row = self.records.current
        keys = self.records.items.keys(row.path) if row else []
        self.pane.set_legend("." + ".".join(str(key) for key in keys))

    @on(LineView.Chosen)
    def toggle(self, event: LineView.Chosen) -> None:
        """Fold or unfold."""
        event.stop()
        self.records.action_toggle_fold()

    def action_copy_path(self) -> None:
        """Copy the value under the cursor as JSON."""
        row = self.records.current
        if row is None:
            return
        value = self.records.items.at(row.path)
        try:
            text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
        except (RecursionError, ValueError):
            self.notify("too deeply nested to be copied", severity="warning")
            return
        self.app.copy_to_clipboard(text[:_LONGEST_COPY])
        self.notify("copied " + look_of(self).text(text[:60]), markup=False)

    # ------------------------------------------------------------------ find
    async def action_filter(self) -> None:
        """Ask for a part of a key or value."""
        await self.open_prompt(Prompt("/", "part of a key or value"))

    @on(FilterBar.Changed)
    def follow_text(self, event: FilterBar.Changed) -> None:
        """Mark what fits, and go to the first."""
        self.records.mark(event.text)
        self._find(event.text.lower())

    @work(exclusive=True, group="find")
    async def _find(self, wanted: str) -> None:
        items = self.records.items

        def hits() -> list[str]:
            return [path for path, row in items.walk() if row.contains(wanted)]

        self._hits = await asyncio.to_thread(hits) if wanted else []
        for prompt in self.query(Prompt):
            prompt.tell(f"{len(self._hits):,} found" if wanted else "")
        if self._hits:
            self.records.reveal(self._hits[0])

    @on(FilterBar.Done)
    def keep_text(self) -> None:
        """Go to the tree; the marks stay."""
        self.close_prompt()

    @on(FilterBar.Closed)
    def drop_text(self) -> None:
        """Nothing is marked any more."""
        self.close_prompt()
        self._hits = []
        self.records.mark("")

    def action_hit(self, step: int) -> None:
        """Go to the next or previous hit."""
        if not self._hits:
            self.notify("nothing is looked for: press / first" if not self.records.wanted else "not found")
            return
        row = self.records.current
        order = {path: number for number, path in enumerate(self._hits)}
        here = order.get(row.path if row else "")
        if here is None:
            ahead = [path for path in self._hits if row is not None and (_key(path) > _key(row.path)) == (step > 0)]
            target = (ahead or self._hits)[0 if step > 0 else -1]
        else:
            target = self._hits[(here + step) % len(self._hits)]
        self.records.reveal(target)

    def give_up(self) -> bool:
        """Drop the marks."""
        if not self.records.wanted:
            return False
        self.drop_text()
        return True


def _key(path: str) -> list[int]:
    return [int(place) for place in path.split("/")]
