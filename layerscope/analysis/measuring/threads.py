"""Threads that measure beside the caller: for a tally that lets go of the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from layerscope.hostfs.measure import Check, Done, Task, measure

_JOBS = 2
"""What each thread has at most, done and waiting, so that none waits for its next job."""


class MeasuringThreads:
    """Satisfies :class:`layerscope.analysis.measuring.pool.Crew`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.jobs = 0
        self._given: SimpleQueue[tuple[list[Task], list[Check], int] | None] = SimpleQueue()
        self._done: SimpleQueue[Done | Exception] = SimpleQueue()
        self._ended = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    @property
    def has_room(self) -> bool:
        """Whether one more job may be given."""
        return self.jobs < _JOBS * self.size

    def give(self, tasks: list[Task], checks: list[Check], budget: int) -> bool:
        """Give a job to the next thread that is free; always true."""
        self._given.put((tasks, checks, budget))
        self.jobs += 1
        return True

    def take_back(self) -> list[Task]:
        """The tasks of jobs that no thread has begun; they are no longer among those that were given."""
        tasks: list[Task] = []
        while True:
            try:
                job = self._given.get_nowait()
            except Empty:
                return tasks
            if job is None:
                self._given.put(None)
                return tasks
            self.jobs -= 1
            tasks.extend(job[0])

    def results(self, timeout: float) -> Iterator[Done]:
        """What is done by now; waits for the first of it, at most so many seconds."""
        while self.jobs:
            try:
                done = self._done.get(timeout=timeout) if timeout else self._done.get_nowait()
            except Empty:
                return
            self.jobs -= 1
            if isinstance(done, Exception):
                raise done
            yield done
            timeout = 0

    def end(self, at_once: bool) -> None:
        """End the threads, which use the caller's descriptors; at once: after the directory that each of them reads."""
        self._ended = at_once
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._given.get()) is not None and not self._ended:
            try:
                self._done.put(measure(*job, is_ended=lambda: self._ended))
            except Exception as error:  # noqa: BLE001 – raised again where the result is asked for
                self._done.put(error)
