"""The command palette: every action by what it does, with its key."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from layerscope.tui.keys import KEYS, Key
from layerscope.tui.look import look_of
from layerscope.tui.text import fit

if TYPE_CHECKING:
    from textual.app import App

_PLACES = frozenset({"app", "screen", "view", "lab"})
_LEFT_OUT = frozenset({"app.palette", "screen.back"})
_KEY_CELLS = 9


class KeyCommands(Provider):
    """The actions of the app and of the screen in the order of the key table, panes last, then the themes."""

    async def discover(self) -> Hits:
        """All of them."""
        for key in self._keys():
            yield DiscoveryHit(self._line(key, Content(key.description)), partial(_run, self.app, key), key.description)
        yield DiscoveryHit(self._line(None, Content(_THEME)), self.app.search_themes, _THEME)

    async def search(self, query: str) -> Hits:
        """Those whose description matches."""
        matcher = self.matcher(query)
        for key in self._keys():
            score = matcher.match(key.description)
            if score > 0:
                line = self._line(key, matcher.highlight(key.description))
                yield Hit(score, line, partial(_run, self.app, key), key.description)
        score = matcher.match(_THEME)
        if score > 0:
            yield Hit(score, self._line(None, matcher.highlight(_THEME)), self.app.search_themes, _THEME)

    def _keys(self) -> Iterator[Key]:
        offered = {active.binding.id for active in self.screen.active_bindings.values() if active.enabled}
        found = (key for key in KEYS if key.where in _PLACES and key.id in offered and key.id not in _LEFT_OUT)
        return iter(sorted(found, key=lambda key: key.group == "Panes"))

    def _line(self, key: Key | None, text: Content) -> Content:
        shown = ""
        for active in self.screen.active_bindings.values():
            if key is not None and active.binding.id == key.id:
                shown = self.app.get_key_display(active.binding)
                break
        shown = fit(shown, _KEY_CELLS, ellipsis=look_of(self.screen).glyphs.ellipsis, align="right")
        return Content.assemble((shown, "$accent not bold"), "  ", text)


_THEME = "Choose another theme"


async def _run(app: App[object], key: Key) -> None:
    await app.run_action(key.action, app if key.where == "app" else app.screen)
