"""The line of keys at the bottom, in one piece: what the focused part and the screen offer right now.

Textual's own footer is a widget for each key, all of them made anew with every change of the focus; this draws a line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.widget import Widget

from layerscope.tui.text import cell_len

_LAST = ("app.help", "app.palette", "app.quit")


class KeyBar(Widget):
    """Shows the keys that have a name for the footer, as many as fit; help, palette and quit go last and stay."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar { height: 1; dock: bottom; background: $footer-background; color: $footer-description-foreground; }
    """

    def __init__(self, *, hidden: Collection[str] = (), id: str | None = None) -> None:
        """``hidden`` are the ids of keys that aren't to be shown."""
        super().__init__(id=id)
        self._hidden = frozenset(hidden)
        self._names: Mapping[str, str] = {}
        self._places: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, lambda screen: self.refresh())

    def rename(self, names: Mapping[str, str]) -> None:
        """Give keys other names here, by their ids: also to such that have none in the footer; "" hides one."""
        self._names = names
        self.refresh()

    def _word(self, binding: Binding) -> str:
        usual = binding.description if binding.show and binding.id not in self._hidden else ""
        return self._names.get(binding.id or "", usual)

    def _offered(self) -> list[Binding]:
        found: dict[str, Binding] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if active.enabled and self._word(binding):
                found.setdefault(binding.action, binding)
        return sorted(found.values(), key=lambda binding: binding.id in _LAST)

    def render(self) -> Content:
        """Key and name, one pair after the other."""
        width = self.size.width
        pairs = [(binding, self.app.get_key_display(binding), self._word(binding)) for binding in self._offered()]
        while len(pairs) > 1 and sum(map(_cells, pairs)) > width:
            droppable = [pair for pair in pairs if pair[0].id not in _LAST]
            pairs.remove((droppable or pairs)[-1])
        parts: list[tuple[str, str]] = []
        self._places = []
        used = 0
        for pair in pairs:
            binding, key, name = pair
            parts += [(" ", ""), (key, "bold $footer-key-foreground"), (f" {name} ", "")]
            self._places.append((used, used + _cells(pair), binding.key))
            used += _cells(pair)
        return Content.assemble(*_cut(parts, width))

    def on_click(self, event: events.Click) -> None:
        """Do what the key does."""
        for start, end, key in self._places:
            if start <= event.x < end:
                event.stop()
                self.app.simulate_key(key)
                return


def _cells(pair: tuple[Binding, str, str]) -> int:
    return cell_len(pair[1]) + cell_len(pair[2]) + 3


def _cut(parts: Iterable[tuple[str, str]], width: int) -> Iterable[tuple[str, str]]:
    for text, style in parts:
        yield text[: max(0, width)], style
        width -= cell_len(text)
