"""The history of an image whose layers' sizes no engine has recorded, with sizes that are measured."""

from __future__ import annotations

from msgspec.structs import replace

from layerscope.model.image import HistoryRow
from layerscope.model.subject import Subject
from layerscope.services.session import Session


def measured_history(session: Session, subject: Subject) -> list[HistoryRow]:
    """As ``Session.history``; where sizes aren't recorded, layers are read through for them."""
    rows = session.history(subject)
    if not session.measures_images or all(row.size is not None for row in rows):
        return rows
    sizes = {found.level.number: found.size for found in session.stack(subject, counts=False)}
    return [replace(row, size=sizes.get(row.level)) if row.size is None and row.level else row for row in rows]
