"""The terminal UI: opens a root and shows it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import on, work
from textual.binding import BindingType
from textual.command import Provider
from textual.screen import Screen

from layerscope.errors import LayerscopeError
from layerscope.services import Session
from layerscope.tui.background import first_look_is_there, return_memory
from layerscope.tui.keys import bindings
from layerscope.tui.look import LookApp
from layerscope.tui.opening import Opened, Opener, open_aside, opener
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.screens.unopened import UnopenedScreen
from layerscope.tui.theme import DEFAULT_THEME
from layerscope.tui.widgets.frame.header import HeaderBar

if TYPE_CHECKING:
    from layerscope.tui.screens.disk import DiskScreen

_WIDTHS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]
_HEIGHTS = [(0, "-low"), (20, "-short"), (32, "-tall")]
_STYLES: list[str | PurePath] = [
    "explore.tcss",
    "palette.tcss",
    "dialogs.tcss",
]  # here, since Textual doesn't read those of a first screen
_ScreenT = TypeVar("_ScreenT", bound=Screen[None])
_THREADS = 16
_USUALLY_OPEN_SECONDS = 0.1


def _key_commands() -> type[Provider]:
    from layerscope.tui.commands import KeyCommands

    return KeyCommands


_COMMANDS: set[type[Provider] | Callable[[], type[Provider]]] = {_key_commands}


class LayerscopeApp(LookApp[int]):
    """One root on the screen. Ends with the exit code of the command."""

    TITLE = "layerscope"
    CSS_PATH = _STYLES
    COMMANDS = _COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS

    def __init__(
        self,
        root: Path | None = None,
        open_it: Opener | None = None,
        opened: Future[Opened] | None = None,
        *,
        ascii_only: bool = False,
        theme: str = DEFAULT_THEME,
        settings: Path | None = None,
        live: bool = True,
        shown_path: str | None = None,
        read_only: bool = False,
    ) -> None:
        """Args:
        root: Where; None: the first of the usual places.
        open_it: Opens it (None: with nothing but the path).
        opened: What that gave, or will give soon, if it was called already.
        ascii_only: Draw with ASCII alone.
        theme: The name of a theme; an unknown one gives the default.
        settings: The folder of the user's themes and keys (None: the usual one).
        live: Follow what changes on disk.
        shown_path: What the header calls the root (None: its path).
        read_only: Never change anything, not even in a lab.
        """
        super().__init__(ascii_only=ascii_only, theme=theme, settings=settings)
        self.root_path = root
        self.live = live
        self.shown_path = shown_path
        self.read_only = read_only
        self.session: Session | None = None
        self._left: list[Session] = []
        self._disk: DiskScreen | None = None
        self._exit_code = 0
        self._open = open_it or opener(root)
        self._opened = opened or open_aside(self._open)

    async def on_load(self) -> None:
        """Threads enough: one that waits for a slow disk must not hold up the others."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="reader"))

    def get_default_screen(self) -> Screen[None]:
        """The root, if it opens at once; else what says that it is being opened."""
        try:
            return self._screen_for(self._opened.result(_USUALLY_OPEN_SECONDS))
        except TimeoutError:
            return UnopenedScreen(None, self.root_path)
        except LayerscopeError as error:
            return self._unopened(error)

    def _screen_for(self, opened: Opened) -> Screen[None]:
        self.session = opened.session
        self._exit_code = 0
        return self._fitted(ExploreScreen(opened, self.shown_path, self.live, self.read_only))

    def _fitted(self, screen: _ScreenT) -> _ScreenT:
        """The same, laid out for this size from the first frame on: Textual sets these classes only after that."""
        for limits, cells in ((_WIDTHS, self.size.width), (_HEIGHTS, self.size.height)):
            screen.add_class(next(name for least, name in reversed(limits) if cells >= least))
        return screen

    def _unopened(self, error: LayerscopeError) -> Screen[None]:
        self._exit_code = error.exit_code
        return UnopenedScreen(error, self.root_path)

    def on_mount(self) -> None:
        """Wait for a slow root; tell which settings of the user's could not be used."""
        if not isinstance(self.screen, ExploreScreen):
            gc.enable()
            if isinstance(self.screen, UnopenedScreen) and self.screen.error is None:
                self._wait()  # also if it has been opened since it was asked for
        for problem in self.start_problems:
            self.tell(problem)

    def on_unmount(self) -> None:
        """Give the root back."""
        for session in (self.session, *self._left):
            if session is not None:
                session.close()

    @on(UnopenedScreen.TryAgain)
    def try_again(self) -> None:
        """Try to open the root once more."""
        self._opened = open_aside(self._open)
        self._wait()

    @work(exclusive=True, group="open")
    async def _wait(self) -> None:
        """Show the root as soon as it is open, or why it isn't."""
        try:
            screen = self._screen_for(await asyncio.wrap_future(self._opened))
        except LayerscopeError as error:
            screen = self._unopened(error)
        # Textual's first screen can't be replaced, so this one covers it.
        await (self.switch_screen(screen) if len(self.screen_stack) > 1 else self.push_screen(screen))

    @on(ExploreScreen.FirstLook)
    def started(self) -> None:
        """Everything is there that stays for good: look for garbage among the rest from now on."""
        first_look_is_there()
        gc.freeze()
        gc.enable()
        return_memory()

    @on(ExploreScreen.ReadAgain)
    def read_again(self, event: ExploreScreen.ReadAgain) -> None:
        """Open the root anew: a session reads its records once."""
        self._reopen(event.screen_to_tell)

    @work(exclusive=True, group="open")
    async def _reopen(self, screen: ExploreScreen) -> None:
        try:
            session = await asyncio.to_thread(self._open)
        except LayerscopeError as error:
            self.notify(str(error), title="cannot read it again", severity="error", markup=False)
            return
        old, self.session = self.session, session
        screen.show_session(session)
        if old is not None:
            self._left.append(old)
        if self.screen is screen:  # else one that lies over it still reads from the last session
            while self._left:
                self._left.pop().close()

    # ------------------------------------------------------------------ actions
    async def action_quit(self) -> None:
        """Leave, with an exit code that tells whether there was a root."""
        self.exit(return_code=self._exit_code)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Modes are gone to from modes only, not from what lies over one."""
        if action != "mode":
            return True
        below = next((one for one in reversed(self.screen_stack) if not one.is_modal), None)  # the palette asks too
        if isinstance(below, ExploreScreen):
            return parameters == ("disk",)
        return below is not None and below is self._disk and parameters == ("explore",)

    def action_mode(self, mode: str) -> None:
        """Go to another mode."""
        if mode == "disk" and isinstance(self.screen, ExploreScreen):
            self._go_to_disk(self.screen.query_one(HeaderBar))
        elif mode == "explore" and self._disk is not None and self.screen is self._disk:
            self.pop_screen()

    def _go_to_disk(self, header: HeaderBar) -> None:
        """Show the ledger: the one that was counted already, if there is one."""
        from layerscope.tui.screens.disk import DiskScreen

        if self._disk is None:
            self._disk = self._fitted(DiskScreen(self._session_now, lambda: header.line))
            self.install_screen(self._disk, "disk")
        self.push_screen(self._disk)

    def _session_now(self) -> Session:
        assert self.session is not None
        return self.session

    def action_help(self) -> None:
        """List all keys."""
        from layerscope.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen())
