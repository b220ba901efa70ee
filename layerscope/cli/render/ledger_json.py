"""The JSON shapes of a ledger and of what would come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerscope.cli.render.document import Streamed
from layerscope.cli.render.escape import bytes_of, is_utf8, replaced
from layerscope.cli.render.json import base64, problem
from layerscope.model.claim import Category
from layerscope.model.ledger import LedgerClass

if TYPE_CHECKING:
    from layerscope.model.docker_df import OtherCount
    from layerscope.model.ledger import Ledger, LedgerEntry
    from layerscope.model.reclaim import Candidate, Reclaim

Shape = dict[str, Any]


def named(path: str) -> Shape:
    """``path``, with ``path_base64`` where its bytes aren't UTF-8."""
    if is_utf8(path):
        return {"path": replaced(path)}
    return {"path": replaced(path), "path_base64": base64(bytes_of(path))}


def ledger(value: Ledger) -> Shape:
    """Ledger; its entries are made as they are written."""
    return {
        "root": replaced(value.root),
        "total_disk": value.total_disk,
        "accounted_disk": value.accounted_disk,
        "unaccounted_disk": value.unaccounted_disk,
        "vanished": value.vanished,
        "shares_extents": value.shares_extents,
        "classes": [_class(one) for one in every_class(value)],
        "entries": Streamed(lambda: map(entry, value.entries)),
        "problems": [problem(one) for one in value.problems],
    }


def other_count(value: OtherCount | None) -> Shape | None:
    """What docker may say otherwise of what images share; null where it can't."""
    if value is None:
        return None
    return {
        "counted_as": value.counted_as,
        "other": value.other,
        "images": [
            {
                "id": counted.image.id,
                "shared_size": counted.shared_size,
                "unique_size": counted.unique_size,
                "other_shared_size": other.shared_size,
                "other_unique_size": other.unique_size,
            }
            for counted, other in value.images
        ],
    }


def every_class(value: Ledger) -> list[LedgerClass]:
    """The classes of a ledger and, behind them, those that hold nothing: 0 is a fact."""
    held = {one.category for one in value.classes}
    return [*value.classes, *(LedgerClass(category, 0, 0, 0) for category in sorted(Category) if category not in held)]


def _class(value: LedgerClass) -> Shape:
    return {
        "class": str(value.category),
        "disk": value.disk,
        "apparent": value.apparent,
        "count": value.count,
    }


def entry(value: LedgerEntry) -> Shape:
    """One entry of a ledger."""
    return {
        **named(value.path),
        "class": str(value.category),
        "owner": replaced(value.owner),
        "disk": value.disk,
        "apparent": value.apparent,
        "count": value.count,
        "reason": replaced(value.reason),
        "stored": value.stored,
        "measured": value.measured,
        "cause": value.cause,
    }


def _candidate(value: Candidate) -> Shape:
    return {
        "kind": str(value.thing.kind),
        "id": replaced(value.thing.id),
        "name": replaced(value.name),
        "frees_disk": value.frees_disk,
        "command": replaced(value.command),
    }


def reclaim(value: Reclaim) -> Shape:
    """Reclaim; its candidates are made as they are written."""
    return {
        "asked": [replaced(word) for word in value.asked],
        "frees_disk": value.frees_disk,
        "at_most": value.at_most,
        "kept": [
            {**named(one.path), "disk": one.disk, "because": [replaced(text) for text in one.because]}
            for one in value.kept
        ],
        "commands": [replaced(command) for command in value.commands],
        "candidates": Streamed(lambda: map(_candidate, value.candidates)),
        "wanted": value.wanted,
        "bound": value.bound,
        "exact": value.exact,
        "enough": value.enough,
    }
