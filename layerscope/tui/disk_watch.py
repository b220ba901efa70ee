"""Follows what changes on disk, on a thread of its own that ends with the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from layerscope.errors import LayerscopeError
from layerscope.model.level import Level
from layerscope.services import Session

if TYPE_CHECKING:
    from layerscope.services.watch import Moved

_FIRST_FRAME_SECONDS = 0.5


class DiskWatch:
    """Watches one root and the writable layer of one container at a time."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def start(self, session: Session, levels: tuple[Level, ...], tell: Callable[[Moved], object]) -> None:
        """Watch this instead of what was watched before; ``tell`` is called on the thread."""
        self.stop()
        stop = self._stop = threading.Event()

        def run() -> None:
            stop.wait(_FIRST_FRAME_SECONDS)  # nothing of this is needed for the first look
            from layerscope.services.watch import watch

            try:
                for moved in watch(session, levels, stop):
                    if stop.is_set():
                        return
                    tell(moved)
            except (OSError, LayerscopeError, ImportError):  # then it is read again by hand
                return

        # A daemon thread: quitting doesn't wait for the kernel.
        threading.Thread(target=run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """End watching."""
        self._stop.set()
