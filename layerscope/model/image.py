"""An image, its history and its layers, as the store's records give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from layerscope.model.digest import CacheID, ChainID, DiffID, ImageID
from layerscope.model.problem import Problem


class HistoryRow(Struct, frozen=True):
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


class Layer(Struct, frozen=True):
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


class PlatformManifest(Struct, frozen=True):
    """One manifest of an image in a content store: that of a platform, or an attestation about one.

    ``platform`` is ``os/architecture[/variant]``, "" where nothing tells. ``attests`` is the digest of the manifest
    that it is about ("" if that isn't told), None for a platform's own. ``available``: its configuration and all layers
    are here, compressed; ``unpacked``: their files are. Sizes in bytes: of its blobs that are here, and of its unpacked
    layers with everything below them (None if one isn't recorded).
    """

    digest: str
    platform: str
    attests: str | None
    available: bool
    unpacked: bool
    content_size: int
    unpacked_size: int | None


class Image(Struct, frozen=True):
    """One image of a store.

    ``diff_ids`` and ``chain_ids`` are base first; ``history`` oldest first. ``size`` is the sum of the recorded sizes
    of its layers, in bytes, None where one is unknown. ``config`` is the parsed config file (empty if unreadable).

    In a content store ``size`` is that of everything that belongs to it, compressed and unpacked, and ``manifests`` are
    those of its index, in that order (or the only one); None in other stores. What is told of layers, history and
    configuration is then that of one platform: the first that is unpacked, else complete, else described at all.
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
    manifests: tuple[PlatformManifest, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called: its tags, else its digests; empty for an image without a name."""
        return self.repo_tags or self.repo_digests

    @property
    def content_size(self) -> int | None:
        """The bytes of its compressed parts that are here, a part of two manifests twice; None without manifests."""
        return None if self.manifests is None else sum(manifest.content_size for manifest in self.manifests)

    @property
    def unpacked_size(self) -> int | None:
        """The recorded bytes of its unpacked layers; None without manifests, or where one is unknown."""
        sizes = [manifest.unpacked_size for manifest in self.manifests or ()]
        return None if self.manifests is None or None in sizes else sum(size or 0 for size in sizes)

    @property
    def broken(self) -> bool:
        """Whether docker would hide this image: its config or one of its layers can't be used."""
        return any(problem.severity == "error" for problem in self.problems)
