"""An image, its history and its layers, as the store's records give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerscope.model.digest import CacheID, ChainID, DiffID, ImageID
from layerscope.model.problem import Problem


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One line of an image's history, joined to its layer.

    ``size`` is the layer's recorded size in bytes (0 for an empty layer, None where unknown); ``level`` counts
    from 1 (base) and is None for a row without a layer. Times are RFC 3339 text as recorded.
    """

    created: str | None
    created_by: str
    comment: str
    author: str
    empty_layer: bool
    size: int | None = 0
    level: int | None = None
    diff_id: DiffID | None = None
    chain_id: ChainID | None = None
    cache_id: CacheID | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One read-only layer of the store: the join of its names, its recorded size and where its files lie.

    ``size`` is the recorded number of bytes, None where the record is missing or damaged. ``cache_id`` is None where
    the record that names it can't be read. ``path`` is that of the layer's record, relative to the root.
    """

    chain_id: ChainID
    diff_id: DiffID | None
    parent: ChainID | None
    cache_id: CacheID | None
    size: int | None
    path: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a store.

    ``diff_ids`` and ``chain_ids`` are base first; ``history`` oldest first. ``size`` is the sum of the recorded sizes
    of its layers, in bytes, None where one is unknown. ``config`` is the parsed config file (empty if unreadable).
    """

    id: ImageID
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    parent: ImageID | None
    created: str | None
    architecture: str
    os: str
    author: str
    diff_ids: tuple[DiffID, ...]
    chain_ids: tuple[ChainID, ...]
    history: tuple[HistoryRow, ...]
    size: int | None
    config: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether docker would hide this image: its config or one of its layers can't be used."""
        return any(problem.severity == "error" for problem in self.problems)
