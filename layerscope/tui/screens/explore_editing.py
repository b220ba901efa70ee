"""The key of Explore that lends the terminal to the user's editor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from textual import work

from layerscope.errors import LayerscopeError, UsageError
from layerscope.tui.screens.explore_writing import ExploreWriting, Spot
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.text import escape


class ExploreEditing(ExploreWriting):
    """A private copy is edited, and written back through the overlay only if it was changed."""

    @work(exclusive=True, group="write")
    async def action_edit(self) -> None:
        """Edit a file in the user's editor."""
        spot = await self._spot(True)
        if spot is None or spot.row is None:
            return
        try:
            await self._edit(spot, spot.row)
        except (LayerscopeError, OSError) as error:
            self.notify(str(error), severity="error", markup=False)

    async def _edit(self, spot: Spot, row: FileRow) -> None:
        from layerscope.services.lab.changes import MOST_EDITED, read_for_editing, write
        from layerscope.tui.editing import PrivateCopy, editor_of

        path = spot.path
        if row.target is not None:
            raise UsageError(f"/{escape(path)} is a symlink: edit what it leads to, {escape(row.target)}")
        if row.is_dir:
            raise UsageError(f"/{escape(path)} is a directory: there is nothing to edit")
        assert self.stack is not None
        editor = editor_of(os.environ)
        before = await asyncio.to_thread(read_for_editing, self.session, self.stack.subject, path)
        copy = await asyncio.to_thread(PrivateCopy, path.rpartition("/")[2], before)
        try:
            copy.edit(editor, self._terminal())  # the screen is the editor's, so nothing else is to go on
            after = await asyncio.to_thread(copy.read, MOST_EDITED)
        except BaseException:
            copy.remove()
            raise
        if after == before:
            copy.remove()
            self.notify(f"/{escape(path)} is as it was", markup=False)
            return
        try:
            await asyncio.to_thread(write, self.session.path, spot.container.id, path, after, before)
        except LayerscopeError as error:
            raise UsageError(f"{error}; your text is kept in {copy.path}") from None
        copy.remove()
        await self._show((path,), path, f"wrote /{escape(path)}")

    @contextmanager
    def _terminal(self) -> Iterator[None]:
        from textual.app import SuspendNotSupported

        try:
            with self.app.suspend():
                yield
        except SuspendNotSupported:
            raise UsageError("this terminal can't be lent to an editor") from None
