"""The layer to be made, in three lines: docker's list of changes, its size and what it holds, its tar and diff ID."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from layerscope.model.digest import hex_of
from layerscope.model.level import LevelCounts
from layerscope.services.lab.preview import NewLayer, Place
from layerscope.tui.glyphs import MARK_LOOKS
from layerscope.tui.look import look_of
from layerscope.tui.sources.change_rows import count_changes
from layerscope.tui.units import size_text
from layerscope.tui.widgets.stack.preview import marks_of

Part = tuple[str, str]
_ID_DIGITS = 12
_WIDE = 52


class LayerSums(Widget):
    """Says what is known of a layer until now."""

    DEFAULT_CSS = """
    LayerSums { height: 3; color: $muted; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    place: reactive[Place | None] = reactive(None)
    counts: reactive[LevelCounts | None] = reactive(None)
    """What the layer will hold."""
    made: reactive[NewLayer | None] = reactive(None)
    packed: reactive[int] = reactive(0)
    """Bytes of the tar until now."""
    error: reactive[str] = reactive("")

    def render(self) -> Content:
        """The three lines."""
        lines = [self._changes(), self._layer(), self._tar()]
        return Content("\n").join(Content.assemble(*line) for line in lines)

    def _changes(self) -> list[Part]:
        if self.place is None:
            return []
        glyphs, total = look_of(self).glyphs, len(self.place.changes)
        counts = count_changes(self.place.changes)
        parts: list[Part] = [(f"{total:,}", "bold $foreground"), (" change " if total == 1 else " changes ", "")]
        parts.append((f"  A {counts.added:,}  C {counts.changed:,}  D {counts.deleted:,}", ""))
        if self.size.width >= _WIDE:
            parts.append((f" {glyphs.separator} as docker diff lists them", ""))
        return parts

    def _layer(self) -> list[Part]:
        glyphs, layer = look_of(self).glyphs, self.made
        if self.error:
            return [(f"{glyphs.dots['problem']} {self.error}", "$error")]
        if layer is None:
            return [(f"packing{glyphs.ellipsis} {size_text(self.packed)}", "")]
        if layer.diff_id is None:
            more = ": no new layer, only the config" if self.size.width >= _WIDE else ": no new layer"
            return [(f"nothing has changed{more}", "$warning")]
        parts: list[Part] = [("layer ", ""), (size_text(layer.size), "bold $foreground"), (" ", "")]
        for mark, count in marks_of(self.counts) if self.counts is not None else ():
            parts.append((f"  {glyphs.marks[mark]}{count:,}", f"${MARK_LOOKS[mark].color}"))
        return parts

    def _tar(self) -> list[Part]:
        glyphs, layer = look_of(self).glyphs, self.made
        if layer is None or layer.diff_id is None:
            return []
        parts: list[Part] = [("tar ", ""), (size_text(layer.tar_bytes), "bold $foreground")]
        parts.append((f" {glyphs.separator} sha256:{hex_of(layer.diff_id)[:_ID_DIGITS]}", ""))
        if layer.problems:
            parts.append((f"  {glyphs.dots['problem']} {look_of(self).text(layer.problems[0].what)}", "$warning"))
        return parts
