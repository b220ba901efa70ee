"""What is to be seen first of a root, read while the screen is still being made."""

from __future__ import annotations

from msgspec import Struct

from layerscope.errors import LayerscopeError
from layerscope.services import Session
from layerscope.tui.sources.entities import first_subject
from layerscope.tui.sources.files import FileSource
from layerscope.tui.sources.records import Records, read_records
from layerscope.tui.sources.stack import Shown, Stack, stack_of
from layerscope.tui.sources.unfolding import changed_folders


class FirstLook(Struct, frozen=True):
    """The records, and of the first subject the stack and the files, with the directories that are unfolded."""

    records: Records
    stack: Stack
    source: FileSource
    opened: frozenset[str]


def first_look(session: Session, room: int) -> FirstLook | None:
    """Read what a screen with ``room`` rows for files shows first; None if that can't be read like this."""
    try:
        records = read_records(session)
        subject = records.rows[first_subject(records.rows)].subject if records.rows else None
        if subject is None:
            return None
        stack = stack_of(session, subject)
        source = Shown(stack, stack.height, False).source()
        source.read("")
        return FirstLook(records, stack, source, frozenset(changed_folders(source, room, lambda count: None)))
    except (LayerscopeError, OSError):
        return None
