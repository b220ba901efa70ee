"""Opening a root on a thread, so that it is done while the terminal UI is still being imported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerscope.services import Session

Opener = Callable[[], "Session"]


def opener(root: Path | None, driver: str | None = None, xattr_prefix: str | None = None) -> Opener:
    """What opens the root, once more with each call. It raises LayerscopeError."""

    def open_it() -> Session:
        from layerscope.services import open_root

        session = open_root(root, driver=driver, xattr_prefix=xattr_prefix)
        session.containers(sizes=False)  # read now what the first look needs: a session keeps its records
        session.images()
        return session

    return open_it


def open_aside(open_it: Opener) -> Future[Session]:
    """Call an opener on a thread of its own."""
    opened: Future[Session] = Future()

    def run() -> None:
        try:
            opened.set_result(open_it())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            opened.set_exception(error)

    threading.Thread(target=run, name="open", daemon=True).start()
    return opened
