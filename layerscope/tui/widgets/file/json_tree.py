"""A JSON document as a tree that folds."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style

from layerscope.tui.look import Look
from layerscope.tui.sources.json_items import JsonItems, JsonKind, JsonRow, small_containers
from layerscope.tui.text import cell_len, crop
from layerscope.tui.widgets.rows.tree_rows import TreeRow, TreeRows
from layerscope.tui.widgets.rows.tree_view import TreeView

_UNFOLDED_AT_FIRST = 80
_ARROW = 2


class JsonTree(TreeView[JsonRow]):
    """Shows a JSON value; rows that hold ``wanted`` (lower case, "" = none) are marked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(TreeRows(lambda path: ()), id=id)
        self.items = JsonItems({})
        self.wanted = ""

    def show(self, value: object) -> None:
        """Show another document."""
        self.items = JsonItems(value)
        self.set_tree(TreeRows(self.items.children, small_containers(self.items, _UNFOLDED_AT_FIRST)))

    def mark(self, wanted: str) -> None:
        """Mark other rows."""
        self.wanted = wanted.lower()
        self.refresh_rows()

    def reveal(self, path: str) -> None:
        """Unfold what is above ``path``, and put the cursor on it."""
        parts = path.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if not above <= self.model.opened:
            self.model.opened |= above
            self.set_tree(TreeRows(self.items.children, self.model.opened))
        self.go_to(path)

    @property
    def current(self) -> TreeRow[JsonRow] | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def arrow_cell(self, row: TreeRow[JsonRow]) -> int | None:
        """The cell of the fold arrow."""
        return cell_len(self.lines_before(row, self.row_width // 2)) if row.foldable else None

    def draw_row(self, index: int, row: TreeRow[JsonRow], width: int) -> Iterable[Segment]:
        """Guides, arrow, key, value."""
        look, value = self.look, row.value
        guides = self.lines_before(row, width // 2)
        arrow = (look.glyphs.arrow_open if row.open else look.glyphs.arrow_closed) if row.foldable else " "
        yield Segment(guides, look.style("faint"))
        yield Segment(f"{arrow} ", look.style("muted"))
        key = look.text(str(value.key)) if value.key is not None else ""
        found = bool(self.wanted) and value.contains(self.wanted)
        mark = Style(underline=True, bold=True) if found else Style()
        yield Segment(key, look.style("muted" if isinstance(value.key, int) else "primary") + mark)
        yield Segment("  " if key else "")
        room = width - cell_len(guides) - _ARROW - cell_len(key) - 2
        text = look.text(value.text)
        text = f'"{text}"' if value.kind == "text" else text
        yield Segment(crop(text, max(0, room), ellipsis=look.glyphs.ellipsis), _style(value.kind, look) + mark)


def _style(kind: JsonKind, look: Look) -> Style:
    match kind:
        case "text":
            return look.style("added")
        case "number":
            return look.style("modified")
        case "word":
            return look.style("opaque")
        case _:
            return look.style("muted", italic=True)
