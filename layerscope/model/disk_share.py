"""What a level takes on disk, where the file system below knows which bytes it shares with others."""

from __future__ import annotations

from msgspec import Struct


class DiskShare(Struct, frozen=True):
    """Bytes on disk of one level of whole trees; None where it isn't told.

    ``referenced``: all that its tree reaches, shared with other levels or not. ``exclusive``: what it alone holds.
    ``written``: what was written since it was cloned from the level below, in it and on the way to it.
    """

    referenced: int | None = None
    exclusive: int | None = None
    written: int | None = None
