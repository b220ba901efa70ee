"""What the keys of Explore do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import on
from textual.screen import Screen
from textual.widget import Widget

from layerscope.model.file_type import file_type
from layerscope.model.problem import Problem, Severity
from layerscope.services import Session
from layerscope.tui.look import copy_path
from layerscope.tui.sources.arrangement import Category
from layerscope.tui.text import escape
from layerscope.tui.widgets.files.tree_pane import TreePane
from layerscope.tui.widgets.frame.header import HeaderBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.stack.blocks import LayerStack

if TYPE_CHECKING:
    from layerscope.tui.sources.stack import Stack

PANES = ("entities", "layers", "tree", "details")


class ExploreKeys(Screen[None]):
    """The actions; :class:`~layerscope.tui.screens.explore.ExploreScreen` has the rest."""

    session: Session
    stack: Stack | None
    layer_only: bool

    def show_layer_only(self, layer_only: bool) -> None:
        """Show the chosen layer only, or all up to it."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There are no tabs here."""
        return action not in ("previous_tab", "next_tab")

    # ------------------------------------------------------------------ panes
    def _pane(self, number: int) -> Pane:
        return self.query_one(f"#{PANES[number - 1]}", Pane)

    def _focus_in(self, pane: Pane) -> bool:
        candidates = (widget for widget in pane.query("*").results(Widget) if widget.focusable)
        target = next((widget for widget in candidates if _is_displayed(widget)), None)
        if target is None:
            return False
        self.set_focus(target)
        return True

    def _here(self) -> int:
        """The number of the pane that has the focus (3 if none has)."""
        focused = self.focused
        numbers = [number for number in range(1, 5) if focused is not None and self._pane(number) in focused.ancestors]
        return numbers[0] if numbers else 3

    def keep_focus(self) -> None:
        """Give the tree the focus if nothing has it: pane 1, which has it first, may have no room."""
        if self.focused is None:
            self.action_focus_pane(3)

    def on_resize(self) -> None:
        """What had the focus may have lost its room."""
        if self.query("#facts"):  # the first look is over
            self.call_after_refresh(self.call_after_refresh, self.keep_focus)

    def action_focus_pane(self, number: int) -> None:
        """Go to a pane. Where pane 1 has no room, its key swaps it with pane 2."""
        if self.has_class("-narrow"):
            listing = number == 1 and not (self._here() == 1 and self.has_class("-listing"))
            self.set_class(listing, "-listing")
            number = 2 if number == 1 and not listing else number
        if self.has_class("-enlarged"):
            self._enlarge(number)
        if not self._focus_in(self._pane(number)):
            # What was hidden until now can take the focus after the next refresh.
            self.call_after_refresh(self._focus_in, self._pane(number))

    def _step_pane(self, step: int) -> None:
        shown = [number for number in range(1, 5) if self._pane(number).display or self.has_class("-enlarged")]
        if self.has_class("-narrow"):
            shown = [number for number in shown if number != (2 if self.has_class("-listing") else 1)]
        here = self._here()
        place = shown.index(here) if here in shown else 0
        for distance in range(1, len(shown) + 1):
            number = shown[(place + step * distance) % len(shown)]
            if self.has_class("-enlarged"):
                self._enlarge(number)
            if self._focus_in(self._pane(number)):
                return

    def action_next_pane(self) -> None:
        """Go to the next pane."""
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        """Go to the previous pane."""
        self._step_pane(-1)

    def _enlarge(self, number: int) -> None:
        for other in range(1, 5):
            self._pane(other).set_class(other == number, "-large")
        self.set_class(number == 4, "-large-details")
        self.add_class("-enlarged")

    def action_enlarge(self) -> None:
        """Give the pane all the room."""
        self._enlarge(self._here())

    def action_shrink(self) -> None:
        """Give the others their room back."""
        self.remove_class("-enlarged", "-large-details")

    # ------------------------------------------------------------------ find
    async def action_filter(self) -> None:
        """Ask what to look for."""
        await self.query_one(TreePane).open_filter()

    def action_next_hit(self) -> None:
        """Go to the next hit."""
        self._go_to_hit(1)

    def action_previous_hit(self) -> None:
        """Go to the previous hit."""
        self._go_to_hit(-1)

    def _go_to_hit(self, step: int) -> None:
        if not self.query_one(TreePane).go_to_hit(step):
            self.notify("nothing is filtered: press / first", markup=False)

    def action_sort(self) -> None:
        """Use the next sort order."""
        pane = self.query_one(TreePane)
        pane.arrange_rows(pane.arrangement.next_order())

    def action_reverse_sort(self) -> None:
        """Reverse the sort order."""
        pane = self.query_one(TreePane)
        pane.arrange_rows(pane.arrangement.by(pane.arrangement.order))

    # ------------------------------------------------------------------ layers
    def action_toggle_view(self) -> None:
        """Switch between the merged view and this layer only."""
        self.show_layer_only(not self.layer_only)

    def action_show_merged(self) -> None:
        """Show the merged view."""
        self.show_layer_only(False)

    def action_show_layer(self) -> None:
        """Show this layer only."""
        self.show_layer_only(True)

    def action_cut_lower(self) -> None:
        """Cut the stack one level lower."""
        self.query_one(LayerStack).action_move_rows(1)

    def action_cut_higher(self) -> None:
        """Cut the stack one level higher."""
        self.query_one(LayerStack).action_move_rows(-1)

    def action_show(self, category: str) -> None:
        """Show or hide a kind of rows."""
        pane = self.query_one(TreePane)
        pane.arrange_rows(pane.arrangement.toggled(Category(category)))
        pane.explain_marks()

    # ------------------------------------------------------------------ look closer
    def action_copy_path(self) -> None:
        """Copy the path under the cursor."""
        row = self.query_one(TreePane).files.current
        if row is not None:
            copy_path(self, f"/{row.path}")

    def problems(self) -> list[Problem]:
        """All that is known to be wrong, or hidden from this user."""
        pane = self.query_one(TreePane)
        found = dict.fromkeys(self.session.problems())
        for source in pane.sources.values():
            found |= source.problems
        unseen = [Problem("", what, "", "run as root", Severity.NOTE) for what in self.session.setting.unseen]
        return [*found, *unseen]

    @on(HeaderBar.ProblemsClicked)
    def action_problems(self) -> None:
        """List what is wrong."""
        from layerscope.tui.screens.problems import ProblemsScreen

        self.app.push_screen(ProblemsScreen(self.problems(), str(self.session.path)))

    def action_inspect(self) -> None:
        """Show the records of the subject."""
        from layerscope.tui.screens.inspect import InspectScreen

        if self.stack is not None:
            self.app.push_screen(InspectScreen(self.session, self.stack.subject))

    def action_blocks(self) -> None:
        """Show the blocks of the device that holds the subject's top level."""
        from layerscope.services.blocks import why_no_blocks
        from layerscope.tui.screens.blocks import BlocksScreen

        if self.stack is None:
            return
        why = why_no_blocks(self.session)
        if why is None:
            self.app.push_screen(BlocksScreen(self.session, self.stack.subject))
        else:
            self.notify(why, severity="warning")

    def action_diff(self) -> None:
        """Among the files: compare two copies of this one. Elsewhere: list what the subject's top level changed."""
        shown = self.query_one(TreePane).shown
        row = self.query_one(TreePane).files.current
        if shown is None:
            return
        if self._here() in (1, 2):
            from layerscope.tui.screens.changes import ChangesScreen

            self.app.push_screen(ChangesScreen(self.session, shown.subject), self._go_to_change)
        elif row is not None:
            from layerscope.tui.screens.compare_view import CompareView

            self.app.push_screen(CompareView(self.session, shown.subject, row.path))

    async def _go_to_change(self, path: str | None) -> None:
        if path is not None:
            pane = self.query_one(TreePane)
            await pane.close_filter()  # which may hide it
            pane.reveal(path)
            self.action_focus_pane(3)

    @on(TreePane.FileChosen)
    async def open_file(self, event: TreePane.FileChosen) -> None:
        """Show the bytes of a file on the whole screen; of a removed one those that are still stored.

        A symlink to a directory leads there.
        """
        from layerscope.tui.screens.file_view import FileView

        pane = self.query_one(TreePane)
        source, shown = pane.source, pane.shown
        if source is None or shown is None:
            return
        try:
            if event.row.target is not None and not event.row.gone:
                folder = await asyncio.to_thread(source.folder_behind, event.path)
                if folder is not None:
                    await pane.close_filter()  # which may hide it
                    pane.reveal(folder)
                    self.notify(escape(f"/{event.path} leads to /{folder}"), markup=False)
                    return
            level = await asyncio.to_thread(source.stored_level, event.path, event.row)
        except OSError as error:
            leads = "" if event.row.target is None else f", which leads to {event.row.target}"
            self.notify(escape(f"cannot open /{event.path}{leads}: {error.strerror}"), severity="warning", markup=False)
            return
        if level is None:
            what = file_type(event.row.ownership.mode)
            self.notify(escape(f"/{event.path}: there are no bytes to show of this {what}"), markup=False)
            return
        self.app.push_screen(
            FileView(self.session, shown.subject, event.path, source.view, level if event.row.gone else None)
        )

    # ------------------------------------------------------------------ the screen
    async def action_back(self) -> None:
        """One step back: stop what goes on, clear the filter, shrink the pane, leave the list."""
        if await self.query_one(TreePane).close_filter():
            return
        if self.has_class("-enlarged"):
            self.action_shrink()
        elif self.has_class("-listing"):
            self.action_focus_pane(2)


def _is_displayed(widget: Widget) -> bool:
    return all(above.display for above in widget.ancestors_with_self if isinstance(above, Widget))
