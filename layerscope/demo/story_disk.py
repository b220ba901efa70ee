"""The disk of a story: what is new gets its name and its time from the story, so that each telling is the same."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from hashlib import sha256
from typing import BinaryIO

from layerscope.hostfs import Directory
from layerscope.lab.root.disk import Disk


class StoryDisk(Disk):
    """Steps in a root that nobody else can see yet: it appears by a rename, so no step is brought to the disk alone."""

    def __init__(self, top: Directory) -> None:
        super().__init__(top)
        self._chapter = ""
        self._count = 0
        self.moment = datetime.fromtimestamp(0, UTC)

    def turn_to(self, chapter: str, moment: datetime) -> None:
        """What follows happens at ``moment``. What is new in it is named by the chapter, whatever other ones hold."""
        self._chapter, self._count, self.moment = chapter, 0, moment

    def new_id(self) -> str:
        """64 hexadecimal digits: the next ones of this chapter."""
        return self._next().hex()

    def new_short_name(self) -> str:
        """26 characters A-Z2-7: the next ones of this chapter."""
        return base64.b32encode(self._next()).decode()[:26]

    def now(self) -> str:
        """The chapter's time as docker writes it."""
        return f"{self.moment:%Y-%m-%dT%H:%M:%S}.417260913Z"

    def _next(self) -> bytes:
        self._count += 1
        return sha256(f"layerscope demo, {self._chapter}, {self._count}".encode()).digest()

    # ------------------------------------------------------------------ to the disk
    @staticmethod
    def finish(file: BinaryIO) -> None:
        """Close a file."""
        file.close()

    def sync(self) -> None:
        """Nothing: the whole root comes at once."""

    def sync_directory(self, path: str) -> None:
        """Nothing, as :meth:`sync`."""
