"""Trees measured by several hands: tasks dealt out in shares, sums added up where they come in.

Whoever helps is a crew: threads where the tally is compiled and lets go of the interpreter's lock, processes elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from layerscope.errors import LayerscopeError
from layerscope.hostfs.measure import Check, Done, Sums, Task, Verdict, measure
from layerscope.hostfs.processes import processors
from layerscope.hostfs.tally import COMPILED

_ALONE_SECONDS = 0.002 if COMPILED else 0.03
"""What takes no longer is measured in this thread alone: others take as long to start."""
_BUDGET = 2000
_OWN_BUDGET = 500
"""Entries at a time in this thread beside a crew, which waits for its next jobs while it measures."""
_WAIT_SECONDS = 0.1
_SHARE = 64
_MOST_WORKERS = 8


class Cancelled(LayerscopeError):
    """The measuring was given up because someone asked for it."""


class Crew(Protocol):
    """Those that measure beside the caller."""

    @property
    def size(self) -> int:
        """How many they are."""

    @property
    def jobs(self) -> int:
        """How many jobs were given and have no result yet."""

    @property
    def has_room(self) -> bool:
        """Whether one more job may be given."""

    def give(self, tasks: list[Task], checks: list[Check], budget: int) -> bool:
        """Give a job; false: it can't be taken now."""

    def results(self, timeout: float) -> Iterator[Done]:
        """What is done by now; waits for the first of it, at most so many seconds."""

    def end(self, at_once: bool) -> None:
        """End them, at once or after what they were given."""


class Pool:
    """Measures trees below ``roots`` and gives each sum to ``take``; a context manager.

    Args:
        roots: descriptors that tasks and checks name.
        take: called in this thread with each part of a unit's sums.
        judge: called in this thread with each verdict. Both may add more.
        workers: how many measure, this thread among them where nothing else goes on in the process; None: one for each
            processor; 1: this one alone.
        cancelled: asked now and then; once it says so, :class:`Cancelled` is raised.
        counted: told now and then how many entries were counted in all.
        crew: one that is at work already, and is ended with the pool.
    """

    def __init__(
        self,
        roots: Sequence[int],
        take: Callable[[Sums], None],
        judge: Callable[[Verdict], None],
        workers: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        counted: Callable[[int], None] = lambda entries: None,
        crew: Crew | None = None,
    ) -> None:
        self._roots = tuple(roots)
        self._take = take
        self._judge = judge
        self._wanted = processors() if workers is None else workers
        self._cancelled = cancelled
        self._tell = counted
        self._waiting: deque[Task] = deque()
        self._unchecked: deque[Check] = deque()
        self._crew = crew
        self._counted = 0
        self._alone_seconds = _ALONE_SECONDS if workers is None else 0.0
        # In a program with a screen another thread draws it: measuring here in Python would take its time.
        self._helps = COMPILED or threading.active_count() == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crew is not None:
            self._crew.end(at_once=kind is not None)

    def add(self, task: Task) -> None:
        """One more tree."""
        self._waiting.append(task)

    def check(self, check: Check) -> None:
        """One more part of a tree that may be as it was."""
        self._unchecked.append(check)

    def finish(self) -> None:
        """Do everything that was added, and what that adds."""
        while self._waiting or self._unchecked or (self._crew is not None and self._crew.jobs):
            if self._cancelled():
                raise Cancelled("measuring was given up")
            crew = self._crew or self._called()
            if crew is None:
                self._measure(_BUDGET)
            else:
                self._keep_at_work(crew)
                if self._helps and (self._waiting or self._unchecked):
                    self._measure(_OWN_BUDGET)
                    self._receive(crew, 0)
                else:
                    self._receive(crew, _WAIT_SECONDS)
            self._tell(self._counted)

    def _called(self) -> Crew | None:
        """The crew, once it is worth while; None as long as it isn't, or where there can be none."""
        if self._wanted < 2 or self._alone_seconds > 0:
            return None
        size = min(self._wanted, _MOST_WORKERS) - self._helps
        if COMPILED:
            from layerscope.analysis.measuring.threads import MeasuringThreads

            self._crew = MeasuringThreads(size)
        else:
            from layerscope.analysis.measuring.processes import MeasuringProcesses

            self._crew = MeasuringProcesses(size, self._roots)
        if not self._crew.size:
            self._crew, self._wanted = None, 1
        return self._crew

    def _measure(self, budget: int) -> None:
        """Do one job in this thread."""
        begun = time.perf_counter()
        self._add_up(*measure(*self._dealt(1), budget))
        self._alone_seconds -= time.perf_counter() - begun

    def _keep_at_work(self, crew: Crew) -> None:
        """Give the crew its jobs, and those after them, so that nobody waits."""
        while crew.has_room and (self._waiting or self._unchecked):
            tasks, checks = self._dealt(_SHARE)
            if not crew.give(tasks, checks, _BUDGET):
                self._waiting.extendleft(reversed(tasks))
                self._unchecked.extendleft(reversed(checks))
                break

    def _dealt(self, most: int) -> tuple[list[Task], list[Check]]:
        """What the next job is made of: a check, or up to ``most`` tasks and never more than a fair share of them."""
        if self._unchecked:
            return [], [self._unchecked.popleft()]
        hands = 2 * (self._crew.size if self._crew is not None else 0) + 1
        count = max(1, min(most, len(self._waiting) // hands))
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))], []

    def _receive(self, crew: Crew, timeout: float) -> None:
        for done in crew.results(timeout):
            self._add_up(*done)

    def _add_up(self, sums: list[Sums], left: list[Task], verdicts: list[Verdict]) -> None:
        self._waiting.extend(left)
        for one in sums:
            self._counted += one[3]
            self._take(one)
        for verdict in verdicts:
            self._judge(verdict)
