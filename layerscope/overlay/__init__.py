"""The overlay engine: one merged view over the levels of a stack."""

from __future__ import annotations

from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.provenance import (
    describe,
    describe_directory,
    entries,
    entry_at,
    own_entries,
    stream_entries,
    stream_own_entries,
)
from layerscope.overlay.view import MergedView, ViewLevel

__all__ = [
    "MergedDirectory",
    "MergedView",
    "ViewLevel",
    "describe",
    "describe_directory",
    "entries",
    "entry_at",
    "own_entries",
    "stream_entries",
    "stream_own_entries",
]
