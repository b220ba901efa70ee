"""The base of dialogs: a frame over the dimmed screen, lines to fill in, one line of what is wrong, two buttons.

What is typed is reviewed with each key; Enter does it, on a thread; Escape cancels, also what is being done. An error
is told in the dialog, which stays open.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import ClassVar, Generic, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Checkbox, Input, Static, TextArea

from layerscope.errors import LayerscopeError, UsageError
from layerscope.tui.keys import picked
from layerscope.tui.look import look_of
from layerscope.tui.screens.dialogs.field import Field

ResultT = TypeVar("ResultT")
Tick = Callable[[], None]


_JOB_SECONDS = 0.5
"""How long keys wait for a job: what is typed right behind Enter is meant for the screen below."""


class JobStopped(Exception):
    """Raised on the thread by a tick after Escape."""


class Dialog(ModalScreen[ResultT | None], Generic[ResultT]):
    """Ends with what the job gave, or None. ``worked`` tells whether a job was begun, to whatever end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(("screen.back", "Cancel", "cancel")),
        Binding("ctrl+s", "accept", "Do it", show=False, id="dialog.accept"),
    ]
    TITLE_TEXT: ClassVar[str] = ""
    ACCEPT: ClassVar[str] = "OK"

    def __init__(self) -> None:
        super().__init__()
        self.worked = False
        self._stop = threading.Event()
        self._busy = self._failed = False
        self._wrong = ""

    @property
    def keys_wait_seconds(self) -> float:
        """How long keys wait for what is being done, as :class:`layerscope.tui.key_order.KeyOrderApp` asks."""
        return _JOB_SECONDS if self._busy else 0.0

    # ------------------------------------------------------------------ to be filled in
    def fields(self) -> Iterable[Widget]:
        """What is asked."""
        return ()

    def review(self) -> str:
        """A line on what would be done now. Fast: it is asked for with each key.

        Raises:
            UsageError: that can't be done; the text says why.
        """
        return ""

    def job(self) -> Callable[[Tick], ResultT]:
        """What is to be done, on a thread; may call its tick, which stops it."""
        raise NotImplementedError

    # ------------------------------------------------------------------ drawing
    def compose(self) -> ComposeResult:
        """Frame, fields, the line, the buttons."""
        with Vertical(id="frame"):
            yield from self.fields()
            yield Static("", id="said", markup=False)
            with Horizontal(id="buttons"):
                yield Button(self.ACCEPT, id="accept", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
                yield Static("", id="keys", markup=False)

    def on_mount(self) -> None:
        """Draw the frame with the app's signs."""
        look = look_of(self)
        frame = self.query_one("#frame")
        frame.set_class(look.glyphs.ascii_only, "-ascii")
        frame.border_title = look.text(self.title_text())
        for button in self.query(Button):
            button.active_effect_duration = 0  # while it lasts, Enter would do nothing
        dot = f" {look.glyphs.separator} "
        self.query_one("#keys", Static).update(dot.join(self.key_words()))
        self.reviewed()

    def title_text(self) -> str:
        """What stands in the frame; raw."""
        return self.TITLE_TEXT

    def key_words(self) -> tuple[str, ...]:
        """The keys, in words."""
        return (f"enter {self.ACCEPT.lower()}", "esc cancel")

    def value(self, name: str) -> str:
        """What was typed into a field."""
        return self.query_one(f"#{name}", Field).value

    # ------------------------------------------------------------------ the line below
    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Checkbox.Changed)
    def typed(self) -> None:
        """Tell of what is typed now; an error was about what was typed before."""
        self._failed = False
        self.reviewed()

    def reviewed(self) -> None:
        """Tell of what is typed, unless there is an error to be read, or the dialog is being taken apart."""
        if self._busy or self._failed or not self.query("#accept"):
            return
        try:
            note, self._wrong = self.review(), ""
        except UsageError as error:
            note = self._wrong = str(error)
        self.query_one("#accept", Button).disabled = bool(self._wrong)
        self.tell(note, "-wrong" if self._wrong else "")

    def tell(self, text: str, look: str = "") -> None:
        """Show a line; ``look`` is ``-wrong``, ``-error`` or ``-busy``. Names in it are escaped already."""
        said = self.query_one("#said", Static)
        glyphs = look_of(self).glyphs
        sign = f"{glyphs.dots['problem']} " if look in ("-wrong", "-error") and text else ""
        said.update(sign + text)
        for name in ("-wrong", "-error", "-busy"):
            said.set_class(name == look, name)

    # ------------------------------------------------------------------ doing it
    @on(Input.Submitted)
    @on(Button.Pressed, "#accept")
    def action_accept(self) -> None:
        """Do it, unless something is wrong."""
        if self._busy:
            return
        self.typed()
        if not self._wrong:
            self._work(self.job())

    @work(exclusive=True, group="job")
    async def _work(self, job: Callable[[Tick], ResultT]) -> None:
        self._busy = self.worked = True
        self._stop.clear()
        self.set_class(True, "-busy")
        self.tell(f"working{look_of(self).glyphs.ellipsis}", "-busy")

        def tick() -> None:
            if self._stop.is_set():
                raise JobStopped

        await self.before_job()
        try:
            result = await asyncio.to_thread(job, tick)
        except JobStopped:
            self.dismiss(None)
            return
        except LayerscopeError as error:
            self.failed(str(error))
            return
        self.dismiss(result)

    async def before_job(self) -> None:
        """Whatever must end before."""

    def failed(self, text: str) -> None:
        """Tell an error; the dialog can be used again."""
        self._busy, self._failed = False, True
        self.set_class(False, "-busy")
        self.tell(text, "-error")

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        """Stop what is being done, and leave."""
        if not self._busy:
            self.dismiss(None)
        elif not self._stop.is_set():
            self._stop.set()
            self.tell(f"stopping{look_of(self).glyphs.ellipsis}", "-busy")

    def on_unmount(self) -> None:
        """Nobody waits any more."""
        self._stop.set()
