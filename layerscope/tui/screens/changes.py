"""What a container changed, as ``docker diff`` lists it, with reasons and sizes; Enter goes to the path in the tree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from msgspec.structs import replace
from textual import on, work
from textual.binding import BindingType
from textual.widget import Widget

from layerscope.errors import LayerscopeError
from layerscope.model.change import Change
from layerscope.model.level import Role
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.tui.keys import picked
from layerscope.tui.look import look_of
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.sources.arrangement import Category
from layerscope.tui.sources.change_rows import ChangeArrangement, count_changes
from layerscope.tui.units import size_text
from layerscope.tui.widgets.details.change_list import ChangeList
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading, why_not
from layerscope.tui.widgets.rows.line_view import LineView

_MANY = 10_000
_BACK = (("esc", "back"),)


class ChangesScreen(OverScreen[str | None]):
    """Lists what the writable layer of a container changed; of an image, or at a cut: what that level changed.

    Ends with the chosen path (no leading slash), or None.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(
            ("find.filter", "Filter"),
            ("find.sort", "Sort"),
            ("find.reverse", ""),
            ("show.added", ""),
            ("show.modified", ""),
            ("show.deleted", ""),
            ("show.unmodified", ""),
            ("file.form", "Docker's/exact"),
            ("screen.reload", ""),
        )
    ]

    def __init__(self, session: Session, subject: Subject) -> None:
        super().__init__()
        self.session = session
        self.subject = subject
        self.changes: list[Change] = []
        self.arrangement = ChangeArrangement()
        self.corrected = False
        self._docker = True
        self._levels = 1
        self._sorted = (self.arrangement.order, self.arrangement.reverse)

    def content(self) -> Iterable[Widget]:
        """The list."""
        return (ChangeList(),)

    @property
    def listing(self) -> ChangeList:
        """The list."""
        return self.query_one(ChangeList)

    def on_mount(self) -> None:
        """Find the changes."""
        self.find()

    # ------------------------------------------------------------------ reading
    @work(exclusive=True, group="changes")
    async def find(self) -> None:
        """Compare the levels."""
        self.pane.state = Loading("comparing", hints=_BACK)
        self._tell_title()
        try:
            self.changes = await asyncio.to_thread(self._found)
        except (LayerscopeError, OSError) as error:
            self.pane.state = Failure(why_not("compare the levels", error), hints=(("r", "read again"), *_BACK))
            return
        self.listing.levels = self._levels
        self._tell_title()
        self._arrange_rows()

    def _found(self) -> list[Change]:
        levels = self.session.levels(self.subject)
        self._levels = max(1, len(levels))
        cut = len(levels) if self.subject.cut is None else self.subject.cut
        self._docker = bool(levels) and cut == len(levels) and levels[-1].role is Role.RW
        if self._docker:
            return self.session.changes(self.subject, self.corrected)
        below, here = replace(self.subject, cut=max(0, cut - 1)), replace(self.subject, cut=cut)
        return self.session.compare(below, here)

    def action_reload(self) -> None:
        """Compare again."""
        self.find()

    def action_toggle_form(self) -> None:
        """docker's list with its defects, or every difference there is."""
        self.corrected = not self.corrected
        self.find()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """docker has a list for writable layers only."""
        return self._docker if action == "toggle_form" else super().check_action(action, parameters)

    # ------------------------------------------------------------------ what is shown
    def rearrange(self, arrangement: ChangeArrangement) -> None:
        """Sort and filter in another way."""
        self.arrangement = arrangement
        self._arrange_rows()

    @work(exclusive=True, group="arrange")
    async def _arrange_rows(self) -> None:
        changes, arrangement = self.changes, self.arrangement
        here = self.listing.rows[self.listing.cursor].path if self.listing.rows else ""
        if (arrangement.order, arrangement.reverse) != self._sorted:
            here, self._sorted = "", (arrangement.order, arrangement.reverse)
        many = len(changes) > _MANY
        rows = await asyncio.to_thread(arrangement.arranged, changes) if many else arrangement.arranged(changes)
        self.listing.set_rows(rows, next((index for index, row in enumerate(rows) if row.path == here), 0))
        if rows:
            self.pane.state = None
        elif changes and arrangement.text:
            self.pane.state = Empty("nothing fits", "no path holds what is typed", (("esc", "show all again"),))
        elif changes:
            self.pane.state = Empty("nothing fits", "press A, M, D or U to show what is hidden", _BACK)
        else:
            self.pane.state = Empty("nothing was changed", "this layer is empty", _BACK)
        if rows and not self.query(FilterBar):
            self.listing.focus()
        self._tell_counts(len(rows))
        self.refresh_bindings()

    def _tell_title(self) -> None:
        name, dot = self.subject.name, f" {look_of(self).glyphs.separator} "
        if self._docker:
            form = "every difference" if self.corrected else "as docker diff lists them"
            self.pane.set_title(f"Changes of {name}{dot}{form}")
        else:
            level = self._levels if self.subject.cut is None else self.subject.cut
            self.pane.set_title(f"Changes of layer {level} of {name}")

    def _tell_counts(self, shown: int) -> None:
        counts, glyphs = count_changes(self.changes), look_of(self).glyphs
        parts = [
            f"A {counts.added:,}  C {counts.changed:,}  D {counts.deleted:,}",
            f"{size_text(counts.stored)} stored",
        ]
        if shown != len(self.changes):
            parts.insert(0, f"{shown:,} of {len(self.changes):,} shown")
        arrow = glyphs.up if self.arrangement.reverse else glyphs.down
        parts.append(f"by {self.arrangement.order} {arrow}")
        self.pane.set_legend(f" {glyphs.separator} ".join(parts))

    # ------------------------------------------------------------------ keys
    @on(LineView.Chosen)
    def go_to_path(self, event: LineView.Chosen) -> None:
        """End with the path under the cursor."""
        event.stop()
        self.dismiss(self.listing.rows[event.index].path)

    def action_show(self, category: str) -> None:
        """Show or hide a kind of changes."""
        self.rearrange(self.arrangement.toggled(Category(category)))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.rearrange(self.arrangement.next_order())

    def action_reverse_sort(self) -> None:
        """Reverse the order."""
        self.rearrange(replace(self.arrangement, reverse=not self.arrangement.reverse))

    async def action_filter(self) -> None:
        """Ask for a part of a name."""
        await self.open_prompt(FilterBar())

    @on(FilterBar.Changed)
    def follow_filter(self, event: FilterBar.Changed) -> None:
        """Show what fits."""
        self.rearrange(replace(self.arrangement, text=event.text))

    @on(FilterBar.Done)
    def keep_filter(self) -> None:
        """Go to the list."""
        self.listing.focus()

    @on(FilterBar.Closed)
    def drop_filter(self) -> None:
        """Show everything again."""
        self.close_prompt()
        self.rearrange(replace(self.arrangement, text=""))

    def give_up(self) -> bool:
        """Drop the filter."""
        if not self.query(FilterBar):
            return False
        self.drop_filter()
        return True
