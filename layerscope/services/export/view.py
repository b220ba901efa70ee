"""A merged view as a tar, as ``docker export`` writes it. Source: moby pkg/archive/archive.go; seen with 20.10.24."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from layerscope.model.problem import Problem
from layerscope.overlay.view import MergedView
from layerscope.services.export.entries import entries_below
from layerscope.services.export.members import MemberWriter


def export_tar(view: MergedView, out: BinaryIO, passed: Callable[[], object] = lambda: None) -> list[Problem]:
    """Write the view to ``out``; what can't be read is left out and told.

    Args:
        view: all of it.
        out: gets the tar.
        passed: called for each entry.

    Raises:
        OSError: ``out`` can't be written.
    """
    tar = MemberWriter(out)
    for entry in entries_below(view.tree.root, b"", tar.problems):
        passed()
        tar.add(entry)
    tar.end()
    return [*tar.problems, *view.problems]
