"""Pane 1: the containers and images of a root, listed at once and measured afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.worker import get_current_worker

from layerscope.errors import LayerscopeError
from layerscope.services import Session
from layerscope.tui.background import LANE, wait_for_first_look
from layerscope.tui.sources.entities import EntityRow, first_subject
from layerscope.tui.sources.records import Records, read_records
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Empty, Failure, why_not


class EntitiesPane(Pane):
    """Reads the records on a thread."""

    class RecordsRead(Message):
        """The records were read and are listed."""

        def __init__(self, records: Records) -> None:
            super().__init__()
            self.records = records

    class RecordsUnread(Message):
        """The records could not be read."""

    class Measured(Message):
        """The size of a container is known."""

        def __init__(self, row: EntityRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(title="Containers & images", number=1, id=id)

    def compose(self) -> ComposeResult:
        """The list."""
        yield EntityList(id="list")

    @property
    def entities(self) -> EntityList:
        """The list."""
        return self.query_one(EntityList)

    def glimpse(self, session: Session, rows: Sequence[EntityRow]) -> None:
        """List what was glimpsed, then what the records tell, with the cursor where it is by then."""
        self.entities.show(list(rows), rows[first_subject(rows)].key)
        self.show(session, None)

    @work(exclusive=True, group="records")
    async def show(self, session: Session, key: str | None) -> None:
        """List what the records tell, with the cursor where it is by then.

        If it is nowhere, or ``key`` is of something new, it goes to the subject of that key, else to the first.
        """
        try:
            records = await asyncio.to_thread(read_records, session)
        except (LayerscopeError, OSError) as error:
            self.state = Failure(why_not("read the records", error))
            self.post_message(self.RecordsUnread())
            return
        entities = self.entities
        if entities.rows and (key is None or any(row.key == key for row in entities.rows)):
            key = entities.rows[entities.cursor].key
        self.take(session, records, key or "")

    def take(self, session: Session, records: Records, key: str) -> None:
        """List what was read already."""
        rows = list(records.rows)
        hint = "; layerscope load, import and build make images" if records.writable else ""
        if rows:
            self.state = None
        else:
            told = f"this root has no containers and no images{hint}"
            self.state = Empty("nothing here yet", told, (("f3", "what is on disk"),))
        if rows and key not in {row.key for row in rows}:
            key = rows[first_subject(rows)].key
        self.entities.show(rows, key)
        self.post_message(self.RecordsRead(records))
        self.measure(session)

    @work(thread=True, exclusive=True, group="sizes")
    def measure(self, session: Session, again: str = "") -> None:
        """Measure the containers that weren't, and the one with the key ``again``."""
        worker = get_current_worker()
        wait_for_first_look()
        entities = self.entities
        for row in list(entities.rows):
            container = row.subject.container if row.subject is not None else None
            if container is None or (row.size is not None and row.key != again):
                continue
            try:
                with LANE:
                    size = session.measured(container, lambda: worker.is_cancelled).size_rw
            except (LayerscopeError, OSError):
                continue
            if worker.is_cancelled:
                return
            self.post_message(self.Measured(replace(row, size=size)))

    @on(Measured)
    def take_measured(self, event: Measured) -> None:
        """Show one more size."""
        self.entities.measured(event.row.key, event.row)
