"""Many stacks made lean for a search: what they have in common is kept once, and a layer that repeats is walked once.

A root may have as many stacks as directories, most of them on the same layers. And a broken image may name one layer
thousands of times over itself. All but the lowest and the highest of such a run find the same at the same places: one
stands for those between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from layerscope.model.problem import Problem
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView, ViewLevel

_FEW = 3
"""A run of no more levels is walked as it is."""

Repeats = Mapping[int, int]
"""By the number of a level that stands for others that of the last of them; they follow it without a gap."""
NO_REPEATS: Repeats = {}


class LeanView(MergedView):
    """A view of levels and parts that other views may have, too.

    It takes no part of another view for the same as one of its own: who looks for names compares no two views.
    """

    def __init__(
        self, view: MergedView, levels: tuple[ViewLevel, ...], parts: tuple[Part, ...], told: MergedView
    ) -> None:
        """``told`` collects the problems."""
        self.levels = levels
        self.root_parts = parts
        self.data_parts = view.data_parts
        self._keys = _NO_KEYS
        self.report_to(told)


_NO_KEYS: dict[int, str] = {}


class SharedLevels:
    """The levels and top directories of all stacks that were met, each once."""

    def __init__(self) -> None:
        self._levels: dict[tuple[object, ...], ViewLevel] = {}
        self._parts: dict[tuple[object, ...], Part] = {}

    def lean(self, view: MergedView, told: MergedView | None = None) -> MergedView:
        """The same view with what it shares; ``told`` collects its problems, unless it has some already."""
        if type(view) is not MergedView or view.data_parts:
            return view
        levels = tuple(self._levels.setdefault(_as_key(level), level) for level in view.levels)
        keys = {level.number: level.key for level in levels}
        parts: list[Part] = []
        below = 0
        for part in reversed(view.root_parts):
            key = (part.level, keys.get(part.level) or id(part), below)
            parts.append(self._parts.setdefault(key, part))
            below = id(parts[-1])
        return LeanView(view, levels, tuple(reversed(parts)), view if told is None or view.problems else told)


def _as_key(level: ViewLevel) -> tuple[object, ...]:
    same = level.key or id(level)
    return level.number, same, level.kind, level.dialect, level.over, level.drops_attributes, level.data_only


def without_repeats(views: Sequence[MergedView]) -> tuple[list[MergedView], list[Repeats]]:
    """The views, of which those that repeat a layer lack what one level stands for; and for which ones it stands.

    Views must have their parts from one :class:`SharedLevels`. Where a run ends in one of them all that share its
    beginning have that level, so that what is found there is found of all at once.
    """
    ends: dict[int, set[int]] = {}
    repeating = []
    for number, view in enumerate(views):
        runs = list(_runs(view)) if isinstance(view, LeanView) else []
        for parts in runs:
            ends.setdefault(id(parts[0]), set()).add(parts[-1].level)
        if any(len(parts) > _FEW for parts in runs):
            repeating.append(number)
    found = list(views)
    repeats = [NO_REPEATS] * len(found)
    for number in repeating:
        lasts: dict[int, int] = {}
        repeats[number] = lasts
        left_out: set[int] = set()
        for parts in _runs(views[number]):
            left_out.update(_left_out(parts, ends[id(parts[0])], lasts))
        found[number] = _without(views[number], left_out)
    return found, repeats


def _runs(view: MergedView) -> Iterator[list[Part]]:
    """The levels, base first, that have one layer over itself, without a gap; of two at least."""
    keys = {level.number: level.key for level in view.levels}
    run: list[Part] = []
    for part in reversed(view.root_parts):
        key = keys.get(part.level)
        if run and key and key == keys.get(run[-1].level) and part.level == run[-1].level + 1:
            run.append(part)
            continue
        if len(run) > 1:
            yield run
        run = [part]
    if len(run) > 1:
        yield run


def _left_out(run: Sequence[Part], ends: set[int], lasts: dict[int, int]) -> Iterator[int]:
    """The numbers of the levels of a run that others stand for; these are put into ``lasts``."""
    before, top = run[0].level, run[-1].level
    for end in sorted(end for end in ends if end <= top):
        if end - before >= _FEW:
            lasts[before + 1] = end - 1
            yield from range(before + 2, end)
        before = end


def _without(view: MergedView, left_out: set[int]) -> LeanView:
    levels = tuple(level for level in view.levels if level.number not in left_out)
    parts = tuple(part for part in view.root_parts if part.level not in left_out)
    return LeanView(view, levels, parts, view)


def problems_of(views: Sequence[MergedView]) -> list[Problem]:
    """What the views tell, each once; views that tell the same are asked once."""
    lists = {id(view.problems): view.problems for view in views}
    return list(dict.fromkeys(problem for told in lists.values() for problem in told))
