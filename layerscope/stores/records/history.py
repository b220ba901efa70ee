"""The history of an image: the rows of its config, each with the layer that it made."""

from __future__ import annotations

from collections.abc import Mapping

from layerscope.model.digest import ChainID
from layerscope.model.image import HistoryRow, Layer
from layerscope.model.problem import Problem, Severity
from layerscope.stores.moment import sound_time
from layerscope.stores.records.image_config import ConfigRecord, HistoryEntry

_NO_ENTRY = HistoryEntry()


def join_history(
    record: ConfigRecord, layers: Mapping[ChainID, Layer], problems: list[Problem]
) -> tuple[HistoryRow, ...]:
    """Oldest first. Each row that isn't empty takes the next layer; layers without a row get a bare one at the end."""
    entries = [entry or _NO_ENTRY for entry in record.config.history or ()]
    filled = sum(not entry.empty_layer for entry in entries)
    if filled > len(record.chain_ids) and not record.problems:
        what = f"has {filled} history rows with a layer, but {len(record.chain_ids)} layers"
        problems.append(Problem(record.path, what, "docker history fails on this image", severity=Severity.WARNING))
    entries.extend([_NO_ENTRY] * (len(record.chain_ids) - filled))
    rows: list[HistoryRow] = []
    taken = 0
    for entry in entries:
        chain = layer = None
        if not entry.empty_layer and taken < len(record.chain_ids):
            chain = record.chain_ids[taken]
            layer = layers.get(chain)
            taken += 1
        rows.append(
            HistoryRow(
                sound_time(entry.created),
                entry.created_by or "",
                entry.comment or "",
                entry.author or "",
                bool(entry.empty_layer),
                0 if entry.empty_layer else layer.size if layer else None,
                taken if chain else None,
                record.diff_ids[taken - 1] if chain else None,
                chain,
                layer.cache_id if layer else None,
            )
        )
    return tuple(rows)
