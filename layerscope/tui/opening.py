"""Opening a root on a thread, so that it is done while the terminal UI is still being imported."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from layerscope.services import Session
    from layerscope.tui.sources.first_look import FirstLook

Opener = Callable[[], "Session"]
_LINES_FOR_OTHERS = 15
_PATIENCE = 1.0
"""Seconds to wait for the first look: the layers of a compressed archive take longer, and the screen comes without."""


class Opened(NamedTuple):
    """A root, and what is to be seen of it first (None: to be read by the screen)."""

    session: Session
    first: FirstLook | None


def opener(root: Path | None) -> Opener:
    """What opens a root of which nothing but the path is said, once more with each call. It raises LayerscopeError."""

    def open_it() -> Session:
        from layerscope.services import open_root

        return open_root(root)

    return open_it


def open_aside(open_it: Opener) -> Future[Opened]:
    """Call an opener on a thread of its own, and read there what a screen of this terminal's size shows first.

    What can't be read soon is left to the screen, which tells that it is being read.
    """
    opened: Future[Opened] = Future()
    room = 2 * max(8, shutil.get_terminal_size((120, 40)).lines - _LINES_FOR_OTHERS)

    def give(session: Session, first: FirstLook | None) -> None:
        with suppress(InvalidStateError):  # the other came first
            opened.set_result(Opened(session, first))

    def run() -> None:
        try:
            session = open_it()
            from layerscope.tui.sources.first_look import first_look

            impatient = threading.Timer(_PATIENCE, give, (session, None))
            impatient.daemon = True
            impatient.start()
            give(session, first_look(session, room))
            impatient.cancel()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            with suppress(InvalidStateError):
                opened.set_exception(error)

    threading.Thread(target=run, name="open", daemon=True).start()
    return opened
