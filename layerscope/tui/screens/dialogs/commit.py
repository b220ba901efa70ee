"""The dialog before a commit: the image's name and config on the left, the layer to be made and its place on the right.

The layer's tar is made once without being kept, so that its sizes and its diff ID are known before anything is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import ClassVar

from msgspec.structs import replace
from textual import on, work
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea
from textual.worker import Worker

from layerscope.errors import LayerscopeError, UsageError
from layerscope.model.change import Change
from layerscope.model.container import Container
from layerscope.model.level import LevelCounts
from layerscope.services import Session
from layerscope.services.lab.preview import (
    Committed,
    NewLayer,
    Place,
    check_changes,
    check_name,
    commit,
    new_layer,
    place_of,
)
from layerscope.tui.look import look_of
from layerscope.tui.screens.dialogs.dialog import Dialog, Tick
from layerscope.tui.screens.dialogs.field import Field
from layerscope.tui.widgets.details.change_list import ChangeList
from layerscope.tui.widgets.frame.reading import read_on_thread
from layerscope.tui.widgets.stack.layer_sums import LayerSums
from layerscope.tui.widgets.stack.preview import StackPreview, counts_of, new_block, old_blocks

_TYPING = 0.15
_MOST_LISTED = 50_000


def _in_image(change: Change, number: int) -> Change:
    """A change by the levels of the image to be, which has no init layer."""
    below = change.level_below
    return replace(change, level=number, level_below=below if below is not None and below < number else None)


class CommitDialog(Dialog[Committed]):
    """Asks how the image is to be called and configured; ends with what was made."""

    ACCEPT: ClassVar[str] = "Commit"

    def __init__(self, session: Session, container: Container) -> None:
        super().__init__()
        self.session = session
        self.container = container
        self.place: Place | None = None
        self.counts: LevelCounts | None = None
        self.made: NewLayer | None = None
        self._preview: Worker[None] | None = None
        self._name_note = ""
        self._name_wrong = ""

    def title_text(self) -> str:
        """Of which container."""
        return f"Commit {self.container.name or self.container.id[:12]}"

    def key_words(self) -> tuple[str, ...]:
        """The keys."""
        return ("enter or ^s commit", "esc cancel")

    def fields(self) -> Iterable[Widget]:
        """The form, the changes; the stack beside them."""
        with Horizontal(id="halves"):
            with Vertical(id="left"):
                yield Field("image", placeholder="repository:tag", id="name")
                yield Field("author", placeholder="Ada <ada@example.org>", id="author")
                yield Field("message", placeholder="what this layer is for", id="message")
                with Horizontal(id="changes"):
                    yield Static("changes", markup=False)
                    yield TextArea(placeholder="ENV A=1 or CMD sh; one a line", show_line_numbers=False, compact=True)
                yield LayerSums(id="sums")
                yield ChangeList(id="listed")
            with Vertical(id="right"):
                yield StackPreview(id="preview")

    def on_mount(self) -> None:
        """Find out what the layer would be."""
        super().on_mount()
        right = self.query_one("#right")
        right.set_class(look_of(self).glyphs.ascii_only, "-ascii")
        right.border_title = "The new image"
        self._preview = self._look()
        self._check_name("", 0.0)

    # ------------------------------------------------------------------ the layer to be made
    @work(exclusive=True, group="preview")
    async def _look(self) -> None:
        """First the changes and the place, which are known at once, then the layer's bytes."""
        sums = self.query_one(LayerSums)

        def show_progress(count: int) -> None:
            sums.packed = count

        try:
            self.place = place = await asyncio.to_thread(place_of, self.session, self.container)
            self.counts = sums.counts = await asyncio.to_thread(counts_of, self.session, self.container)
            self._show_place(place)
            path, identity = self.session.path, self.container.id
            self.made = await read_on_thread(lambda tick: new_layer(path, identity, tick), show_progress)
        except LayerscopeError as error:
            sums.error = str(error)
            return
        sums.made = self.made
        preview = self.query_one(StackPreview)
        if self.made.diff_id is None:
            preview.show([block for block in preview.blocks if block.number != place.number], place.number - 1)
        else:
            preview.replace(new_block(place, self.counts, self.made, self._layer_title()))

    def _show_place(self, place: Place) -> None:
        listing = self.query_one(ChangeList)
        listing.levels = place.number
        listing.set_rows([_in_image(change, place.number) for change in place.changes[:_MOST_LISTED]], 0)
        self.query_one(LayerSums).place = place
        blocks = [
            new_block(place, self.counts, None, self._layer_title()),
            *old_blocks(self.session, self.container, place),
        ]
        self.query_one(StackPreview).show(blocks, place.number)

    def _layer_title(self) -> str:
        return self.value("message") or f"what {self.container.name or self.container.id[:12]} changed"

    async def before_job(self) -> None:
        """The tar isn't made twice at a time."""
        if self._preview is not None and self._preview.is_running:
            self._preview.cancel()

    # ------------------------------------------------------------------ what is typed
    @on(Input.Changed)
    def follow_text(self, event: Input.Changed) -> None:
        """The name is looked up, the message stands in the new block."""
        field = event.input.parent
        if field is not None and field.id == "name":
            self._check_name(event.value, _TYPING)
        elif field is not None and field.id == "message" and self.place is not None:
            block = new_block(self.place, self.counts, self.made, self._layer_title())
            self.query_one(StackPreview).replace(block)

    @work(exclusive=True, group="name")
    async def _check_name(self, name: str, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            self._name_note, self._name_wrong = await asyncio.to_thread(check_name, self.session, name), ""
        except LayerscopeError as error:
            self._name_note, self._name_wrong = "", str(error)
        self.reviewed()

    def review(self) -> str:
        """What is wrong with the name or the instructions."""
        check_changes(self.container, self._lines())
        if self._name_wrong:
            raise UsageError(self._name_wrong)
        return self._name_note

    def _lines(self) -> list[str]:
        return [line for line in self.query_one(TextArea).text.splitlines() if line.strip()]

    def job(self) -> Callable[[Tick], Committed]:
        """Commit it."""
        path, identity, lines = self.session.path, self.container.id, self._lines()
        name, author, message = (self.value(field) for field in ("name", "author", "message"))
        return lambda tick: commit(
            path, identity, name.strip(), author=author, message=message, changes=lines, tick=tick
        )
