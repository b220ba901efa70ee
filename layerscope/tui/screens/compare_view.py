"""Two copies of one path, compared on the whole screen; any two that are stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.widget import Widget

from layerscope.errors import LayerscopeError
from layerscope.model.entry import Entry
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.services.file.copies import Copy, Life, life
from layerscope.services.file.difference import CONTEXT
from layerscope.tui.keys import picked
from layerscope.tui.look import look_of
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.sources.comparison import Comparison, compare_copies, preview
from layerscope.tui.sources.files import Tick
from layerscope.tui.widgets.details.comparison import BareComparisonView
from layerscope.tui.widgets.details.copy_strip import CopyStrip
from layerscope.tui.widgets.frame.reading import asking, read_on_thread
from layerscope.tui.widgets.frame.states import Failure, Loading, why_not


class CompareView(OverScreen[None]):
    """Compares the copy of level ``old`` with that of level ``new``.

    Without them: the newest with the one below it. Contents that are no texts are read whole, which can be given up.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(
            ("cut.lower", "Old side", "choose('old', -1)"),
            ("cut.higher", "", "choose('old', 1)"),
            ("tab.previous", "New side", "choose('new', -1)"),
            ("tab.next", "", "choose('new', 1)"),
            ("find.next", "Next change", "hunk(1)"),
            ("find.previous", "", "hunk(-1)"),
            ("show.unmodified", "All lines", "all_lines"),
            ("screen.reload", ""),
        )
    ]

    def __init__(
        self,
        session: Session,
        subject: Subject,
        entry: Entry | str,
        *,
        old: int | None = None,
        new: int | None = None,
    ) -> None:
        super().__init__()
        self.session = session
        self.subject = subject
        self.path = entry.path if isinstance(entry, Entry) else entry.strip("/")
        self.life: Life | None = None
        self.old: Copy | None = None
        self.new: Copy | None = None
        self._wanted = (old, new)
        self._around: int | None = CONTEXT
        self._comparing = False

    def content(self) -> Iterable[Widget]:
        """The copies that there are, and what differs."""
        return CopyStrip(), BareComparisonView(numbers=True)

    @property
    def view(self) -> BareComparisonView:
        """What differs."""
        return self.query_one(BareComparisonView)

    def on_mount(self) -> None:
        """Find the copies."""
        self.pane.set_title(f"/{self.path} of {self.subject.name}")
        self.view.focus()
        self.find_copies()

    # ------------------------------------------------------------------ copies
    @work(exclusive=True, group="compare")
    async def find_copies(self) -> None:
        """Read which copies there are, and compare the two that are wanted."""
        try:
            self.life = await read_on_thread(
                lambda tick: life(self.session, self.subject, self.path, stopped=asking(tick)), self._tell_reading
            )
        except (LayerscopeError, OSError) as error:
            self.pane.state = Failure(why_not("read the copies", error), hints=(("r", "read again"), ("esc", "back")))
            return
        self.pane.state = None
        old, new = self._wanted
        copies = self.life.copies
        self.new = (self.life.copy_of(new) if new is not None else None) or (copies[0] if copies else None)
        self.old = self.life.copy_of(old) if old is not None else None
        if self.old is None and self.new is not None:
            self.old = self.life.below(self.new)
        if self.old is None and len(copies) > 1:  # the oldest was asked for: what came of it
            self.old, self.new = copies[-1], copies[-2]
        self.compare()

    def _tell_reading(self, count: int) -> None:
        self.pane.state = Loading("reading", hints=())

    def action_choose(self, side: str, step: int) -> None:
        """Take the next older (-1) or newer copy for one side."""
        chosen = self.old if side == "old" else self.new
        if self.life is None or chosen is None:
            return
        copies = list(reversed(self.life.copies))
        place = copies.index(chosen) + step
        if not 0 <= place < len(copies):
            return
        if side == "old":
            self.old = copies[place]
        else:
            self.new = copies[place]
        self.compare()

    def action_reload(self) -> None:
        """Read everything again."""
        self._wanted = (self.old.level.number if self.old else None, self.new.level.number if self.new else None)
        self.find_copies()

    # ------------------------------------------------------------------ comparison
    @work(exclusive=True, group="compare")
    async def compare(self) -> None:
        """Compare the chosen copies."""
        old, new, found = self.old, self.new, self.life
        if found is None:
            return
        self.query_one(CopyStrip).show(found, old, new)
        self.refresh_bindings()
        if new is None:
            self.pane.state = Failure("no level stores a copy of it", hints=(("esc", "back"),))
            return
        self._comparing = True
        try:
            comparison = await self._compared(old, new, whole=True)
        except (LayerscopeError, OSError) as error:
            self.pane.state = Failure(why_not("read the copies", error), hints=(("r", "read again"), ("esc", "back")))
            return
        finally:
            self._comparing = False
        self._show(comparison)

    async def _compared(self, old: Copy | None, new: Copy, *, whole: bool) -> Comparison:
        if old is None:
            return await read_on_thread(lambda tick: preview(new), self._tell_reading)
        total = old.stat.st_size + new.stat.st_size

        def tell(count: int) -> None:
            self.pane.state = Loading("comparing", count, total, unit="bytes")

        def work(tick: Tick) -> Comparison:
            read = 0

            def progress(count: int) -> None:
                nonlocal read
                read += count

            def stopped() -> bool:
                tick(read)
                return False

            return compare_copies(old, new, context=self._around, whole=whole, stopped=stopped, progress=progress)

        return await read_on_thread(work, tell)

    def _show(self, comparison: Comparison) -> None:
        assert self.life is not None
        self.pane.state = None
        self.view.show(comparison, self.life.levels)
        self.view.focus()
        dot = f" {look_of(self).glyphs.separator} "
        if comparison.added is None or comparison.removed is None:
            self.pane.set_legend("")
        else:
            all_lines = "all lines" if self._around is None else f"{self._around} lines around each change"
            self.pane.set_legend(dot.join((f"+{comparison.added:,} -{comparison.removed:,} lines", all_lines)))

    def give_up(self) -> bool:
        """Stop reading whole files; sizes are shown instead."""
        if not self._comparing or self.pane.state is None:
            return False
        self._shorten()
        return True

    @work(exclusive=True, group="compare")
    async def _shorten(self) -> None:
        """Show what can be told without reading the files whole."""
        if self.new is not None:
            try:
                self._show(await self._compared(self.old, self.new, whole=False))
            except (LayerscopeError, OSError) as error:
                self.pane.state = Failure(why_not("read the copies", error))

    # ------------------------------------------------------------------ keys
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A single copy differs from nothing."""
        if action in ("choose", "hunk", "all_lines"):
            return self.life is None or len(self.life.copies) > 1
        return super().check_action(action, parameters)

    def action_hunk(self, direction: int) -> None:
        """Go to the next or previous change."""
        self.view.go_to_hunk(direction)

    def action_all_lines(self) -> None:
        """Show all lines, or only those around changes."""
        self._around = None if self._around is not None else CONTEXT
        self.compare()
