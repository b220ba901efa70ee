"""Trees measured by several processes: tasks dealt out in shares, sums added up where they come in.

A small root is measured in this process alone; workers start once there is more to do. They are programs of the
standard library only, so they start fast; they inherit descriptors of the roots, and end when their input does.
"""

from __future__ import annotations

import marshal
import os
import selectors
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self

from layerscope.errors import LayerscopeError
from layerscope.hostfs import measure as measuring
from layerscope.hostfs.measure import Check, Done, Sums, Task, Verdict
from layerscope.hostfs.processes import processors
from layerscope.hostfs.tally import STAMP_BYTES

_ALONE = 1000
_BUDGET = 2000
_OWN_BUDGET = 500
"""Entries at a time in this process beside workers: they wait for their next job while it measures."""
_JOBS = 2
_SMALL_JOB = 16 << 10
"""Bytes of a job that is given to a worker at work: less than any pipe holds, so that neither waits for the other."""
_WAIT_SECONDS = 0.1
_SHARE = 64
_MOST_WORKERS = 8


class Cancelled(LayerscopeError):
    """The measuring was given up because someone asked for it."""


class Pool:
    """Measures trees below ``roots`` and gives each sum to ``take``; a context manager.

    Args:
        roots: descriptors that tasks and checks name; workers inherit them under the same numbers.
        take: called in this thread with each part of a unit's sums.
        judge: called in this thread with each verdict. Both may add more.
        workers: how many processes, this one among them where nothing else goes on in it; None: one for each
            processor; 1: this one alone.
        cancelled: asked now and then; once it says so, :class:`Cancelled` is raised.
        counted: told now and then how many entries were counted in all.
    """

    def __init__(
        self,
        roots: Sequence[int],
        take: Callable[[Sums], None],
        judge: Callable[[Verdict], None],
        workers: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        counted: Callable[[int], None] = lambda entries: None,
    ) -> None:
        self._roots = tuple(roots)
        self._take = take
        self._judge = judge
        self._wanted = processors() if workers is None else workers
        self._cancelled = cancelled
        self._tell = counted
        self._waiting: deque[Task] = deque()
        self._unchecked: deque[Check] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._counted = 0
        self._directories = 0
        # In a program with a screen another thread draws it: measuring here would take its time.
        self._helps = threading.active_count() == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end(at_once=kind is not None)
        self._selector.close()

    def add(self, task: Task) -> None:
        """One more tree."""
        self._waiting.append(task)

    def check(self, check: Check) -> None:
        """One more part of a tree that may be as it was."""
        self._unchecked.append(check)
        self._directories += len(check[4]) // STAMP_BYTES

    def finish(self) -> None:
        """Do everything that was added, and what that adds."""
        while self._waiting or self._unchecked or any(worker.jobs for worker in self._workers):
            if self._cancelled():
                raise Cancelled("measuring was given up")
            if not self._workers and self._wanted > 1 and max(self._counted, self._directories) >= _ALONE:
                self._start()
            for worker in self._workers:
                self._keep_at_work(worker)
            if not self._workers or (self._helps and (self._waiting or self._unchecked)):
                self._add_up(*measuring.measure(*self._dealt(1), _OWN_BUDGET if self._workers else _BUDGET))
                self._receive(0)
            else:
                self._receive(_WAIT_SECONDS)
            self._tell(self._counted)

    def _keep_at_work(self, worker: _Worker) -> None:
        """Give a worker a job, and the one after it, so that it never waits."""
        while worker.jobs < _JOBS and (self._waiting or self._unchecked):
            tasks, checks = self._dealt(_SHARE)
            if not worker.give(tasks, checks, _BUDGET):
                self._waiting.extendleft(reversed(tasks))
                self._unchecked.extendleft(reversed(checks))
                break

    def _dealt(self, most: int) -> tuple[list[Task], list[Check]]:
        """What the next job is made of: a check, or up to ``most`` tasks and never more than a fair share of them."""
        if self._unchecked:
            return [], [self._unchecked.popleft()]
        count = max(1, min(most, len(self._waiting) // (2 * len(self._workers) + 1)))
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))], []

    def _receive(self, timeout: float) -> None:
        if self._workers:
            for key, _ in self._selector.select(timeout):
                self._add_up(*key.data.result())

    def _add_up(self, sums: list[Sums], left: list[Task], verdicts: list[Verdict]) -> None:
        self._waiting.extend(left)
        for one in sums:
            self._counted += one[3]
            self._take(one)
        for verdict in verdicts:
            self._judge(verdict)

    def _start(self) -> None:
        """Start the workers, where this interpreter can run a file of its own."""
        program = measuring.__file__
        if not sys.executable or not program or not os.path.isfile(program):
            self._wanted = 1
            return
        for _ in range(min(self._wanted, _MOST_WORKERS) - self._helps):
            worker = _Worker(program, self._roots)
            self._workers.append(worker)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)


class _Worker:
    """One process. ``jobs``: how many it was given and hasn't answered."""

    def __init__(self, program: str, roots: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # an answer that lay in a buffer would not wake the selector
            pass_fds=tuple(roots),
            process_group=0,  # Ctrl-C is for this process, which then ends them all
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout
        self.jobs = 0

    def give(self, tasks: list[Task], checks: list[Check], budget: int) -> bool:
        """Give it a job. False: that is too long for a worker which may be writing an answer itself."""
        data = marshal.dumps((tasks, checks, budget))
        if self.jobs and len(data) > _SMALL_JOB:
            return False
        left = memoryview(len(data).to_bytes(4, "big") + data)
        while left:
            left = left[self._input.write(left) :]
        self.jobs += 1
        return True

    def result(self) -> Done:
        """Its oldest answer."""
        data = self._read(int.from_bytes(self._read(4), "big"))
        self.jobs -= 1
        done: Done = marshal.loads(data)
        return done

    def _read(self, count: int) -> bytes:
        data = self.output.read(count)
        while len(data) < count:
            more = self.output.read(count - len(data))
            if not more:
                raise LayerscopeError("a process that measures files ended before its time")
            data += more
        return data

    def end(self, at_once: bool) -> None:
        if at_once:
            self._process.kill()
        try:
            self._input.close()
        except OSError:
            pass
        self.output.close()
        self._process.wait()
