"""What comes back if things go: sets of things, and what each part of a root needs to go.

An inode comes back only with the last of its names, those outside of the root included. The value of a set of things is
thus a sum over parts, each counted when all that it needs is in the set; alternatives are counted by inclusion and
exclusion.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from itertools import combinations
from operator import add

from layerscope.model.ledger import Ledger, LedgerEntry
from layerscope.model.reclaim import Need, Removable, Thing

EXACT_CANDIDATES = 20
_SECONDS = 1.0
Weights = Mapping[Need, int]
"""Bytes by what must go for them to come back; negative where alternatives were counted twice."""


def needs_of(ledger: Ledger, removable: Removable) -> Iterator[tuple[LedgerEntry, tuple[Need, ...]]]:
    """Each entry that may go, with what it needs: its own path's, else those of the nearest directory above it."""
    for entry in ledger.entries:
        path = entry.path
        while path and path not in removable.needs:
            path = path.rpartition("/")[0]
        if path:
            yield entry, removable.needs[path]


def weights(ledger: Ledger, removable: Removable) -> dict[Need, int]:
    """The bytes that every need stands for."""
    found: dict[Need, int] = {}
    links: dict[int, list[tuple[int, int, int, tuple[Need, ...]]]] = {}
    for entry, needs in needs_of(ledger, removable):
        _weigh(found, needs, entry.own_disk)
        for key, link in entry.links.items():
            links.setdefault(key, []).append((link.seen, link.nlink, link.disk, needs))
    for names in links.values():
        if sum(one[0] for one in names) >= names[0][1]:
            every: tuple[Need, ...] = (frozenset(),)
            for *_, needs in names:
                every = tuple({one | other for one in every for other in needs})
            _weigh(found, every, names[0][2])
    return found


def _weigh(found: dict[Need, int], needs: tuple[Need, ...], disk: int) -> None:
    for count in range(1, len(needs) + 1):
        for chosen in combinations(needs, count):
            key = chosen[0].union(*chosen[1:]) if count > 1 else chosen[0]  # no copy of what thousands may have
            value = disk if count % 2 else -disk
            found[key] = found[key] + value if key in found else value


class Returns:
    """What comes back if things go: asked for one thing after another, each costs what it has a part in.

    Most parts need one thing: such a need is not kept as a set, which would take more than all else of it.
    """

    def __init__(self, weighed: Weights) -> None:
        self._always = weighed.get(frozenset(), 0)
        self._alone: dict[Thing, int] = {}
        self._together: dict[Need, int] = {}
        self._by_thing: dict[Thing, list[Need]] = {}
        for need, disk in weighed.items():
            if disk and len(need) == 1:
                (thing,) = need
                self._alone[thing] = disk
            elif disk and need:
                self._together[need] = disk
                for thing in need:
                    self._by_thing.setdefault(thing, []).append(need)

    def has_part(self, thing: Thing) -> bool:
        """Whether anything needs a thing to go."""
        return thing in self._alone or thing in self._by_thing

    def lost(self, thing: Thing, things: Set[Thing]) -> int:
        """The bytes that come back no more if a thing of ``things`` stays."""
        needs = self._by_thing.get(thing, ())
        return self._alone.get(thing, 0) + sum(self._together[need] for need in needs if things >= need)

    def weighed(self) -> Iterator[tuple[Need, int]]:
        """Each need and its bytes, what comes back in any case as that of nothing."""
        yield frozenset(), self._always
        for thing, disk in self._alone.items():
            yield frozenset((thing,)), disk
        yield from self._together.items()

    def freed(self, things: Collection[Thing]) -> int:
        """The bytes on disk that come back if ``things`` go."""
        going = frozenset(things)
        met = {need for thing in going for need in self._by_thing.get(thing, ()) if need <= going}
        alone = sum(self._alone.get(thing, 0) for thing in going)
        return self._always + alone + sum(self._together[need] for need in met)


# ---------------------------------------------------------------------- a wanted amount
def plan(returns: Returns, candidates: Iterable[Thing], wanted: int) -> tuple[frozenset[Thing], bool]:
    """The things that free at least ``wanted`` bytes and as few more as can be, and whether no others free fewer.

    Of equals those with fewer things. If all of them free too little, all that free anything.
    """
    useful = [one for one in candidates if returns.has_part(one)]
    everything = frozenset(useful)
    if returns.freed(everything) <= wanted:
        return everything, True
    if len(useful) <= EXACT_CANDIDATES:
        return _exact(dict(returns.weighed()), useful, wanted), True
    return _good(returns, useful, wanted)


def _exact(weighed: Weights, things: list[Thing], wanted: int) -> frozenset[Thing]:
    """The values of all subsets at once: each bit adds those of the subsets without it."""
    bits = {thing: 1 << number for number, thing in enumerate(things)}
    values = [0] * (1 << len(things))
    for need, disk in weighed.items():
        if need <= bits.keys():
            values[_mask(need, bits)] += disk
    for number in range(len(things)):
        step = 1 << number
        for base in range(0, len(values), 2 * step):
            upper = base + step
            values[upper : upper + step] = map(add, values[upper : upper + step], values[base:upper])
    least = min(value for value in values if value >= wanted)
    best = min((mask for mask, value in enumerate(values) if value == least), key=lambda mask: (mask.bit_count(), mask))
    return frozenset(thing for thing, bit in bits.items() if best & bit)


def _mask(need: Need, bits: Mapping[Thing, int]) -> int:
    mask = 0
    for thing in need:
        mask |= bits[thing]
    return mask


def _good(returns: Returns, things: list[Thing], wanted: int) -> tuple[frozenset[Thing], bool]:
    """Start from everything and leave out what isn't needed, in several orders, for a second."""
    end = time.monotonic() + _SECONDS
    single = {thing: returns.freed((thing,)) for thing in things}
    orders = [sorted(things, key=lambda one: -single[one]), sorted(things, key=lambda one: single[one])]
    best: tuple[int, int, frozenset[Thing]] | None = None
    turn = 0
    while turn < len(things) + 2 and (turn < 2 or time.monotonic() < end):
        order = orders[turn] if turn < 2 else [*orders[0][turn - 2 :], *orders[0][: turn - 2]]
        chosen = _pruned(returns, order, wanted, None if turn == 0 else end)
        value = returns.freed(chosen)
        if best is None or (value, len(chosen)) < best[:2]:
            best = value, len(chosen), chosen
        if value == wanted:
            break
        turn += 1
    assert best is not None
    return best[2], best[0] == wanted


def _pruned(returns: Returns, order: list[Thing], wanted: int, end: float | None) -> frozenset[Thing]:
    chosen = set(order)
    value = returns.freed(chosen)
    for thing in order:
        if end is not None and time.monotonic() > end:
            break
        loss = returns.lost(thing, chosen)
        if value - loss >= wanted:
            chosen.remove(thing)
            value -= loss
    return frozenset(chosen)
