"""Pane 2: the layer stack of one subject with its sums, measured level by level."""

from __future__ import annotations

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.worker import get_current_worker

from layerscope.errors import LayerscopeError
from layerscope.model.subject import StackLevel
from layerscope.services import Session
from layerscope.tui.background import LANE, wait_for_first_look
from layerscope.tui.look import look_of
from layerscope.tui.sources.blocks import Block, blocks_of
from layerscope.tui.sources.stack import Stack
from layerscope.tui.sources.totals import stack_totals
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Empty
from layerscope.tui.widgets.stack.blocks import LayerStack
from layerscope.tui.widgets.stack.totals import LevelCaption, TotalsLine

_MOST_KEPT = 64


class StackPane(Pane):
    """Shows the blocks at once and measures what isn't recorded on a thread, top level first."""

    class Measured(Message):
        """Size or counts of a level are known."""

        def __init__(self, key: str, found: StackLevel) -> None:
            super().__init__()
            self.key = key
            self.found = found

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(title="Layers", number=2, id=id)
        self._measured: dict[str, list[Block]] = {}
        self._key = ""

    def compose(self) -> ComposeResult:
        """The stack above its sums."""
        yield LayerStack(id="stack")
        yield LevelCaption(id="caption")
        yield TotalsLine(id="totals")

    def on_mount(self) -> None:
        """Tell which end is which."""
        super().on_mount()
        glyphs = look_of(self).glyphs
        self.set_legend(f"top {glyphs.up} {glyphs.separator} base {glyphs.down}")

    @property
    def stack(self) -> LayerStack:
        """The blocks."""
        return self.query_one(LayerStack)

    def show(self, session: Session, stack: Stack, cut: int) -> None:
        """Show the levels of a subject, cut at level ``cut``."""
        self.set_title(f"Layers of {stack.subject.name}")
        self._key = stack.key
        readable = frozenset(level.number for level in stack.view.levels)
        known = self._measured.get(stack.key)
        if known is None or len(known) != len(stack.levels):
            known = blocks_of(stack.subject, stack.levels, readable)
            self._keep(stack.key, known)
        self.stack.show(known, cut)
        self.state = None if known else Empty("no layers", "this image or container has none on record")
        self._show_totals()
        self._measure(session, stack, [block for block in known if block.counts is None and not block.missing])

    def forget(self) -> None:
        """Measure everything anew when it is shown again."""
        self._measured.clear()

    def measure_again(self, session: Session, stack: Stack) -> None:
        """Measure the top level once more, because it has changed."""
        self._measure(session, stack, self.stack.blocks[:1])

    def _keep(self, key: str, blocks: list[Block]) -> None:
        self._measured.pop(key, None)
        self._measured[key] = blocks
        while len(self._measured) > _MOST_KEPT:
            del self._measured[next(iter(self._measured))]

    def _show_totals(self) -> None:
        stack = self.stack
        self.query_one(TotalsLine).totals = stack_totals(stack.blocks, stack.number)
        self.query_one(LevelCaption).block = stack.blocks[stack.cursor] if stack.blocks else None

    def on_layer_stack_cut_changed(self) -> None:
        """The sums tell of the cut."""
        self._show_totals()

    @work(thread=True, exclusive=True, group="measure")
    def _measure(self, session: Session, stack: Stack, blocks: list[Block]) -> None:
        """Sizes that aren't recorded first, since the scale hangs on them; then the counts."""
        worker = get_current_worker()
        wait_for_first_look()
        unsized = [block for block in blocks if block.size is None]
        for counts, wanted in ((False, unsized), (True, blocks)):
            for block in wanted:
                if worker.is_cancelled:
                    return
                try:
                    with LANE:
                        found = session.stack_level(stack.view, block.level, counts, lambda: worker.is_cancelled)
                except (OSError, LayerscopeError):
                    continue
                if not worker.is_cancelled:
                    self.post_message(self.Measured(stack.key, found))

    @on(Measured)
    def take_measured(self, event: Measured) -> None:
        """Show what is known of one more level."""
        known, number = self._measured.get(event.key), event.found.level.number
        if known is None:
            return
        blocks = [block.measured(event.found) if block.number == number else block for block in known]
        self._keep(event.key, blocks)
        if event.key == self._key:
            self.stack.replace(next(block for block in blocks if block.number == number))
            self._show_totals()
