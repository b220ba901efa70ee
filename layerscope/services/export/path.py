"""One file or tree of a view as a tar, as ``docker cp CONTAINER:PATH -`` writes it: names begin with its last part."""

from __future__ import annotations

import os
from typing import BinaryIO

from layerscope.hostfs.short_files import Look
from layerscope.model.problem import Problem
from layerscope.overlay.view import MergedView
from layerscope.services.export.entries import ViewEntry, entries_below, entry_at
from layerscope.services.export.members import MemberWriter


def copy_out(view: MergedView, path: str, out: BinaryIO) -> list[Problem]:
    """Write what is at ``path`` (a last symlink itself) to ``out``; what can't be read is left out and told.

    Raises:
        OSError: there is no such path, or ``out`` can't be written.
    """
    place = view.tree.place(path)
    tar = MemberWriter(out)
    if place.name:
        entry = entry_at(place.directory, place.name)
        if entry is not None:
            tar.add(entry)
    else:
        name = os.fsencode(place.directory.path.rpartition("/")[2] or ".")
        for part in place.directory.parts[:1]:
            tar.add(ViewEntry(place.directory, "", name, part, Look(place.directory.stat())))
        for entry in entries_below(place.directory, name + b"/", tar.problems):
            tar.add(entry)
    tar.end()
    return tar.problems
