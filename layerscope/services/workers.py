"""Work dealt out to processes, one for each processor, results as they are ready.

A process is a fork of this one, so it has everything that was read already. Only a process with a single thread can be
forked; in others, and where there is no fork, the jobs run here, one after the other.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Generic, TypeVar

from layerscope.hostfs.processes import may_fork, processors

_Result = TypeVar("_Result")
Job = Callable[[Callable[[int], None]], _Result]
"""Is given what to tell its progress to; must not raise."""
_END = -1
_WAIT_SECONDS = 0.5


def run_jobs(
    jobs: Sequence[Job[_Result]],
    *,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, _Result | None]]:
    """Carry out ``jobs``, begun in their order; each result with the job's number, when it is ready.

    Args:
        jobs: what to do. What they return must be picklable.
        processes: how many at once, as many as there are processors if None.
        progress: is told what the jobs tell.
        cancelled: asked twice a second and after each result; the rest isn't done then.

    Yields:
        The number and the result; None for a job whose process was killed.
    """
    count = min(processes or processors(), len(jobs))
    if count <= 1 or not may_fork():
        for number, job in enumerate(jobs):
            if cancelled():
                return
            yield number, job(progress)
        return
    yield from _Pool(jobs, count, progress).results(cancelled)


class _Pool(Generic[_Result]):
    def __init__(self, jobs: Sequence[Job[_Result]], count: int, progress: Callable[[int], None]) -> None:
        self._jobs = jobs
        self._progress = progress
        self._next = 0
        self._doing: dict[Connection[Any, Any], int] = {}
        self._pids: dict[Connection[Any, Any], int] = {}
        self._count = count

    def results(self, cancelled: Callable[[], bool]) -> Iterator[tuple[int, _Result | None]]:
        try:
            for _ in range(self._count):
                self._fork()
            while self._doing and not cancelled():
                for ready in wait(list(self._doing), _WAIT_SECONDS):
                    assert isinstance(ready, Connection)
                    yield from self._received(ready)
        finally:
            for connection, pid in self._pids.items():
                connection.close()
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
                os.waitpid(pid, 0)

    def _received(self, connection: Connection[Any, Any]) -> Iterator[tuple[int, _Result | None]]:
        try:
            kind, value = connection.recv()
        except (EOFError, OSError):
            number = self._doing.pop(connection)
            yield number, None
            if not self._doing and self._next < len(self._jobs):
                self._fork()  # the last process was killed: another one goes on
            return
        if kind == "progress":
            self._progress(value)
            return
        number = self._doing.pop(connection)
        self._hand_out(connection)
        yield number, value

    def _hand_out(self, connection: Connection[Any, Any]) -> None:
        if self._next < len(self._jobs):
            self._doing[connection] = self._next
            connection.send(self._next)
            self._next += 1
        else:
            connection.send(_END)

    def _fork(self) -> None:
        ours, theirs = Pipe()
        gc.freeze()  # what is there already is never looked at by a child's collector, so it stays shared
        pid = os.fork()
        if pid == 0:
            try:
                for other in (ours, *self._pids):
                    other.close()
                _work(theirs, self._jobs)
            finally:
                os._exit(0)
        theirs.close()
        self._pids[ours] = pid
        self._hand_out(ours)


def _work(parent: Connection[Any, Any], jobs: Sequence[Job[_Result]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever forked it decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while (number := parent.recv()) != _END:
            parent.send(("result", jobs[number](lambda done: parent.send(("progress", done)))))
    except (EOFError, OSError):
        pass  # nobody waits for it any more
