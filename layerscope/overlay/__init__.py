"""The overlay engine: one merged view over the levels of a stack, and writes to it as the kernel does them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.provenance import describe, describe_directory, entries, entry_at, own_entries
from layerscope.overlay.snapshot import merged_view
from layerscope.overlay.view import MergedView, ViewLevel

if TYPE_CHECKING:
    from layerscope.overlay.engine import Overlay

__all__ = [
    "MergedDirectory",
    "MergedView",
    "Overlay",
    "ViewLevel",
    "describe",
    "describe_directory",
    "entries",
    "entry_at",
    "merged_view",
    "own_entries",
]


def __getattr__(name: str) -> object:
    """The writing half is imported when it is first asked for: those who only read don't pay for it."""
    if name == "Overlay":
        from layerscope.overlay.engine import Overlay

        return Overlay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
