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
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self

from layerscope.errors import LayerscopeError
from layerscope.hostfs import measure as measuring
from layerscope.hostfs.measure import Sums, Task

_ALONE = 1500
_BUDGET = 6000
_SHARE = 64
_MOST_WORKERS = 8


class Cancelled(LayerscopeError):
    """The measuring was given up because someone asked for it."""


class Pool:
    """Measures trees below ``roots`` and gives each sum to ``take``; a context manager.

    Args:
        roots: descriptors that tasks name; workers inherit them under the same numbers.
        take: called in this thread with each part of a unit's sums.
        workers: how many processes; None: one for each processor; 1: none beside this one.
        cancelled: asked now and then; once it says so, :class:`Cancelled` is raised.
    """

    def __init__(
        self,
        roots: Sequence[int],
        take: Callable[[Sums], None],
        workers: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._roots = tuple(roots)
        self._take = take
        self._wanted = _processors() if workers is None else workers
        self._cancelled = cancelled
        self._waiting: deque[Task] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._counted = 0

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
        if len(self._waiting) >= _SHARE and self._workers:
            self.turn(0)

    def turn(self, timeout: float | None) -> None:
        """Deal out what waits, and take what is done; waits at most ``timeout`` seconds for that (None: any time)."""
        if self._cancelled():
            raise Cancelled("measuring was given up")
        for worker in self._workers:
            if not worker.busy and self._waiting:
                self._deal(worker)
        for key, _ in self._selector.select(timeout):
            worker = key.data
            self._add_up(*worker.result())
            if self._waiting:
                self._deal(worker)

    def finish(self) -> None:
        """Measure everything that was added."""
        while self._waiting and not self._workers:
            if self._cancelled():
                raise Cancelled("measuring was given up")
            if self._counted >= _ALONE and self._wanted > 1 and self._start():
                break
            self._add_up(*self._measured_here())
        while self._waiting or any(worker.busy for worker in self._workers):
            self.turn(0.1)

    def _measured_here(self) -> tuple[list[Sums], list[Task]]:
        tasks = [self._waiting.popleft() for _ in range(min(len(self._waiting), _SHARE))]
        return measuring.measure(tasks, _ALONE if self._wanted > 1 else _BUDGET)

    def _add_up(self, sums: list[Sums], left: list[Task]) -> None:
        self._waiting.extend(left)
        for one in sums:
            self._counted += one[3]
            self._take(one)

    def _deal(self, worker: _Worker) -> None:
        count = max(1, min(_SHARE, len(self._waiting) // (2 * len(self._workers))))
        tasks = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        worker.give(tasks, _BUDGET)

    def _start(self) -> bool:
        """Start the workers; false where this interpreter can't run a file of its own."""
        program = measuring.__file__
        if not sys.executable or not program or not os.path.isfile(program):
            self._wanted = 1
            return False
        for _ in range(min(self._wanted, _MOST_WORKERS)):
            worker = _Worker(program, self._roots)
            self._workers.append(worker)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return True


class _Worker:
    """One process. It has at most one job, so that neither side waits to write while the other does."""

    def __init__(self, program: str, roots: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(roots),
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout
        self.busy = False

    def give(self, tasks: list[Task], budget: int) -> None:
        data = marshal.dumps((tasks, budget))
        self._input.write(len(data).to_bytes(4, "big") + data)
        self._input.flush()
        self.busy = True

    def result(self) -> tuple[list[Sums], list[Task]]:
        head = self.output.read(4)
        data = self.output.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
        if not data:
            raise LayerscopeError("a process that measures files ended before its time")
        self.busy = False
        done: tuple[list[Sums], list[Task]] = marshal.loads(data)
        return done

    def end(self, at_once: bool) -> None:
        if at_once:
            self._process.kill()
        try:
            self._input.close()
        except OSError:
            pass
        self.output.close()
        self._process.wait()


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover - not Linux
        return os.cpu_count() or 1
