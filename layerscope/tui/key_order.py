"""Keys act one after the other: each finds the screen as the one before has left it.

Textual hands a key to what has the focus when the key is read, and acts on it only when it has come up from there to
the app. Of keys that come together (typed fast, over a slow line, pasted) all but the first would therefore reach what
had the focus before: a name typed right behind ``/`` would be taken for commands.
"""

from __future__ import annotations

import time
from collections import deque
from weakref import WeakSet

from textual.app import App, ReturnType
from textual.events import Event, Key, Paste
from textual.message_pump import MessagePump
from textual.screen import Screen

_ROUNDS = 3
"""How often all between the focus and the app must have done what it was told: a key, what that tells, what comes of
it."""
NEW_SCREEN_SECONDS = 0.15
"""How long keys wait for what a screen that has just come is reading: there is nothing yet for them to move on."""
_AGAIN_SECONDS = 0.005
_LOST_SECONDS = 1.0


class KeyOrderApp(App[ReturnType]):
    """Holds keys back while the last one is still being acted on.

    A screen may have ``keys_wait_seconds``: as long after a key the next ones wait at most, because the last one is
    about to change what they are meant for; 0 when it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys_to_come: deque[Key | Paste] = deque()
        self._number = 0
        self._acting = self._guarded = False
        self._begun = 0.0
        self._known_screens: WeakSet[Screen[object]] = WeakSet()

    async def on_event(self, event: Event) -> None:
        """Keep a key for later if it isn't its turn."""
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._acting:
            self._keys_to_come.append(event)
            if not self._guarded:
                self._guarded = True
                self.set_timer(_LOST_SECONDS, self._look_after)
        else:
            await self._act(event)

    async def _act(self, event: Key | Paste) -> None:
        self._number += 1
        self._acting, self._begun = True, time.monotonic()
        self._known_screens.update(self.screen_stack)
        try:
            await super().on_event(event)
        finally:
            self._follow(self._number, _ROUNDS)

    # ------------------------------------------------------------------ until a key has been acted on
    def _follow(self, number: int, rounds: int) -> None:
        """Go the way of a key once more, behind all that was said on it."""
        if number != self._number:
            return
        screen = self.screen_stack[-1] if self.screen_stack else None
        start = screen.focused or screen if screen is not None else None
        above: list[MessagePump] = [] if start is None else list(start.ancestors_with_self)
        self._climb(number, rounds, [one for one in above if one is not self])

    def _climb(self, number: int, rounds: int, above: list[MessagePump]) -> None:
        for index, pump in enumerate(above):
            if pump.is_attached and pump.call_later(self._climb, number, rounds, above[index + 1 :]):
                return
        self.call_later(self._arrived, number, rounds)

    async def _arrived(self, number: int, rounds: int) -> None:
        if number != self._number or not self._acting:
            return
        if rounds > 1:
            self._follow(number, rounds - 1)
        elif self._is_opening():
            self.set_timer(_AGAIN_SECONDS, lambda: self._follow(number, 1))
        else:
            await self._next()

    async def _next(self) -> None:
        self._acting = False
        if self._keys_to_come and not self._exit:
            await self._act(self._keys_to_come.popleft())

    async def _look_after(self) -> None:
        """What was to tell that a key is done may have been taken away with the widget that it had reached."""
        self._guarded = False
        if not self._acting:
            return
        if time.monotonic() - self._begun >= _LOST_SECONDS:
            await self._next()
        if self._keys_to_come:
            self._guarded = True
            self.set_timer(_LOST_SECONDS, self._look_after)

    # ------------------------------------------------------------------ what is about to come
    def _is_opening(self) -> bool:
        """Whether the last key's screen still reads what comes first, or is about to show something else."""
        screen = self.screen_stack[-1] if self.screen_stack else None
        if screen is None:
            return False
        seconds = float(getattr(screen, "keys_wait_seconds", 0.0))
        if not seconds and screen not in self._known_screens:
            reading = (worker for worker in self.workers if worker.is_running)
            seconds = NEW_SCREEN_SECONDS if any(screen in one.node.ancestors_with_self for one in reading) else 0.0
        return time.monotonic() - self._begun < seconds
