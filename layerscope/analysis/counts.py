"""What one level does to the levels below it, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from layerscope.model.entry import EntryState
from layerscope.model.level import LevelCounts
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.provenance import stream_own_entries
from layerscope.overlay.view import MergedView


def level_counts(view: MergedView, number: int, cancelled: Callable[[], bool] = lambda: False) -> LevelCounts:
    """The paths of level ``number`` by what they do to what was visible below it.

    Reads that level's directories once each; the levels below are asked only for names that it has too. ``added`` of
    the base is all it holds. Copies that differ in nothing are not counted.
    """
    counts = dict.fromkeys(EntryState, 0)
    cut = view.step(number)
    if not cut.levels or cut.levels[-1].number != number:
        return LevelCounts()
    pending = [cut.root]
    while pending and not cancelled():
        directory = pending.pop()
        if len(directory.parts) == 1:
            _count_alone(cut, directory.parts[0], counts, cancelled)
            continue
        try:
            for entry in stream_own_entries(directory):
                if entry.state is not None:
                    counts[entry.state] += 1
                if entry.is_dir:
                    pending.extend(_child(directory, entry.name))
        except OSError as error:
            view.note_unread(directory.parts[0], error)
    return LevelCounts(
        added=counts[EntryState.ADDED] + counts[EntryState.PLAIN],
        modified=counts[EntryState.MODIFIED],
        metadata=counts[EntryState.METADATA],
        deleted=counts[EntryState.WHITEOUT],
        opaque=counts[EntryState.OPAQUE],
    )


def _child(directory: MergedDirectory, name: str) -> Iterator[MergedDirectory]:
    """A directory in another one, if there is a way into it."""
    try:
        yield directory.child(name)
    except OSError:
        return


def _count_alone(view: MergedView, top: Part, counts: dict[EntryState, int], cancelled: Callable[[], bool]) -> None:
    """Count a directory below which no other level has anything: names are enough."""
    pending = [top]
    while pending and not cancelled():
        part = pending.pop()
        for name, kind in view.listing_of(part).items():
            if kind == "w":
                counts[EntryState.WHITEOUT] += 1
                continue
            if kind == "d":
                child = part.enter(name)
                pending.append(child)
                if _is_opaque(view, child):
                    counts[EntryState.OPAQUE] += 1
                    continue
            counts[EntryState.ADDED] += 1


def _is_opaque(view: MergedView, part: Part) -> bool:
    try:
        return part.is_opaque
    except OSError as error:
        view.note_unread(part, error)
        return False
