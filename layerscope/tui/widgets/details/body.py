"""The parts of the details side by side or one below the other, as their own width asks for."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Resize

from layerscope.tui.look import look_of
from layerscope.tui.sources.life import LifeRow
from layerscope.tui.widgets.details.comparison import ComparisonView
from layerscope.tui.widgets.details.facts import FactsView
from layerscope.tui.widgets.details.life_list import LifeList

_TWO_COLUMNS = 84
_THREE_COLUMNS = 150
_LEAST_FACTS = 4


class DetailsBody(Container):
    """Life, content and facts; three columns, two (facts below the life), or one."""

    DEFAULT_CSS = """
    DetailsBody {
        layout: grid;
        height: 1fr;
        grid-gutter: 0 2;
        ComparisonView { border-left: vkey $frame; padding-left: 1; }
        FactsView { border-left: vkey $frame; padding-left: 1; }
        &.-ascii ComparisonView, &.-ascii FactsView { border-left: ascii $frame; }

        &.-three { grid-size: 3 1; grid-columns: 5fr 6fr 5fr; }
        &.-two { grid-size: 2 2; grid-columns: 1fr 1fr; }
        &.-two ComparisonView { row-span: 2; }
        &.-two FactsView { border-left: none; padding-left: 0; }
        &.-one { grid-size: 1 3; }
        &.-one ComparisonView, &.-one FactsView { border-left: none; padding-left: 0; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shares = ""

    def compose(self) -> ComposeResult:
        """The three parts."""
        yield LifeList()
        yield ComparisonView()
        yield FactsView()

    def on_mount(self) -> None:
        """Draw the lines between the parts with the app's signs."""
        self.set_class(look_of(self).glyphs.ascii_only, "-ascii")

    def show_life(self, rows: list[LifeRow], levels: int, cursor: int) -> None:
        """Show another life."""
        self.query_one(LifeList).show(rows, levels, cursor)
        self.share_height()

    def on_resize(self, event: Resize) -> None:
        """Take as many columns as fit."""
        width = event.size.width
        self.set_class(width >= _THREE_COLUMNS, "-three")
        self.set_class(_TWO_COLUMNS <= width < _THREE_COLUMNS, "-two")
        self.set_class(width < _TWO_COLUMNS, "-one")
        self.share_height()

    def share_height(self) -> None:
        """The life gets the lines that it needs, as long as there are some left for the others."""
        height = self.size.height
        rows = len(self.query_one(LifeList).rows) + 1
        if self.has_class("-three"):
            shares = "1fr"
        elif self.has_class("-two"):
            shares = f"{max(2, min(rows, height - _LEAST_FACTS // 2))} 1fr"
        else:
            shares = f"{max(2, min(rows, height // 3))} 1fr {max(_LEAST_FACTS, height // 4)}"
        if shares != self._shares:  # each change lays the screen out anew
            self._shares = shares
            self.styles.grid_rows = shares
