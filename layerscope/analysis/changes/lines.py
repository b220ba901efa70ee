"""Which lines two texts share: Myers' greedy algorithm, held to a bounded amount of work.

An edit script of D insertions and deletions costs about D² steps, so texts that have little in common would take
minutes. The search is therefore cut into rounds: after ``ROUND_EDITS`` edits without an end, the furthest point that
was reached is taken, and the search begins anew from there. Up to that many edits the result is the shortest there is;
beyond, it is a correct one that may be longer.

Source: E. Myers, An O(ND) Difference Algorithm and Its Variations, 1986.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

ROUND_EDITS = 200
"""How many insertions and deletions one round looks ahead."""


class Block(NamedTuple):
    """``old[old_start:old_end]`` stands where ``new[new_start:new_end]`` does; ``same`` if they are equal."""

    same: bool
    old_start: int
    old_end: int
    new_start: int
    new_end: int


class _Run(NamedTuple):
    """Where equal lines begin in the old and in the new text, and how many there are."""

    old: int
    new: int
    length: int


def line_blocks(old: Sequence[bytes], new: Sequence[bytes], stopped: Callable[[], bool] = lambda: False) -> list[Block]:
    """Both texts from beginning to end as blocks that are equal or differ, in turn; none is empty on both sides.

    Once ``stopped`` says so, all that is left but the common end counts as different.
    """
    ids: dict[bytes, int] = {}
    a = [ids.setdefault(line, len(ids)) for line in old]
    b = [ids.setdefault(line, len(ids)) for line in new]
    blocks: list[Block] = []
    x = y = 0
    for run in [*_merged(_runs(a, b, stopped)), _Run(len(a), len(b), 0)]:
        if run.old > x or run.new > y:
            blocks.append(Block(False, x, run.old, y, run.new))
        x, y = run.old + run.length, run.new + run.length
        if run.length:
            blocks.append(Block(True, run.old, x, run.new, y))
    return blocks


def _merged(runs: list[_Run]) -> list[_Run]:
    """The same runs without empty ones, and those that touch as one."""
    merged: list[_Run] = []
    for run in runs:
        last = merged[-1] if merged else None
        if last and (last.old + last.length, last.new + last.length) == (run.old, run.new):
            merged[-1] = _Run(last.old, last.new, last.length + run.length)
        elif run.length:
            merged.append(run)
    return merged


def _runs(a: list[int], b: list[int], stopped: Callable[[], bool]) -> list[_Run]:
    tail = 0
    while tail < min(len(a), len(b)) and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    end_a, end_b = len(a) - tail, len(b) - tail
    runs: list[_Run] = []
    x = y = 0
    while x < end_a and y < end_b and not stopped():
        path = _round(a[x:end_a], b[y:end_b], stopped)
        runs.extend(_Run(x + run.old, y + run.new, run.length) for run in path)
        x, y = x + path[-1].old + path[-1].length, y + path[-1].new + path[-1].length
    runs.append(_Run(end_a, end_b, tail))
    return runs


def _round(a: list[int], b: list[int], stopped: Callable[[], bool]) -> list[_Run]:
    """The runs (some empty) on the shortest way from the beginning to the end, or to the furthest point reached."""
    len_a, len_b = len(a), len(b)
    # On diagonal k = x - y, furthest[k] is the largest x reached; a negative k counts from the list's end.
    furthest = [0] * (2 * ROUND_EDITS + 4)
    trail: list[list[int]] = []
    for edits in range(ROUND_EDITS + 1):
        trail.append(furthest.copy())
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            y = x - k
            while x < len_a and y < len_b and a[x] == b[y]:
                x += 1
                y += 1
            furthest[k] = x
            if x >= len_a and y >= len_b:
                return _way_back(trail, x, y)
        if stopped():
            break
    reached = [
        (2 * x - k, x, x - k) for k in range(-edits, edits + 1, 2) if (x := furthest[k]) <= len_a and x - k <= len_b
    ]
    _, x, y = max(reached)
    return _way_back(trail, x, y)


def _way_back(trail: list[list[int]], x: int, y: int) -> list[_Run]:
    """The runs of equal lines on the way to ``(x, y)``, in order; ``trail[d]`` is the state before edit d."""
    runs: list[_Run] = []
    for edits in range(len(trail) - 1, 0, -1):
        before, k = trail[edits], x - y
        down = k == -edits or (k != edits and before[k - 1] < before[k + 1])
        old_k = k + 1 if down else k - 1
        old_x = before[old_k]
        start = old_x if down else old_x + 1
        runs.append(_Run(start, start - k, x - start))
        x, y = old_x, old_x - old_k
    runs.append(_Run(0, 0, x))
    runs.reverse()
    return runs
