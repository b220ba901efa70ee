"""Disk: where every byte of a root is, and what would come back if things went. Nothing is ever removed here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal

from layerscope.errors import LayerscopeError, UnsupportedError
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Reclaim
from layerscope.services import Session
from layerscope.services.ledger import ledger
from layerscope.services.reclaim import reclaim
from layerscope.tui.look import look_of
from layerscope.tui.screens.disk_keys import BACK, HINTS, DiskKeys
from layerscope.tui.sources.facts import Fact
from layerscope.tui.sources.ledger_rows import LedgerArrangement, LedgerRows, facts_of_row
from layerscope.tui.sources.removal_rows import facts_of_answer, facts_of_removal, removal_rows
from layerscope.tui.units import size_text
from layerscope.tui.widgets.details.facts import FactsView
from layerscope.tui.widgets.disk.ledger_tree import LedgerTree
from layerscope.tui.widgets.disk.legend import standing_legend
from layerscope.tui.widgets.disk.removal_list import RemovalList
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.header import HeaderBar, RootLine
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.reading import asking, read_on_thread
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading, why_not
from layerscope.tui.widgets.rows.line_view import LineView

_TICKING = 0.06
_TYPING = 0.12
_MANY = 10_000


class DiskScreen(DiskKeys):
    """Counts on a thread, keeps the ledger while the program runs, and shows it in three panes."""

    DEFAULT_CSS = """
    DiskScreen {
        background: $background;
        layout: vertical;
        #body { height: 1fr; }
        #ledger { width: 1fr; }
        #removal { width: 40; }
        #about { height: 10; FactsView { padding: 0 1; } }

        &.-narrow #removal { display: none; width: 1fr; }
        &.-narrow.-ticking #ledger { display: none; }
        &.-narrow.-ticking #removal { display: block; }
        &.-wide #removal { width: 60; }
        &.-wide.-tall #about { height: 12; }
        &.-short #about { height: 6; }
        &.-low #about { height: 5; }

        &.-enlarged Pane { display: none !important; }
        &.-enlarged Pane.-large { display: block !important; width: 1fr !important; height: 1fr !important; }
        &.-enlarged.-large-about #body { display: none; }
    }
    """

    def __init__(self, session_now: Callable[[], Session], line_now: Callable[[], RootLine]) -> None:
        """Args:
        session_now: gives the root as it was opened last.
        line_now: gives what Explore's header tells, which may come late.
        """
        super().__init__()
        self._session_now = session_now
        self._line_now = line_now
        self.session = session_now()
        self.ledger: Ledger | None = None
        self.answer: Reclaim | None = None
        self.arrangement = LedgerArrangement()

    def compose(self) -> ComposeResult:
        """Header, the ledger, what could go, what is known of either, keys."""
        yield HeaderBar()
        with Horizontal(id="body"):
            yield Pane(LedgerTree(id="classes"), title="Where every byte is", number=1, id="ledger")
            yield Pane(RemovalList(id="things"), title="What could go", number=2, id="removal")
        yield Pane(FactsView(id="facts"), title="Details", number=3, id="about")
        yield KeyBar()

    def on_mount(self) -> None:
        """Count."""
        self.query_one(HeaderBar).line = self._line_now()
        self.classes_tree.focus()
        self.count()

    def on_screen_resume(self) -> None:
        """Come back; a root that was read again meanwhile is counted again."""
        if self.session is not self._session_now():
            self.count()
        self.call_after_refresh(self.tell)

    # ------------------------------------------------------------------ counting
    @work(exclusive=True, group="count")
    async def count(self) -> None:
        """Count every byte, then find out what could go."""
        self.session = session = self._session_now()
        ledger_pane, removal_pane = self.query_one("#ledger", Pane), self.query_one("#removal", Pane)
        started = time.monotonic()

        def show(entries: int) -> None:
            rate = entries / max(0.001, time.monotonic() - started)
            ledger_pane.state = Loading("counting every byte", entries or None, rate=rate if entries else None)

        ledger_pane.state = Loading("counting every byte")
        removal_pane.state = Empty("not known yet", "it follows when everything is counted")
        try:
            found = await read_on_thread(
                lambda tick: ledger(session, counted=tick, cancelled=asking(tick), cache=True), show
            )
        except UnsupportedError as error:
            self.ledger = None
            ledger_pane.state = Empty("nothing to count", str(error), BACK)
            removal_pane.state = Empty("nothing could go", "only a data root has things that could", BACK)
            return
        except (LayerscopeError, OSError) as error:
            self.ledger = None
            ledger_pane.state = Failure(why_not("count", error), hints=HINTS)
            return
        self.ledger = found
        ledger_pane.state = None
        await self._show_rows(found)
        await self._find_removals(session, found, removal_pane)

    async def _find_removals(self, session: Session, found: Ledger, pane: Pane) -> None:
        pane.state = Loading("finding what could go", hints=())
        try:
            rows = await asyncio.to_thread(removal_rows, session, found)
        except UnsupportedError as error:
            pane.state = Empty("not known for this store", str(error), BACK)
            return
        except (LayerscopeError, OSError) as error:
            pane.state = Failure(why_not("find what could go", error), hints=HINTS)
            return
        if not rows:
            pane.state = Empty("nothing could go", "there is no container, image, volume, cache or orphan", BACK)
            return
        pane.state = None
        self.things.show(rows)
        self.ask(0.0)

    # ------------------------------------------------------------------ what is shown
    def arrange_rows(self, arrangement: LedgerArrangement, delay: float = 0.0) -> None:
        """Sort and filter in another way."""
        self.arrangement = arrangement
        if self.ledger is not None:
            self._arrange(self.ledger, delay)

    @work(exclusive=True, group="arrange")
    async def _arrange(self, found: Ledger, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._show_rows(found)

    async def _show_rows(self, found: Ledger) -> None:
        arrangement = self.arrangement
        if len(found.entries) > _MANY:
            rows = await asyncio.to_thread(LedgerRows, found, arrangement)
        else:
            rows = LedgerRows(found, arrangement)
        self.classes_tree.show(rows, unfold=bool(arrangement.text))
        pane, look = self.query_one("#ledger", Pane), look_of(self)
        dot = f" {look.glyphs.separator} "
        vanished = f"{dot}{found.vanished:,} vanished meanwhile" if found.vanished else ""
        pane.set_title(f"Where every byte is{dot}{size_text(found.total_disk)} on disk{vanished}")
        pane.set_legend(standing_legend(self, rows))
        for bar in self.query(FilterBar):
            bar.tell(f"{rows.entries:,} of {len(found.entries):,}, {size_text(rows.disk)}")
        self.tell()

    @on(FilterBar.Changed)
    def follow_filter(self, event: FilterBar.Changed) -> None:
        """Show what fits."""
        event.stop()
        self.arrange_rows(replace(self.arrangement, text=event.text), _TYPING)

    @on(LineView.Highlighted)
    def follow_cursor(self, event: LineView.Highlighted) -> None:
        """Tell about another row."""
        event.stop()
        self.tell()

    def on_descendant_focus(self) -> None:
        """Another pane: other facts, other keys."""
        self.call_after_refresh(self.tell)

    @on(RemovalList.Ticked)
    def follow_ticks(self) -> None:
        """Find out what would come back now."""
        self.ask(_TICKING)

    @work(exclusive=True, group="ask")
    async def ask(self, delay: float) -> None:
        """Find out what would come back if all that is ticked went."""
        session, found, words = self.session, self.ledger, sorted(self.things.ticked)
        if not words or found is None:
            self.answer = None
            self.tell()
            return
        await asyncio.sleep(delay)
        self.query_one("#removal", Pane).set_legend(f"{len(words):,} ticked{look_of(self).glyphs.ellipsis}")
        try:
            self.answer = await asyncio.to_thread(reclaim, session, words, counted=found)
        except (LayerscopeError, OSError) as error:
            self.answer = None
            self.notify(str(error), title="this can't be told", severity="warning", markup=False)
        self.tell()

    def tell(self) -> None:
        """Tell all about the row under the cursor, or what comes back, whichever pane is looked at."""
        self.query_one(HeaderBar).line = self._line_now()
        found, answer, things = self.ledger, self.answer, self.things
        pane = self.query_one("#about", Pane)
        facts: list[Fact] = []
        if self.here == 1:
            row = self.classes_tree.current
            pane.set_title("Details")
            facts = facts_of_row(row.value, found) if found is not None and row is not None else []
        elif answer is not None and found is not None:
            pane.set_title("What comes back")
            facts = facts_of_answer(answer, things.ticked_rows, found.total_disk)
        else:
            pane.set_title("Details")
            facts = facts_of_removal(things.current)
        self.query_one("#facts", FactsView).show_if_new(facts)
        told = "tick to see what comes back" if things.rows else ""
        if answer is not None:
            most = "at most " if answer.at_most else ""
            told = f"{len(things.ticked):,} ticked, {most}{size_text(answer.frees_disk)} back"
        self.query_one("#removal", Pane).set_legend(told)
        self.show_keys()
