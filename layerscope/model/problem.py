"""What is wrong with one record: told beside the good records, never instead of them."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Severity(StrEnum):
    """How much a problem takes away."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Problem(Struct, frozen=True):
    """One damaged, missing or inconsistent record.

    ``path`` is relative to the opened root, without a leading slash ("" is the root itself).
    ``effect`` says what can't be shown because of it, ``hint`` what the user can do.
    """

    path: str
    what: str
    effect: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR
