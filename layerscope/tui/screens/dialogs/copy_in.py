"""Asking what to copy into a container from this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual.suggester import Suggester
from textual.widget import Widget

from layerscope.errors import UsageError
from layerscope.services.lab.changes import copy_in, path_of
from layerscope.tui.screens.dialogs.changed import Changed
from layerscope.tui.screens.dialogs.dialog import Dialog, Tick
from layerscope.tui.screens.dialogs.field import Field, typable
from layerscope.tui.text import escape

_MOST_NAMES = 20_000


class HostPaths(Suggester):
    """Completes paths of this machine, directories with a slash. The right arrow takes what is suggested."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """The first name in byte order that begins with what was typed."""
        return await asyncio.to_thread(_completed, value) if value else None


def _completed(typed: str) -> str | None:
    folder, _, start = os.path.expanduser(typed).rpartition("/")
    try:
        with os.scandir((folder + "/") if "/" in typed else ".") as found:
            fitting = (entry for _, entry in zip(range(_MOST_NAMES), found, strict=False))
            best = min((e for e in fitting if e.name.startswith(start)), key=lambda e: e.name, default=None)
            if best is None or not best.name.isprintable() or (not start and best.name.startswith(".")):
                return None
            return typed + best.name[len(start) :] + ("/" if best.is_dir() else "")
    except OSError:
        return None


class CopyInDialog(Dialog[Changed]):
    """Asks for a path of this machine, and where it goes."""

    TITLE_TEXT = "Copy in from this machine"
    ACCEPT: ClassVar[str] = "Copy"

    def __init__(self, root: Path, container: str, folder: str) -> None:
        super().__init__()
        self._root = root
        self._container = container
        self._folder = folder

    def fields(self) -> Iterable[Widget]:
        """From and to."""
        yield Field("from", placeholder="~/site/index.html, or a directory", suggester=HostPaths(), id="source")
        folder = f"/{self._folder}".rstrip("/") + "/"
        yield Field("to", typable(folder), placeholder=escape(folder), id="target")

    def _source(self) -> Path:
        text = self.value("source")
        if not text or "\0" in text:
            raise UsageError("a path of this machine is needed")
        return Path(os.path.expanduser(text))

    def review(self) -> str:
        """What would be copied. The disk isn't asked: that may take its time."""
        if not self.value("source"):
            return "modes and times are kept, the owner is root; the right arrow takes what is suggested"
        target = self.value("target")
        into = " into" if not target or target.endswith("/") else " as"
        return f"{escape(str(self._source()))}{into} /{escape(self._target())}"

    def _target(self) -> str:
        text = self.value("target")
        if not text:
            return self._folder
        return "" if not text.strip("/") else path_of("", text)

    def job(self) -> Callable[[Tick], Changed]:
        """Copy it."""
        source, target = self._source(), self._target()

        def work(tick: Tick) -> Changed:
            if not os.path.lexists(source):
                raise UsageError(f"{escape(str(source))}: there is no such file or directory on this machine")
            path = copy_in(self._root, self._container, source, target, tick)
            return Changed((path,), path, f"copied {escape(str(source))} to /{escape(path)}")

        return work
