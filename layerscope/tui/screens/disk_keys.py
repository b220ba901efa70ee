"""What the keys of Disk do."""

from __future__ import annotations

from typing import ClassVar

from msgspec.structs import replace
from textual import on
from textual.binding import BindingType
from textual.screen import Screen

from layerscope.model.ledger import Ledger
from layerscope.model.problem import Problem
from layerscope.model.reclaim import Reclaim
from layerscope.services import Session
from layerscope.tui.keys import bindings, picked
from layerscope.tui.look import copy_path, look_of
from layerscope.tui.sources.ledger_rows import LedgerArrangement
from layerscope.tui.widgets.disk.ledger_tree import LedgerTree
from layerscope.tui.widgets.disk.removal_list import RemovalList
from layerscope.tui.widgets.frame.filter_bar import FilterBar, FilterInput
from layerscope.tui.widgets.frame.header import HeaderBar
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Empty, Loading, StateView
from layerscope.tui.widgets.rows.line_view import LineView

BACK = (("esc", "back"),)
HINTS = (("r", "count again"), *BACK)
_PANES = ("ledger", "removal", "about")
_OFF = ("previous_tab", "next_tab", "next_hit", "previous_hit")


class DiskKeys(Screen[None]):
    """The actions; :class:`~layerscope.tui.screens.disk.DiskScreen` has the rest."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("screen"),
        *picked(("path.copy", "")),
    ]

    session: Session
    ledger: Ledger | None
    answer: Reclaim | None
    arrangement: LedgerArrangement
    here = 1
    """The number of the pane that is looked at; that of the details counts as the one it tells about."""

    def count(self) -> object:
        """Count anew."""
        raise NotImplementedError

    def give_up_counting(self) -> bool:
        """Stop counting; False if nothing is being counted."""
        pane = self._pane(1)
        if not isinstance(pane.state, Loading):
            return False
        self.workers.cancel_group(self, "count")
        self.ledger = None
        pane.state = Empty("not counted", "counting was cancelled", HINTS)
        return True

    def arrange_rows(self, arrangement: LedgerArrangement) -> None:
        """Sort and filter in another way."""
        raise NotImplementedError

    def problems(self) -> list[Problem]:
        """What was wrong while counting, and before."""
        found = self.ledger.problems if self.ledger is not None else ()
        return list(dict.fromkeys((*self.session.problems(), *found)))

    @property
    def classes_tree(self) -> LedgerTree:
        """The ledger."""
        return self.query_one(LedgerTree)

    @property
    def things(self) -> RemovalList:
        """What could go."""
        return self.query_one(RemovalList)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There are no tabs here, and a filter hides what it doesn't find."""
        return action not in _OFF

    def show_keys(self) -> None:
        """Offer in the footer what can be done with the part that has the focus."""
        names = {"screen.back": "Explore", "screen.reload": "Count again"}
        if self.ledger is None:
            names |= {"find.filter": "", "find.sort": ""}
        if self.here == 2:
            names |= {"find.filter": "", "find.sort": "", "path.copy": "Copy commands"}
        if self.has_class("-narrow"):
            names |= {"pane.1": "Ledger"} if self.here == 2 else {"pane.2": "What could go"}
        if self.query_one(HeaderBar).line.problems:
            names["screen.problems"] = "Problems"
        self.query_one(KeyBar).rename({} if isinstance(self.focused, FilterInput) else names)

    # ------------------------------------------------------------------ panes
    def _pane(self, number: int) -> Pane:
        return self.query_one(f"#{_PANES[number - 1]}", Pane)

    def _number(self) -> int:
        focused = self.focused
        above = () if focused is None else focused.ancestors
        return next((number for number in range(1, 4) if self._pane(number) in above), self.here)

    def on_descendant_focus(self) -> None:
        """Remember which pane is looked at, however it was gone to."""
        number = self._number()
        if number < 3:
            self.here = number

    def action_focus_pane(self, number: int) -> None:
        """Go to a pane; where there is room for one of the upper two, it takes the other's place."""
        if not 1 <= number <= len(_PANES):
            return
        if number < 3:
            self.here = number
            self.set_class(number == 2, "-ticking")
        if self.has_class("-enlarged"):
            self._enlarge(number)
        # At once, though the pane may get its room later: the next key is meant for it.
        pane = self._pane(number)
        covered = pane.has_class("-covered")
        found = (one for one in pane.children if one.focusable and isinstance(one, StateView) == covered)
        target = next(found, None)
        if target is not None:
            self.set_focus(target)

    def action_next_pane(self) -> None:
        """Go to the next pane."""
        self.action_focus_pane(self._number() % len(_PANES) + 1)

    def action_previous_pane(self) -> None:
        """Go to the previous pane."""
        self.action_focus_pane((self._number() - 2) % len(_PANES) + 1)

    def _enlarge(self, number: int) -> None:
        for other in range(1, len(_PANES) + 1):
            self._pane(other).set_class(other == number, "-large")
        self.set_class(number == 3, "-large-about")
        self.add_class("-enlarged")

    def action_enlarge(self) -> None:
        """Give the pane all the room."""
        self._enlarge(self._number())

    def action_shrink(self) -> None:
        """Give the others their room back."""
        self.remove_class("-enlarged", "-large-about")

    # ------------------------------------------------------------------ rows
    @on(LineView.Chosen, "#classes")
    def open_row(self, event: LineView.Chosen) -> None:
        """Fold or unfold a class; of an entry go to the details."""
        event.stop()
        tree = self.classes_tree
        if tree.rows[event.index].foldable:
            tree.action_toggle_fold()
        else:
            self.action_focus_pane(3)

    def action_sort(self) -> None:
        """Use the next sort order."""
        self.arrange_rows(self.arrangement.next_order())

    def action_reverse_sort(self) -> None:
        """Reverse the sort order."""
        self.arrange_rows(replace(self.arrangement, reverse=not self.arrangement.reverse))

    async def action_filter(self) -> None:
        """Ask for a part of a path, an owner, a class or a reason."""
        bar = next(iter(self.query(FilterBar)), None)
        if bar is None:
            self.here = 1
            self.remove_class("-ticking")
            bar = FilterBar()
            await self._pane(1).mount(bar)
        bar.focus_text()

    @on(FilterBar.Done)
    def keep_filter(self, event: FilterBar.Done) -> None:
        """Go to what was found."""
        event.stop()
        self.action_focus_pane(1)

    @on(FilterBar.Closed)
    async def drop_filter(self, event: FilterBar.Closed | None = None) -> None:
        """Show everything again."""
        if event is not None:
            event.stop()
        await self.query(FilterBar).remove()
        self.arrange_rows(replace(self.arrangement, text=""))
        self.action_focus_pane(1)

    def action_copy_path(self) -> None:
        """Copy the commands for what is ticked; elsewhere the path of the entry."""
        text = ""
        if self.here == 2:
            current = self.things.current
            commands = self.answer.commands if self.answer is not None else ()
            text = "\n".join(commands) if commands else (current.command if current else "")
        else:
            row = self.classes_tree.current
            if row is not None and row.value.entry is not None:
                copy_path(self, f"{self.session.path}/{row.value.entry.path}")
                return
        if not text:
            self.notify("nothing to copy here", markup=False)
            return
        self.app.copy_to_clipboard(text)
        lines = text.count("\n") + 1
        told = f"{lines:,} commands" if lines > 1 else look_of(self).text(text)
        self.notify(f"copied {told}", markup=False)

    # ------------------------------------------------------------------ the screen
    @on(HeaderBar.ProblemsClicked)
    def action_problems(self) -> None:
        """List what is wrong."""
        from layerscope.tui.screens.problems import ProblemsScreen

        self.app.push_screen(ProblemsScreen(self.problems(), str(self.session.path)))

    def action_reload(self) -> None:
        """Count again."""
        self.count()

    async def action_back(self) -> None:
        """One step back: stop counting, drop the filter, shrink the pane, go to Explore."""
        if self.give_up_counting():
            return
        if self.query(FilterBar):
            await self.drop_filter()
        elif self.has_class("-enlarged"):
            self.action_shrink()
        else:
            self.app.call_later(self.app.run_action, "mode('explore')")
