"""What is to be seen first of a root, read while the screen is still being made."""

from __future__ import annotations

from msgspec import Struct

from layerscope.errors import LayerscopeError
from layerscope.services import Session
from layerscope.services.glance import glance
from layerscope.tui.sources.entities import EntityRow, entity_rows, first_subject
from layerscope.tui.sources.files import FileSource
from layerscope.tui.sources.records import Records, read_records
from layerscope.tui.sources.stack import Shown, Stack, stack_of
from layerscope.tui.sources.unfolding import changed_folders


class FirstLook(Struct, frozen=True):
    """The list, and of the first subject the stack and the files, with the directories that are unfolded.

    ``records`` is None where the list holds no more than the names of containers: the records are still to be read.
    """

    rows: tuple[EntityRow, ...]
    records: Records | None
    stack: Stack
    source: FileSource
    opened: frozenset[str]


def first_look(session: Session, room: int) -> FirstLook | None:
    """Read what a screen with ``room`` rows for files shows first; None if that can't be read like this."""
    try:
        glimpsed = glance(session)
        if glimpsed is not None:
            records, rows = None, tuple(entity_rows(glimpsed.containers, ()))
            stack = stack_of(glimpsed.session, glimpsed.first)
        else:
            records = read_records(session)
            rows = records.rows
            subject = rows[first_subject(rows)].subject if rows else None
            if subject is None:
                return None
            stack = stack_of(session, subject)
        source = Shown(stack, stack.height, False).source()
        source.read("")
        return FirstLook(rows, records, stack, source, frozenset(changed_folders(source, room, lambda count: None)))
    except (LayerscopeError, OSError):
        return None
