"""What sets of things free, and the best of them, against a search through all sets."""

from __future__ import annotations

import random
import time
from itertools import combinations

from layerscope.analysis.ledger.reclaim import Returns, plan, weights
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger, LedgerEntry, Link
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind


def thing(number: int) -> Thing:
    return Thing(ThingKind.IMAGE, str(number))


def world(rng: random.Random, count: int, parts: int) -> dict[Need, int]:
    found: dict[Need, int] = {}
    for _ in range(parts):
        need = frozenset(thing(number) for number in rng.sample(range(count), rng.randrange(1, min(4, count) + 1)))
        found[need] = found.get(need, 0) + rng.randrange(1, 1000) * 4096
    return found


def brute(weighed: dict[Need, int], count: int, wanted: int) -> int:
    values = []
    for size in range(count + 1):
        for chosen in combinations(range(count), size):
            going = frozenset(map(thing, chosen))
            value = sum(disk for need, disk in weighed.items() if need <= going)
            if value >= wanted:
                values.append(value)
    return min(values)


def test_a_small_plan_is_the_best_there_is() -> None:
    rng = random.Random(5)
    for _ in range(30):
        count = rng.randrange(1, 9)
        weighed = world(rng, count, rng.randrange(1, 12))
        everything = Returns(weighed).freed([thing(number) for number in range(count)])
        wanted = rng.randrange(1, everything + 1)
        chosen, exact = plan(Returns(weighed), [thing(number) for number in range(count)], wanted)
        assert exact
        assert Returns(weighed).freed(chosen) == brute(weighed, count, wanted)


def test_nothing_superfluous_is_taken() -> None:
    weighed = {frozenset((thing(0),)): 100, frozenset((thing(1), thing(2))): 50}
    assert plan(Returns(weighed), [thing(0), thing(1), thing(2)], 90) == (frozenset((thing(0),)), True)


def test_twenty_candidates_are_exact_and_quick() -> None:
    weighed = world(random.Random(1), 20, 60)
    begin = time.process_time()
    chosen, exact = plan(Returns(weighed), [thing(number) for number in range(20)], 20_000_000)
    assert exact
    assert Returns(weighed).freed(chosen) >= 20_000_000
    assert time.process_time() - begin < 10


def test_many_candidates_are_good_in_about_a_second() -> None:
    weighed = world(random.Random(2), 300, 900)
    begin = time.process_time()
    chosen, exact = plan(Returns(weighed), [thing(number) for number in range(300)], 100_000_000)
    value = Returns(weighed).freed(chosen)
    assert value >= 100_000_000
    assert exact == (value == 100_000_000)
    assert value < 130_000_000
    assert time.process_time() - begin < 10


class CountedNeed(frozenset[Thing]):
    """A need that counts how often it is looked at."""

    looks = 0

    def __le__(self, other: object) -> bool:
        CountedNeed.looks += 1
        return super().__le__(other)  # type: ignore[operator]

    __hash__ = frozenset.__hash__


def test_each_candidate_costs_what_it_has_a_part_in() -> None:
    """A thousand things of their own bytes, and some that all of them share."""
    count = 1000
    weighed: dict[Need, int] = {CountedNeed((thing(number),)): number + 1 for number in range(count)}
    weighed[CountedNeed(thing(number) for number in range(count))] = 7
    returns = Returns(weighed)
    CountedNeed.looks = 0
    assert [returns.freed((thing(number),)) for number in range(count)] == [number + 1 for number in range(count)]
    assert CountedNeed.looks <= 2 * count
    assert returns.freed([thing(number) for number in range(count)]) == sum(weighed.values())


def entry(path: str, disk: int, links: dict[int, Link]) -> LedgerEntry:
    return LedgerEntry(path, Category.IMAGE_LAYER, "", "why", disk, disk, disk, 1, None, None, "", links)


def test_an_inode_comes_back_with_its_last_name() -> None:
    """One has a name in each of two layers, one also outside of the root."""
    both, outside = Link(1, 2, 4096, 4096), Link(1, 3, 8192, 8192)
    entries = (entry("a", 100, {1: both, 2: outside}), entry("b", 200, {1: both, 2: outside}))
    ledger = Ledger("r", 300, 300, 0, (), entries, 0, False, ())
    needs: dict[str, tuple[Need, ...]] = {"a": (frozenset((thing(0),)),), "b": (frozenset((thing(1),)),)}
    weighed = weights(ledger, Removable({}, {}, frozenset(), {}, needs, {}))
    assert Returns(weighed).freed([thing(0)]) == 100
    assert Returns(weighed).freed([thing(1)]) == 200
    assert Returns(weighed).freed([thing(0), thing(1)]) == 300 + 4096


def test_alternatives_count_once() -> None:
    """A log goes with its container, or alone."""
    ledger = Ledger("r", 70, 70, 0, (), (entry("c/log", 70, {}),), 0, False, ())
    needs: dict[str, tuple[Need, ...]] = {"c/log": (frozenset((thing(0),)), frozenset((thing(1),)))}
    weighed = weights(ledger, Removable({}, {}, frozenset(), {}, needs, {}))
    for chosen in ([thing(0)], [thing(1)], [thing(0), thing(1)]):
        assert Returns(weighed).freed(chosen) == 70
    assert Returns(weighed).freed([]) == 0
