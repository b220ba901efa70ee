"""What becomes of the copies of names in one directory of many stacks: who has them, what hides them, what is below."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from layerscope.analysis.waste.copies import Copy, Folder, Held, Strand
from layerscope.model.entry import EntryState
from layerscope.model.found import Wanted
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part


class Outlook(Struct):
    """What becomes of the names that one directory alone holds: which stacks have them, and what hides them."""

    part: Part
    strand: Strand
    stacks: tuple[int, ...]
    gone: bool
    hidden_by: int | None


class Sighting(Struct):
    """A copy and the strands that have it; the first of them says what hides it."""

    copy: Copy
    strand: Strand
    stacks: tuple[int, ...]
    gone: bool
    hidden_by: int | None
    as_of: MergedDirectory | None = None

    @property
    def part(self) -> Part:
        """The directory that has the copy."""
        return self.copy.held.part


def outlooks_of(folder: Folder, wanted: Wanted) -> dict[int, Outlook]:
    """By the ``id`` of each directory what becomes of the names that no other one here holds."""
    found: dict[int, Outlook] = {}
    stacks: dict[int, list[int]] = {}
    for strand in folder.strands:
        hidden_by: int | None = None
        for held in strand.held:
            if held.barrier is not None:
                hidden_by = held.barrier.level
            gone = hidden_by is not None
            if (wanted.deleted and not gone) or (wanted.visible and gone):
                continue
            stacks.setdefault(id(held.part), []).extend(strand.stacks)
            known = found.get(id(held.part))
            if known is None:
                found[id(held.part)] = Outlook(held.part, strand, (), gone, hidden_by)
                continue
            known.gone = known.gone and gone
            if hidden_by is None:
                known.hidden_by = None
    for part, outlook in found.items():
        outlook.stacks = tuple(sorted(stacks[part]))
    return found


def sightings_of(folder: Folder, name: str, wanted: Wanted) -> list[Sighting]:
    """The copies of a name, each once, higher levels first."""
    found: dict[int, Sighting] = {}
    stacks: dict[int, list[int]] = {}
    for strand in folder.strands_with(name):
        copies = folder.copies(strand, name)
        gone = copies[0].kind == "w" or copies[0].hider is not None
        for copy in copies:
            hidden_by = copy.hider.level if copy.hider else copy.part.level if copy.kind == "w" else None
            if (wanted.deleted and (not gone or copy.kind == "w")) or (wanted.visible and hidden_by is not None):
                continue
            stacks.setdefault(id(copy.part), []).extend(strand.stacks)
            known = found.get(id(copy.part))
            if known is None:
                found[id(copy.part)] = Sighting(copy, strand, (), gone, hidden_by)
                continue
            known.gone = known.gone and gone
            if hidden_by is None:
                known.hidden_by = None
    for part, sighting in found.items():
        sighting.stacks = tuple(sorted(stacks[part]))
    return sorted(found.values(), key=lambda one: (-one.copy.part.level, one.stacks))


def state_of_new(part: Part, strand: Strand) -> EntryState:
    """The state of what replaces nothing."""
    return EntryState.PLAIN if part.level == strand.view.base else EntryState.ADDED


def below(sighting: Sighting) -> Iterator[Held]:
    """The directories that the view had below a copy's own when its level was made, top first."""
    held = sighting.strand.held
    for lower in held[held.index(sighting.copy.held) + 1 :]:
        if lower.barrier is not None:
            return
        yield lower


def replaces(folder: Folder, name: str, sighting: Sighting) -> bool:
    """Whether a level below may have something of that name: then only a comparison tells what was done to it."""
    return any(folder.listing(lower.part).get(name) is not None for lower in below(sighting))


def as_of(folder: Folder, sighting: Sighting) -> MergedDirectory:
    """The merged directory as it was after the level of a copy."""
    parts = (sighting.part, *(lower.part for lower in below(sighting)))
    return MergedDirectory(sighting.strand.view, folder.path, parts)
